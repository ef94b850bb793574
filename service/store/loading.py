"""Versions of a store -> the cache: loaded aside, verified, and renamed into their place.

A version is loaded when its three files are there and they are not those that the cache was loaded
from. One that is bad is loaded again at once when an object of it changes, and otherwise after ever
longer pauses, since the fault may lie on the way.
"""

import logging
import os
import threading
import time
from collections.abc import MutableMapping
from pathlib import Path

from service.contract import artifact, layout
from service.contract.artifact import InvalidArtifact
from service.store.cache import Cache, Held
from service.store.inventory import Files, lacking, tags
from service.store.objects import Changed, Object, Objects

LONGEST_S = 300.0  # between two tries

log = logging.getLogger("gatecast")


class Loading:
    """One look's loading."""

    def __init__(
        self,
        objects: Objects,
        cache: Cache,
        held: MutableMapping[str, Held],
        leaving: threading.Event,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            held: what was not taken before; kept up to date.
            leaving: stops in the middle of a file.
        """
        self._objects = objects
        self._cache = cache
        self._held = held
        self._leaving = leaving

    def take(self, name: str, version: int, files: Files, *, doubting: bool = False) -> int:
        """Let the cache hold a version, where it can; bytes loaded.

        Args:
            doubting: verify also what the cache holds.

        Raises:
            StoreFailed: the store does not give it.
        """
        key, wanted = f"{name}/{version}", tags(files)
        if self._cache.tags(name, version) == wanted and not (
            doubting and self._is_damaged(name, version)
        ):
            self._held.pop(key, None)
            return 0
        before = self._held.get(key)
        if before is not None and before.tags != wanted:
            before = None
        why = lacking(files)
        if why is not None:
            self._held[key] = Held(wanted, f"{key}: {why}", "files", said=before is not None)
            return 0
        if before is not None and 0.0 < before.again - time.monotonic() <= LONGEST_S:
            return 0
        return self._try(name, version, files, before)

    def _try(self, name: str, version: int, files: Files, before: Held | None) -> int:
        key, tries = f"{name}/{version}", before.tries if before else 0
        try:
            loaded = self._load(name, version, files)
        except Changed as error:  # or we leave; the next look sees what there is
            reason = f"{key}: {error} is not what the listing says"
            self._held[key] = Held(tags(files), reason, "files", said=before is not None)
            return 0
        except InvalidArtifact as error:
            reason, kind = str(error), error.kind
        except OSError as error:
            reason, kind = f"{key}: it cannot be kept here: {error.strerror}", "files"
        else:
            self._held.pop(key, None)
            log.info("%s/%s loaded, %s bytes", self._objects.url, key, loaded)
            return loaded
        again = time.monotonic() + min(2.0 ** (tries + 1), LONGEST_S)
        self._held[key] = Held(tags(files), reason, kind, tries + 1, again, said=True)
        return 0

    def _load(self, name: str, version: int, files: Files) -> int:
        """Load and verify; bytes.

        Raises:
            InvalidArtifact: what came is no version.
            Changed: an object is no longer the one that was listed, or we are to leave.
            OSError: the cache has no room.
        """
        with self._cache.incoming(name, version) as folder:
            for file, one in files.items():
                self._copy(one, folder / file)
            artifact.read(folder)
            self._cache.place(folder, name, version, tags(files))
        return sum(one.size for one in files.values())

    def _copy(self, one: Object, path: Path) -> None:
        size = 0
        with path.open("wb") as file:
            for chunk in self._objects.stream(one):
                size += len(chunk)
                if size > one.size or self._leaving.is_set():
                    raise Changed(one.path)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave a place that is full of nothing
        if size != one.size:
            raise Changed(one.path)

    def _is_damaged(self, name: str, version: int) -> bool:
        try:
            artifact.read(layout.folder(self._cache.folder, name, version))
        except InvalidArtifact as error:
            log.warning("in the cache: %s; it is loaded again", error)
            return True
        return False
