"""JSON bodies of any size: read as structs with the first fault named, and numbers in pieces.

One call of a C parser holds the interpreter from its first byte to its last, in a thread as well.
So a long array of numbers is cut out of its body before anything is parsed, and is read, like it is
written, a piece at a time with the event loop in between.
"""

import asyncio
import re
import secrets
from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from service.api.responses import to_json
from service.errors import Malformed

Parsed = TypeVar("Parsed")

_NUMBER = {"anyOf": [{"type": "number"}, {"type": "null"}]}
RawNumbers = Annotated[
    msgspec.Raw, Meta(extra_json_schema={"type": "array", "items": _NUMBER})
]  # for `JsonBody.numbers`
RawIntegers = Annotated[
    msgspec.Raw, Meta(extra_json_schema={"type": "array", "items": {"type": "integer"}})
]  # for `JsonBody.integers`

PIECE_BYTES = 1 << 16  # of a text that is read at once: about 0.4 ms
PIECE_VALUES = 1 << 14  # of an array that is written at once: about 0.3 ms

_LOOKED = 1000  # arrays of one body that are looked at; what is left is parsed as it is
_TOKEN = secrets.token_hex(8).encode()  # marks the place of an array that was cut out
_MARK = re.compile(rb'"%b-([0-9]+)"' % _TOKEN)
_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_INDEX = re.compile(r"^\[([0-9]+)\]")
_FLOATS = msgspec.json.Decoder(list[float | None])
_TEXTS = msgspec.json.Decoder(list[str | None])
_INTEGERS = msgspec.json.Decoder(list[int])


class JsonBody:
    """The body of one request. A struct leaves long arrays to be read later as `msgspec.Raw`."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._cuts: list[tuple[int, int]] = []  # where the arrays that were cut out begin and end
        self._outline = self._cut() if len(content) > PIECE_BYTES else content

    def struct(self, decoder: msgspec.json.Decoder[Parsed]) -> Parsed:
        """The whole body.

        Raises:
            Malformed: see `read_struct`.
        """
        return read_struct(decoder, self._outline)

    async def numbers(self, raw: msgspec.Raw, field: str) -> NDArray[np.float64]:
        """An array of numbers and nulls as [n]; null becomes NaN, which JSON cannot write.

        Raises:
            Malformed: anything else; names the first value that is wrong.
        """
        parts: list[NDArray[np.float64]] = []
        read = 0
        for text in self._pieces(raw, field):
            if parts:
                await asyncio.sleep(0)
            values = _read_piece(_FLOATS, text, field, read)
            parts.append(np.array(values, np.float64))
            read += len(values)
        return parts[0] if len(parts) == 1 else await asyncio.to_thread(np.concatenate, parts)

    async def integers(self, raw: msgspec.Raw, field: str) -> list[int]:
        """An array of whole numbers.

        Raises:
            Malformed: anything else; names the first value that is wrong.
        """
        found: list[int] = []
        for text in self._pieces(raw, field):
            if found:
                await asyncio.sleep(0)
            values = _read_piece(_INTEGERS, text, field, len(found))
            found += values
        return found

    def texts(self, raw: msgspec.Raw, field: str) -> list[str | None]:
        """An array of texts and nulls, which is read at once.

        Raises:
            Malformed: anything else; names the first value that is wrong.
        """
        return read_struct(_TEXTS, bytes(raw), field)

    def _cut(self) -> bytes:
        """The body with a mark in the place of each long array of anything but texts.

        A bracket is one of JSON's own, and not part of a text, where an even number of quotes is
        before it. An escaped quote would need a parser, so an escape ends the cutting.
        """
        content = self._content
        parts: list[bytes] = []
        kept = looked = quotes = 0  # what is before `kept` is cut out or among the parts
        for _ in range(_LOOKED):
            end = content.find(b"]", looked) + 1
            if not end or content.find(b"\\", looked, end) >= 0:
                break
            begin = content.rfind(b"[", looked, end)
            long = begin >= 0 and end - begin > PIECE_BYTES
            if long and content.find(b'"', begin, end) < 0:
                quotes += content.count(b'"', looked, begin)
                if quotes % 2 == 0:
                    parts.append(b'%b"%b-%d"' % (content[kept:begin], _TOKEN, len(self._cuts)))
                    self._cuts.append((begin, end))
                    kept = end
            else:
                quotes += content.count(b'"', looked, end)
            looked = end
        return b"".join((*parts, content[kept:])) if parts else content

    def _pieces(self, raw: msgspec.Raw, field: str) -> Iterator[bytes]:
        """An array as arrays of about `PIECE_BYTES`.

        In an array of anything but numbers a cut may fall into a value; such a piece is not JSON.
        """
        mark = _MARK.fullmatch(raw)
        if mark is None:
            yield bytes(raw)
            return
        start, end = self._cuts[int(mark[1])]
        begin = start
        while begin < end - 1:
            comma = self._content.find(b",", begin + PIECE_BYTES, end)
            last = comma if comma > 0 else end - 1
            piece = self._content[begin + 1 : last]
            if not piece.strip() and (begin, last) != (start, end - 1):
                raise Malformed(f"{field} is not JSON: a value is missing between commas", field)
            yield b"[%b]" % piece
            begin = last


def read_struct(decoder: msgspec.json.Decoder[Parsed], text: bytes, field: str = "") -> Parsed:
    """A JSON text as what the decoder knows.

    Args:
        field: where the text stands in its body; empty for the whole body.

    Raises:
        Malformed: not JSON, not UTF-8, a wrong type or a missing field; the first of them.
    """
    name = field or "the body"
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wrong = "UTF-8" if is_about_utf8(error) else f"JSON: {error}"
        raise Malformed(f"{name} is not {wrong}", field or None) from None
    except RecursionError:
        raise Malformed(f"{name} is nested too deeply", field or None) from None


def is_about_utf8(error: Exception) -> bool:
    """Whether this was said of a text in another encoding: each msgspec says it in its own way."""
    return isinstance(error, UnicodeDecodeError) or "UTF-8" in str(error)


async def write_numbers(values: NDArray[np.float32]) -> bytes:
    """[n] as a JSON array, numbers with the fewest digits that read back to the same float32."""
    if len(values) <= PIECE_VALUES:
        return to_json(values)
    parts: list[bytes] = []
    for first in range(0, len(values), PIECE_VALUES):
        parts.append(to_json(values[first : first + PIECE_VALUES])[1:-1])
        await asyncio.sleep(0)
    return b"[%b]" % b",".join(parts)


def _read_piece(
    decoder: msgspec.json.Decoder[Parsed], text: bytes, field: str, read: int
) -> Parsed:
    """Part of an array of which `read` values came before; faults are counted from its start."""
    try:
        return read_struct(decoder, text, field)
    except Malformed as error:
        index = _INDEX.match((error.field or "").removeprefix(field))
        if index is None or not read:
            raise
        there = f"{field}[{read + int(index[1])}]"
        raise Malformed(error.message.replace(f"{field}{index[0]}", there, 1), there) from None


def _wrong(said: str, field: str) -> Malformed:
    """What the parser says of a value, as a sentence that begins with its field."""
    place = _PLACE.search(said)
    where = f"{field}{place['path'] if place else ''}".removeprefix(".")
    if missing := _MISSING.match(said):
        name = f"{where}.{missing['name']}".removeprefix(".")
        return Malformed(f"{name} is missing; see /docs", name)
    what = (said[: place.start()] if place else said).replace("`", "")
    message = f"{where or 'the body'}: {what[:1].lower()}{what[1:]}"
    return Malformed(message, where or None)
