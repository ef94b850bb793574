"""A model's aliases.json in the store, which replicas change at once, and its copy in the cache.

A change reads the object, edits it and writes it back on the condition that it is still what was
read; where somebody else was faster, it begins again with theirs. On one machine a lock on the
model's folder in the cache puts changes and copies in a row, so that an old copy never follows a
new one.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.contract import aliases, layout
from service.contract.aliases import Aliases, InvalidAliases
from service.errors import Conflict
from service.store.objects import Changed, Object, Objects

TRIES = 20  # of a change, while others are faster
_TAG = ".aliases.tag"


def follow(
    objects: Objects, cache: Path, name: str, listed: Object | None, *, early: bool = False
) -> None:
    """Let the cache hold the store's file, where the listing says that it is another one.

    Args:
        early: only where the cache has all versions that it names.

    Raises:
        StoreFailed: it cannot be read.
        OSError: the cache cannot be written.
    """
    folder = cache / name
    if not folder.is_dir() or _tag(folder) == (listed.tag if listed else ""):
        return
    with aliases.locked(folder) as home:
        found = objects.read(_path(name), aliases.MOST_BYTES)
        if found is None:
            (folder / aliases.FILE).unlink(missing_ok=True)
            (folder / _TAG).unlink(missing_ok=True)
        elif not early or _is_ready(cache, name, found[1]):
            _keep(folder, found[1], found[0].tag, home)


def change(objects: Objects, cache: Path, name: str, edit: Callable[[Aliases], Aliases]) -> Aliases:
    """Change them in the store, and then in the cache; what they are then.

    Raises:
        InvalidAliases: the store's cannot be read.
        Conflict: the store cannot be read or written, or others were always faster.
        OSError: the cache cannot be written.
    """
    folder = cache / name
    with aliases.locked(folder) as home:
        for _ in range(TRIES):
            found = objects.read(_path(name), aliases.MOST_BYTES)
            before = aliases.parse(name, found[1]) if found else Aliases()
            after = edit(before)
            data, tag = aliases.dump(after), found[0].tag if found else ""
            if after != before:
                try:
                    tag = objects.write(_path(name), data, found[0] if found else None)
                except Changed:
                    continue
            if tag:
                _keep(folder, data, tag, home)
            return after
    message = f"{objects.url}/{_path(name)} was changed by others {TRIES} times meanwhile"
    raise Conflict(f"{message}; try again", "model")


def _is_ready(cache: Path, name: str, data: bytes) -> bool:
    with suppress(InvalidAliases):
        named = aliases.parse(name, data).aliases.values()
        return set(named) <= set(layout.versions(cache, name))
    return True


def _path(name: str) -> str:
    return f"{name}/{aliases.FILE}"


def _tag(folder: Path) -> str:
    with suppress(OSError):
        return (folder / _TAG).read_text()
    return ""


def _keep(folder: Path, data: bytes, tag: str, home: int) -> None:
    """The tag after the file: an end between the two only reads it once more."""
    aliases.replace(folder, data, home)
    (folder / _TAG).write_text(tag)
