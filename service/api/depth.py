"""How deep a JSON body goes, known before a parser goes there.

Nothing is parsed for it. All but brackets and quotes is deleted, texts go with their quotes, and
what is left is added up: a nanosecond for each byte, and only of bodies that have more brackets
than are allowed within each other. Long ones are looked at in pieces, with the event loop between.
"""

import asyncio
import re

import numpy as np

from service.errors import Malformed

_PIECE = 1 << 18  # bytes that are looked at at once: about 0.3 ms
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_JSON = re.compile(rb"[ \t\r\n]*[\[{]")
_STEPS = np.zeros(256, np.int8)
_STEPS[[*b"[{"]] = 1
_STEPS[[*b"]}"]] = -1


async def check_depth(body: bytes, deepest: int) -> None:
    """Look at a body that may be JSON; another one has no depth.

    Raises:
        Malformed: more than `deepest` lists and objects are within each other.
    """
    if body.count(b"[") + body.count(b"{") <= deepest or not _JSON.match(body):
        return
    found = await _depth(body)
    if found > deepest:
        raise Malformed(f"the body is nested {found} deep, the limit is {deepest}; flatten it")


async def _depth(body: bytes) -> int:
    if b"\\" in body:  # a backslash, or a quote that ends no text
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = [body[:_PIECE].translate(None, _OTHERS)]
    for first in range(_PIECE, len(body), _PIECE):
        await asyncio.sleep(0)
        kept.append(body[first : first + _PIECE].translate(None, _OTHERS))
    marks = b"".join(kept).replace(b'""', b"")  # the parity of all other quotes stays
    outside = b"".join(marks.split(b'"')[::2])
    steps = _STEPS[np.frombuffer(outside, np.uint8)]
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))
