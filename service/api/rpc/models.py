"""Which model a message means."""

from service.api.openinference.lifecycle import read_version
from service.repository.live import AnyModel, Repository

_LONGEST = 40  # characters of a version in a message


def find(repository: Repository, name: str, version: str, key: bytes | None = None) -> AnyModel:
    """The live model of this name and, where one is named, of this version.

    Raises:
        NotFound: there is none.
    """
    return repository.get(name, read_version(version[:_LONGEST]) if version else None, key)


def is_ready(repository: Repository, name: str, version: str) -> bool:
    """Whether a model answers under this name and version."""
    lineup = repository.lineups.get(name)
    return lineup is not None and (not version or version in map(str, lineup.warm()))
