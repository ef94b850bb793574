"""The folder of models: models/<name>/<version>/, a version being an integer."""

import re
from pathlib import Path

from service.contract.metadata import NAME_PATTERN

_NAME = re.compile(NAME_PATTERN)
_VERSION = re.compile(r"^[1-9][0-9]{0,8}$")


def is_name(text: str) -> bool:
    """Whether a model may have this name: it is never a path, and never two lines."""
    return _NAME.fullmatch(text) is not None


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
