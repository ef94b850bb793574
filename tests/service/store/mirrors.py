"""A mirror of a test's store, and what it holds."""

from pathlib import Path

from service.contract import layout
from service.repository.place import Refusal
from service.store.cache import Cache
from service.store.mirror import Mirror
from tests.end_to_end.s3 import S3


def mirror(s3: S3, cache: Path | None = None) -> Mirror:
    return Mirror(s3.url, cache)


def versions(one: Mirror) -> dict[str, list[int]]:
    return {name: layout.versions(one.folder, name) for name in layout.names(one.folder)}


def refusals(one: Mirror) -> list[Refusal]:
    return [refusal for found in one.refused().values() for refusal in found.values()]


def forget_pauses(one: Mirror) -> None:
    """As if the pause before the next try were over."""
    cache = Cache(one.url, None)
    look = cache.read()
    for held in look.held.values():
        held.again = 0.0
    cache.write(look)
