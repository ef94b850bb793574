"""Versions, loading and unloading, for the REST and the gRPC form alike."""

import asyncio

from service.contract.layout import is_name, is_version
from service.errors import Malformed, NotFound
from service.repository.keeper import Keeper

_LONGEST = 80  # characters of a name in a message


def read_version(text: str) -> int:
    """The number of a version.

    Raises:
        NotFound: it is none, so no model is served in it.
    """
    if not is_version(text):
        raise NotFound(f"version {text!r} is not served; versions are numbers: 1, 2, ...")
    return int(text)


def checked(name: str) -> str:
    """The name of a model, which is never a path.

    Raises:
        Malformed: it cannot be one.
    """
    if not is_name(name):
        expected = "letters, digits, - and _"
        raise Malformed(f"model is {name[:_LONGEST]!r}, expected {expected}", "model")
    return name


async def load(keeper: Keeper, name: str) -> None:
    """Let a model answer, with what its folder holds now.

    Raises:
        Malformed: a name that cannot be.
        NotFound: no such model.
        Conflict: none of its versions can.
    """
    await asyncio.shield(keeper.load(checked(name)))


async def unload(keeper: Keeper, name: str) -> None:
    """Let a model answer no longer, until it is loaded.

    Raises:
        Malformed: a name that cannot be.
        NotFound: no such model.
        Conflict: that cannot be written down.
    """
    await asyncio.shield(keeper.unload(checked(name)))
