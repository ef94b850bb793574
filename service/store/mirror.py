"""Keeps a folder of this machine as the store has it: the place of models that live in a store.

Looks are cheap: one listing, and nothing else while nothing changes. Whoever looks holds the
cache's lock, so that of all processes that share the folder one looks in each turn and the others
read what came of it. Nothing here runs on an event loop.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from service.contract import layout
from service.contract.aliases import Aliases
from service.contract.artifact import METADATA
from service.repository.place import Refusal, Refusals
from service.store import shared_aliases
from service.store.cache import Cache, Look
from service.store.inventory import Shelf, shelves
from service.store.loading import Loading
from service.store.objects import Objects, StoreFailed

WAIT_S = 10.0  # that an admin's request waits for another process's turn
TURN = 0.9  # of the time between two looks in which another process's look is good enough


class Mirror:
    """A store of models, as `Place`; one thread at a time, but `leaving`."""

    def __init__(self, url: str, cache: Path | None) -> None:
        """Opens the cache; nothing is asked of the store yet.

        Raises:
            BadStore: the URL, the cache or what the environment says cannot be used.
        """
        self._objects = Objects(url)
        self._cache = Cache(self._objects.url, cache)
        self.leaving = threading.Event()  # set: stop loading
        self.loaded = 0  # bytes, by this process

    @property
    def url(self) -> str:
        """The store."""
        return self._objects.url

    @property
    def folder(self) -> Path:
        """Where all of it is read."""
        return self._cache.folder

    def versions(self) -> int:
        """How many the folder holds."""
        return sum(map(len, self._cache.versions().values()))

    def look(self, every_s: float = 0.0, *, wait_s: float = 0.0, doubting: bool = False) -> Look:
        """Look, unless somebody else does now or has within `every_s` seconds; what came of it.

        Args:
            wait_s: for somebody else.
            doubting: read and verify again what the cache holds, too.
        """
        with self._cache.turn(wait_s) as ours:
            last = self._cache.read()
            if not ours or last.is_recent(TURN * every_s):
                return last
            return self._look(last, None, doubting)

    def refresh(self, name: str | None = None) -> None:
        """Load what there is now, of one model or of all.

        Raises:
            StoreFailed: the store does not say.
        """
        if name is not None and not layout.is_name(name):
            return
        with self._cache.turn(WAIT_S) as ours:
            if not ours:  # somebody loads something large: what is there decides
                return
            look = self._look(self._cache.read(), name, False)
        if look.failure is not None:
            raise StoreFailed(look.failure)

    def refused(self) -> Refusals:
        """Versions of the store that are not taken, as of the last look."""
        found: dict[str, dict[int, Refusal]] = {}
        for key, held in self._cache.read().held.items():
            if held.said:
                name, _, version = key.partition("/")
                found.setdefault(name, {})[int(version)] = Refusal(held.reason, held.kind)
        return found

    def change(self, name: str, edit: Callable[[Aliases], Aliases]) -> Aliases:
        """Change the aliases of a model in the store, and here.

        Raises:
            InvalidAliases: those in the store cannot be read.
            Conflict: the store cannot be read or written.
            OSError: the cache cannot be written.
        """
        return shared_aliases.change(self._objects, self.folder, name, edit)

    def remove(self, name: str, version: int) -> None:
        """Take a version out of the store, and out of the cache.

        Raises:
            StoreFailed: the store does not do it.
            OSError: the cache cannot be written.
        """
        prefix = f"{name}/{version}"
        paths = [one.path for one in self._objects.all(prefix)]
        if (first := f"{prefix}/{METADATA}") in paths:
            self._objects.delete([first])  # without it nobody takes it, however this ends
            paths.remove(first)
        if paths:
            self._objects.delete(paths)
        with self._cache.turn(WAIT_S) as ours:
            if ours:
                self._cache.remove(name, version)

    def _look(self, last: Look, only: str | None, doubting: bool) -> Look:
        now = time.monotonic() if only is None else last.at
        try:
            found = shelves(self._objects.all(only))
            look = Look(now, None, time.time(), last.lost, last.held)
            if only is None:
                self._cache.write(look)  # loading may take long: others know that it answers
            self._follow(look, found, only, doubting)
        except StoreFailed as error:
            look = msgspec.structs.replace(last, at=now, failure=error.message)
        except OSError as error:
            failure = f"{self.folder} cannot be written: {error.strerror}"
            look = msgspec.structs.replace(last, at=now, failure=failure)
        with suppress(OSError):  # which `failure` says
            self._cache.write(look)
        return look

    def _follow(
        self, look: Look, found: dict[str, Shelf], only: str | None, doubting: bool
    ) -> None:
        loading = Loading(self._objects, self._cache, look.held, self.leaving)
        for name, shelf in found.items():  # a rollback must not wait for what is being loaded
            shared_aliases.follow(self._objects, self.folder, name, shelf.aliases, early=True)
        for name, shelf in sorted(found.items()):
            for version, files in sorted(shelf.versions.items(), reverse=True):
                self.loaded += loading.take(name, version, files, doubting=doubting)
                if self.leaving.is_set():
                    return
            shared_aliases.follow(self._objects, self.folder, name, shelf.aliases)
        look.held = {
            key: held
            for key, held in look.held.items()
            if _is_there(key, found) or only not in (None, key.partition("/")[0])
        }
        if only is None:
            look.lost = not found and bool(self.versions())
        self._drop(found, only)

    def _drop(self, found: dict[str, Shelf], only: str | None) -> None:
        """Take away what is no longer in the store; never everything at once."""
        for name, versions in self._cache.versions().items():
            if only not in (None, name) or not found:
                continue
            if name not in found:
                self._cache.remove(name)
                continue
            for version in versions:
                if version not in found[name].versions:
                    self._cache.remove(name, version)


def _is_there(key: str, found: dict[str, Shelf]) -> bool:
    name, _, version = key.partition("/")
    return name in found and int(version) in found[name].versions
