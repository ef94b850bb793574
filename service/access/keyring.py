"""The keys that are good now: who asks, may they, and not too often.

A key is found by its id, hashed and compared on every request. Remembering those who were good
would save nothing: what is remembered should be no key, so it would have to be hashed to be found.

The file is looked at again at most every half second and read where it has changed. That is done
within a request, by a call that takes microseconds, so that no request is answered by keys that
are older.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from service.access.bucket import Bucket
from service.access.keys import Grant, InvalidKeys, Key, is_same, parse, split
from service.errors import Forbidden, RateLimited, Unauthenticated

Scope = Grant | Literal["any"]  # what a route asks for; any: a good key, whatever it is for

LOOK_S = 0.5  # seconds for which a file is not looked at again
_HOW = "send the header 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
_BEARER = b"bearer "
_NOBODY = bytes(16), bytes(32)  # whom an unknown id is compared with, so that it takes as long

log = logging.getLogger("gatecast")


class _Entry(msgspec.Struct, frozen=True, gc=False):
    key: Key
    salt: bytes
    hash: bytes
    bucket: Bucket | None


class Keyring:
    """The keys of a file, kept current; `clock` gives seconds from anywhere."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._seen: tuple[int, ...] | None = None  # by which a change is noticed
        self._complaint = ""
        self._looked = -math.inf

    def admit(self, presented: bytes | None, scope: Scope, *, counts: bool = True) -> None:
        """Let a request in.

        Args:
            presented: the key as `presented` finds it; None: there is none.
            counts: it is one of the requests that the rate of its key allows.

        Raises:
            Unauthenticated: no key, or none that is good.
            Forbidden: the key is not for this.
            RateLimited: the key has asked too often.
        """
        entry = self._find(presented)
        if entry is None:
            what = "there is no key" if presented is None else "the key is not valid"
            raise Unauthenticated(f"{what}; {_HOW}")
        if scope != "any" and scope not in entry.key.scopes:
            raise Forbidden(
                f"key {entry.key.name!r} has not the scope {scope}; its scopes: "
                f"{', '.join(entry.key.scopes)}"
            )
        if counts and entry.bucket is not None and (wait := entry.bucket.take(self._clock())):
            message = f"key {entry.key.name!r} may ask {entry.key.rate:g} times in a second"
            after = math.ceil(wait)
            raise RateLimited(f"{message}; try again in {after} s", after)

    def knows(self, presented: bytes | None) -> bool:
        """Whether this is a good key."""
        return self._find(presented) is not None

    def id_of(self, presented: bytes | None) -> str | None:
        """The id of the key that this claims to be, good or not; None where there is no such."""
        parts = None if presented is None else split(presented)
        return parts[0].decode() if parts is not None and parts[0] in self._entries else None

    def _find(self, presented: bytes | None) -> _Entry | None:
        now = self._clock()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._look(now)
        parts = None if presented is None else split(presented)
        if parts is None:
            return None
        entry = self._entries.get(parts[0])
        salt, expected = _NOBODY if entry is None else (entry.salt, entry.hash)
        return entry if is_same(salt, expected, parts[1]) else None

    def _look(self, now: float) -> None:
        """Read the file if it has changed; a broken one changes nothing, a missing one is empty."""
        try:
            if _identity(os.stat(self._path)) == self._seen:
                return
            with self._path.open() as file:
                self._seen = _identity(os.fstat(file.fileno()))
                self._take(parse(file.read()), now)
        except FileNotFoundError:
            self._seen, self._entries = None, {}
            self._complain("is missing; nobody is let in")
        except (InvalidKeys, OSError, UnicodeDecodeError) as error:
            self._complain(f"is not read, the keys before are kept: {error}")

    def _take(self, keys: list[Key], now: float) -> None:
        self._entries = {key.id.encode(): self._entry(key, now) for key in keys}
        self._complaint = ""
        log.info("%s keys from %s", len(keys), self._path)

    def _complain(self, why: str) -> None:
        """Once, and not every half second."""
        if why != self._complaint:
            self._complaint = why
            log.error("file of keys %s %s", self._path, why)

    def _entry(self, key: Key, now: float) -> _Entry:
        return _Entry(key, bytes.fromhex(key.salt), bytes.fromhex(key.hash), self._bucket(key, now))

    def _bucket(self, key: Key, now: float) -> Bucket | None:
        """As full as it was, unless the rate is another one."""
        if key.rate is None or key.burst is None:
            return None
        before = self._entries.get(key.id.encode())
        if before is not None and before.bucket is not None:
            has = before.bucket
            if (has.rate, has.burst) == (key.rate, key.burst):
                return has
        return Bucket(key.rate, key.burst, now)


def presented(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request carries; names of headers in lower case."""
    named = headers.get(b"x-api-key")
    if named is not None:
        return named
    said = headers.get(b"authorization", b"")
    return said[len(_BEARER) :].strip() if said[: len(_BEARER)].lower() == _BEARER else None


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
