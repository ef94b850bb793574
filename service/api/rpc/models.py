"""Which model a message means."""

import re

from service.errors import NotFound
from service.repository import LiveModel, Repository

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def find(repository: Repository, name: str, version: str) -> LiveModel:
    """The live model of this name and, where one is named, of this version.

    Raises:
        NotFound: there is none.
    """
    if version and _VERSION.fullmatch(version) is None:
        raise NotFound(f"version {version[:40]!r} is not served; versions are numbers: 1, 2, ...")
    return repository.get(name, int(version) if version else None)


def is_ready(repository: Repository, name: str, version: str) -> bool:
    """Whether a model answers under this name and version."""
    model = repository.live.get(name)
    return model is not None and version in ("", str(model.metadata.version))
