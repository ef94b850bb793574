"""Where forecasts and actuals are kept: what `--quality` may say, checked before anything starts.

A plain path is a file of SQLite. Nothing here connects: a database that is down must not keep the
service from answering.
"""

import importlib.util
import re
from pathlib import Path

import click

_SCHEMES = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}
_PASSWORD = re.compile(r"(?<=//)([^:@/?]*):.*(?=@)|(password=)[^&]*")


def database_url(text: str) -> str:
    """The URL for SQLAlchemy.

    Raises:
        ValueError: a kind of database that is not spoken here, or no file.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return f"sqlite:///{text}"
    if scheme not in _SCHEMES:
        expected = "a path, sqlite:///PATH or postgresql://USER@HOST/DATABASE"
        raise ValueError(f"{scheme}:// is not spoken here, expected {expected}")
    if scheme == "sqlite" and (not rest.startswith("/") or rest == "/"):
        raise ValueError("it names no file; write sqlite:///PATH, or the path alone")
    return f"{_SCHEMES[scheme]}://{rest}"


def check_quality(text: str) -> None:
    """Refuse an address that can never work.

    Raises:
        ClickException: see `database_url`; a library that is not installed; a file of SQLite in a
            folder that does not exist.
    """
    try:
        url = database_url(text)
    except ValueError as error:
        raise click.ClickException(f"--quality {hidden(text)}: {error}") from None
    postgres = url.startswith("postgresql")
    for module in ("sqlalchemy", "psycopg") if postgres else ("sqlalchemy",):
        if importlib.util.find_spec(module) is None:
            extra = "postgres" if postgres else "quality"
            raise click.ClickException(
                f"--quality {hidden(text)} needs {module}, which is not installed: "
                f"pip install 'gatecast[{extra}]'"
            )
    if not postgres:
        folder = Path(url.removeprefix("sqlite:///").partition("?")[0]).parent
        if not folder.is_dir():
            raise click.ClickException(f"--quality {text}: folder {folder} does not exist; make it")


def hidden(text: str) -> str:
    """The address without its password, as it may be printed."""
    return _PASSWORD.sub(_masked, text) if "://" in text else text


def _masked(found: re.Match[str]) -> str:
    return "password=***" if found[2] else f"{found[1]}:***"
