"""`gatecast models`: which versions a folder or a store holds, and which of them answers.

Works on it alone, with a service beside it or without: one that watches it follows. Of a store, the
cache is brought up to date first.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.repository.option import ModelsFolder

if TYPE_CHECKING:
    from service.contract.metadata import Metadata
    from service.repository.place import Place

_HELP = "Folder of models, or s3://bucket/prefix, gs:// or az://."
_models = click.option("--models", type=ModelsFolder(True), default=Path("models"), help=_HELP)


@click.group(invoke_without_command=True)
@_models
@click.pass_context
def models(context: click.Context, models: Path | str) -> None:
    """List, show, promote, roll back, verify and delete versions of models."""
    context.obj = models
    if context.invoked_subcommand is None:
        _list(_chosen(None).folder)


def _command(run: Callable[..., None]) -> click.Command:
    """A command of the group; `--models` may stand before or behind its name."""
    found = click.option("--models", type=ModelsFolder(True), help=_HELP)(run)
    return models.command(str(run.__name__).rstrip("_"))(found)


def _chosen(given: Path | str | None, name: str | None = None) -> "Place":
    """Where the models are; of a store, with all that is there now, or all of one model."""
    from service.contract.layout import is_name
    from service.errors import ServiceError
    from service.store.objects import BadStore
    from service.store.opening import open_place

    models: Path | str = given or click.get_current_context().obj
    if isinstance(models, Path) and not models.is_dir():
        raise click.ClickException(f"--models: folder {models} does not exist")
    cache = os.environ.get("GATECAST_STORE_CACHE")
    try:
        place = open_place(models, Path(cache) if cache else None)
        place.refresh(name if name and is_name(name) else None)
    except BadStore as error:
        raise click.ClickException(f"--models {models}: {error}") from None
    except ServiceError as error:
        raise click.ClickException(error.message) from None
    for refused in place.refused().values():
        for refusal in refused.values():
            click.echo(f"not taken: {refusal.reason}", err=True)
    return place


@_command
def list_(models: Path | str | None) -> None:
    """Every model, its versions, and what the one that answers says of itself."""
    _list(_chosen(models).folder)


@_command
@click.argument("model")
def show(models: Path | str | None, model: str) -> None:
    """The metadata of MODEL: name, name@version or name@alias."""
    from service.contract import layout

    folder = _chosen(models, model.partition("@")[0]).folder
    with _told():
        click.echo(_read(folder, *layout.find(folder, model)).model_dump_json(indent=2))


@_command
@click.argument("model")
@click.argument("version", type=int, required=False)
@click.option("--alias", default="live", show_default=True, help="live, canary, shadow or another.")
@click.option("--share", type=float, help="Percent of requests, of canary and shadow.")
@click.option("--release", is_flag=True, help="Take the alias away; live is then the highest.")
def promote(
    models: Path | str | None,
    model: str,
    version: int | None,
    alias: str,
    share: float | None,
    release: bool,
) -> None:
    """Let an alias mean VERSION of MODEL, once that is verified on this machine."""
    from service.repository import changes

    place = _chosen(models, model)
    if (version is None) != release:
        raise click.UsageError("name a version, or --release an alias, and not both")
    with _told():
        changes.check_promotion(alias, share)
        changes.check_exists(place, model, version)
        if version is None:
            changes.release(place, model, alias)
        else:
            _verify(place.folder, model, version)
            live = changes.live_version(place, model)
            changes.promote(place, model, version, alias, share, live)
    _list(place.folder, model)


@_command
@click.argument("model")
def rollback(models: Path | str | None, model: str) -> None:
    """Let the version of MODEL answer that did before, once it is verified."""
    from service.contract.artifact import InvalidArtifact
    from service.repository import changes

    place = _chosen(models, model)
    with _told():
        live = changes.live_version(place, model)
        for version in changes.candidates_before(place, model, live):
            try:
                _verify(place.folder, model, version)
            except InvalidArtifact as error:
                click.echo(f"passed over: {error}", err=True)
                continue
            changes.promote(place, model, version, "live", None, live)
            break
        else:
            raise click.ClickException(f"no version of {model!r} before {live} is good")
    _list(place.folder, model)


@_command
@click.argument("model")
def verify(models: Path | str | None, model: str) -> None:
    """Read MODEL (name, name@version or name@alias) and prove its golden answers here."""
    from service.contract import layout

    folder = _chosen(models, model.partition("@")[0]).folder
    with _told():
        name, version = layout.find(folder, model)
        _verify(folder, name, version)
    click.echo(f"{name}@{version} is whole, and answers here as it did where it was trained")


@_command
@click.argument("model")
def delete(models: Path | str | None, model: str) -> None:
    """Delete MODEL, a name@version that neither answers nor has an alias."""
    from service.repository import changes

    place = _chosen(models, model.partition("@")[0])
    name, at, version = model.partition("@")
    if not at or not version.isdigit():
        raise click.UsageError(f"{model!r} names no version; delete one by name@version")
    with _told():
        changes.delete(place, name, int(version), changes.live_version(place, name))
    click.echo(f"{model} is deleted")


def _list(models: Path, only: str | None = None) -> None:
    from service.contract import layout

    for name in layout.names(models):
        if only in (None, name):
            click.echo(_line(models, name))


def _line(models: Path, name: str) -> str:
    from service.contract import aliases, layout
    from service.contract.artifact import InvalidArtifact

    found = layout.versions(models, name)
    try:
        asked = aliases.read(models, name)
    except aliases.InvalidAliases as error:
        return f"{name}  damaged: {error}"
    live = asked.aliases.get(aliases.LIVE, found[-1])
    label = f"{name}@{live}"
    try:
        said = _summary(_read(models, name, live))
    except InvalidArtifact as error:
        said = f"damaged: {error}"
    roles = [f"{alias} {version}" for alias, version in sorted(asked.aliases.items())]
    roles += [f"{alias} {share:g} %" for alias, share in sorted(asked.shares.items())]
    more = f"; {', '.join(roles)}" if roles else ""
    state = "; unloaded" if asked.unloaded else ""
    return f"{label}  {said}; versions {found}{more}{state}"


def _summary(metadata: "Metadata") -> str:
    said = ", ".join(f"{key} {value}" for key, value in metadata.signature.summary().items())
    judged = metadata.evaluation
    verdict = "beats" if judged.beats_baselines else "does not beat"
    return f"{metadata.task}: {said}; {verdict} {judged.best_baseline}"


def _read(models: Path, name: str, version: int) -> "Metadata":
    from service.contract import artifact, layout

    return artifact.read(layout.folder(models, name, version)).metadata


def _verify(models: Path, name: str, version: int) -> None:
    from service.repository.live import open_version

    open_version(models, name, version, "cpu")


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong, as one line."""
    from service.contract.artifact import InvalidArtifact
    from service.contract.layout import NoVersion
    from service.errors import ServiceError

    try:
        yield
    except ServiceError as error:
        raise click.ClickException(error.message) from None
    except NoVersion as error:
        raise click.ClickException(str(error)) from None
    except InvalidArtifact as error:
        raise click.ClickException(f"{error}; nothing was changed") from None
