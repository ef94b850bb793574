"""`gatecast keys create | revoke | list`: the file of keys, changed as a whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click
from pydantic import ValidationError

from service.access.keys import GRANTS, Grant, InvalidKeys, Key, changing, new_key, parse

_FILE = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("keys.jsonl"),
    envvar="GATECAST_KEYS",
    show_default=True,
    show_envvar=True,
    help="File of keys, as `gatecast serve --keys` reads it.",
)


@click.group()
def keys() -> None:
    """Make, revoke and list API keys. A running service follows within half a second."""


@keys.command()
@click.argument("name")
@_FILE
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(GRANTS),
    multiple=True,
    default=("infer",),
    show_default=True,
    help="What the key is for; may be repeated. None includes another.",
)
@click.option(
    "--rate",
    type=float,
    help="Requests per second, in each worker; beyond it 429. Default: any number.",
)
@click.option(
    "--burst", type=int, help="Requests at once, with --rate. Default: those of one second."
)
def create(
    name: str, path: Path, scopes: tuple[str, ...], rate: float | None, burst: int | None
) -> None:
    """Make a key called NAME and print it, once: nobody can print it again."""
    if burst is not None and rate is None:
        raise click.ClickException("--burst limits nothing without --rate; give both")
    granted = tuple(cast(Grant, scope) for scope in scopes)
    try:
        key, text = new_key(name, granted, rate, burst)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}"
        raise click.ClickException(message) from None
    with _changing(path) as found:
        if any(name == other.name for other in found):
            raise click.ClickException(f"{path} has a key {name!r}; revoke it or take another name")
        found.append(key)
    click.echo(f"key {key.id} for {', '.join(granted)} is in {path}; keep what follows:", err=True)
    click.echo(text)


@keys.command()
@click.argument("key")
@_FILE
def revoke(key: str, path: Path) -> None:
    """Take back KEY, which is a name or an id of the list."""
    with _changing(path) as found:
        kept = [one for one in found if key not in (one.id, one.name)]
        if len(kept) == len(found):
            known = ", ".join(one.name for one in found) or "none"
            raise click.ClickException(f"{path} has no key {key!r}; there: {known}")
        found[:] = kept
    click.echo(f"{key} is revoked", err=True)


@keys.command("list")
@_FILE
def list_keys(path: Path) -> None:
    """List the keys: id, name, scopes, rate, and when they were made."""
    try:
        found = parse(path.read_text())
    except FileNotFoundError:
        raise click.ClickException(f"there is no file {path}; make a key to begin it") from None
    except (OSError, UnicodeDecodeError, InvalidKeys) as error:
        raise click.ClickException(f"{path}: {error}") from None
    for key in found:
        limit = "any rate" if key.rate is None else f"{key.rate:g}/s, {key.burst} at once"
        click.echo(
            f"{key.id}  {key.name}: {', '.join(key.scopes)}; {limit}; made {key.created:%Y-%m-%d}"
        )


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    try:
        with changing(path) as found:
            yield found
    except (OSError, UnicodeDecodeError, InvalidKeys) as error:
        raise click.ClickException(f"{path}: {error}") from None
