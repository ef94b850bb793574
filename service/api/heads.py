"""Heads of requests by their bytes: one that came before is not parsed again.

A client that keeps its connection sends the same head with nearly every request. What it means is
looked up here in half a microsecond, where the parser and what follows from it take ten. Only
requests of dialects are known, and only such as the parser itself found to be one head with all of
its body behind it, in one piece: their ends are where the parser saw them.
"""

from collections.abc import Iterable

import httptools
import msgspec

from service.api.dialect import Target

_END = b"\r\n\r\n"
_LONGEST = 2048  # bytes of a head that is kept
_MOST = 1024  # of them, then all are forgotten


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a request says before its body."""

    target: Target
    headers: dict[bytes, bytes]  # by name in lower case
    is_head: bool  # asked with HEAD: the answer has no body
    is_old: bool  # HTTP/1.0
    keep_alive: bool
    announces: bool  # the body, which comes when it is told to


def read_head(
    target: Target, headers: Iterable[tuple[bytes, bytes]], parser: httptools.HttpRequestParser
) -> Head:
    """What the parser knows when a head is complete."""
    by_name = dict(headers)
    is_old = parser.get_http_version() == "1.0"
    return Head(
        target=target,
        headers=by_name,
        is_head=parser.get_method() == b"HEAD",
        is_old=is_old,
        keep_alive=not is_old and parser.should_keep_alive(),
        announces=by_name.get(b"expect", b"").lower() == b"100-continue",
    )


class _Known(msgspec.Struct, frozen=True, gc=False):
    head: Head
    size: int  # bytes of the whole request


class Heads:
    """Those of one worker."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and the body, where these bytes are one whole request with a known head."""
        end = data.find(_END, 0, _LONGEST) + 4
        known = self._known.get(data[:end])
        if known is None or known.size != len(data):
            return None
        return known.head, data[end:]

    def learn(self, data: bytes, head: Head, body_size: int) -> None:
        """These bytes were one whole request, with that head and that much of body."""
        end = data.find(_END, 0, _LONGEST) + 4
        if end == len(data) - body_size and head.keep_alive and not head.announces:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[data[:end]] = _Known(head, len(data))
