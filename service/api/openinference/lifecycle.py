"""Versions, and what is said of loading and unloading, for the REST and the gRPC form alike.

Models are read at the start of the service, so both are refused in words that say so.
"""

import re
from typing import NoReturn

from service.errors import NotFound, Unservable
from service.repository import Repository

_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_RESTART = "put it into the folder of models and restart the service"


def read_version(text: str) -> int:
    """The number of a version.

    Raises:
        NotFound: it is none, so no model is served in it.
    """
    if _VERSION.fullmatch(text) is None:
        raise NotFound(f"version {text!r} is not served; versions are numbers: 1, 2, ...")
    return int(text)


def refuse_load(repository: Repository, name: str) -> NoReturn:
    """Say why a model is not loaded.

    Raises:
        Unservable: it is served already, or was refused at the start.
        NotFound: it was not there at the start.
    """
    if name in repository.refused:
        why = repository.refused[name]
        raise Unservable(f"model {name!r} was refused: {why}; repair it and restart the service")
    if name in repository.live:
        raise Unservable(f"model {name!r} is served already; for another version, {_RESTART}")
    raise NotFound(f"model {name!r} was not found when the service started; {_RESTART}")


def refuse_unload(repository: Repository, name: str) -> NoReturn:
    """Say why a model is not unloaded.

    Raises:
        Unservable: it stays until the service ends.
        NotFound: it is not served.
    """
    name = repository.get(name).metadata.name
    raise Unservable(
        f"model {name!r} stays until the service ends; take it out of the folder of models and "
        "restart the service"
    )
