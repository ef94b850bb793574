"""The folder of models: models/<name>/<version>/, a version being an integer."""

import re
from pathlib import Path

from service.contract import aliases
from service.contract.metadata import NAME_PATTERN

_NAME = re.compile(NAME_PATTERN)
_VERSION = re.compile(r"^[1-9][0-9]{0,8}$")


class NoVersion(LookupError):
    """A model or version that was asked for is not in the folder."""


def is_name(text: str) -> bool:
    """Whether a model may have this name: it is never a path, and never two lines."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether it reads as a version."""
    return _VERSION.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether it means an object store and not a folder."""
    return "://" in text


def names(models: Path) -> list[str]:
    """Models with at least one version, sorted. Hidden folders hold unfinished work."""
    folders = (entry.name for entry in models.iterdir() if entry.is_dir())
    return sorted(name for name in folders if is_name(name) and versions(models, name))


def versions(models: Path, name: str) -> list[int]:
    """The versions of a model, ascending; empty when there is no such model."""
    if not is_name(name) or not (models / name).is_dir():
        return []
    folders = (entry.name for entry in (models / name).iterdir() if entry.is_dir())
    return sorted(int(folder) for folder in folders if _VERSION.fullmatch(folder))


def folder(models: Path, name: str, version: int) -> Path:
    """Where one version lives."""
    return models / name / str(version)


def find(models: Path, text: str) -> tuple[str, int]:
    """The version that `name` (the one that answers), `name@version` or `name@alias` means.

    Raises:
        NoVersion: there is none; the message says what there is.
    """
    name, at, which = text.partition("@")
    found = versions(models, name)
    if not found:
        known = ", ".join(names(models)) if models.is_dir() else ""
        raise NoVersion(f"no model {name!r} in {models}; there: {known or 'none'}")
    meant = _meant(models, name, which if at else aliases.LIVE, found[-1])
    if meant not in found:
        raise NoVersion(f"model {name!r} has versions {found}, not {which or meant!r}")
    return name, meant


def _meant(models: Path, name: str, which: str, highest: int) -> int | None:
    """The number of a version or of an alias; None where it is neither."""
    if is_version(which):
        return int(which)
    try:
        asked = aliases.read(models, name).aliases
    except aliases.InvalidAliases as error:
        raise NoVersion(f"{error}; repair or delete the file, or name a version") from error
    return asked.get(which, highest if which == aliases.LIVE else None)
