"""A setting of models -> the place that keeps them; the first look at a store."""

from pathlib import Path
from typing import TYPE_CHECKING

from service.repository.place import Folder, Place
from service.store.objects import BadStore

if TYPE_CHECKING:
    from service.store.mirror import Mirror

WAIT_S = 60.0  # that a start waits for another service that loads into the same cache


def open_place(models: Path | str, cache: Path | None) -> Place:
    """The place of a folder, or of the URL of a store.

    Args:
        cache: of what is loaded from stores; None chooses one.

    Raises:
        BadStore: the URL, the cache, or the environment cannot be used, or obstore is missing.
    """
    return Folder(models) if isinstance(models, Path) else open_store(models, cache)


def open_store(url: str, cache: Path | None) -> "Mirror":
    """The place of a store.

    Raises:
        BadStore: as `open_place`.
    """
    from service.store.mirror import Mirror

    return Mirror(url, cache)


def first_look(mirror: "Mirror") -> str:
    """Load what there is, before anything is served; what came of it, in words.

    Raises:
        BadStore: the store cannot be read, and the cache holds nothing of it.
    """
    look = mirror.look(wait_s=WAIT_S, doubting=True)
    held = mirror.versions()
    if look.failure is None:
        return f"{mirror.url}: {mirror.loaded} bytes loaded; {held} versions in {mirror.folder}"
    if not held:
        raise BadStore(f"{look.failure}; and nothing of it is in {mirror.folder}")
    return f"{look.failure}; serving the {held} versions in {mirror.folder}"
