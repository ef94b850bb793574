"""A JSON object of long flat lists, read a slice at a time.

Parsing 20 MB of JSON in one go holds the interpreter, and with it every other request, for more
than 100 ms. Lists of numbers can be cut at any comma, lists of texts at any comma outside a text;
each slice is then parsed by msgspec, and the event loop runs in between. A body that fits into one
slice takes the same way.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.api.bulk.aside import Pace
from service.api.bulk.names import Names
from service.api.json_body import is_about_utf8
from service.errors import Malformed, TooLarge

SLICE = 1 << 15  # bytes; about a quarter of a millisecond

# Groups are not repeated possessively: Python before 3.11.4 leaves such a group half way through.
_SPACE = re.compile(rb"[ \t\r\n]*+")
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*"')
# Elements that are not lists: what has no quotes, or a text.
_ELEMENT = rb'[^",\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*"[ \t\r\n]*+)?'
_ELEMENTS = re.compile(rb"(?:%b,)*" % _ELEMENT)
_LAST = re.compile(rb"%b(?=\])" % _ELEMENT)
_SCALAR = re.compile(rb'[^",:\[\]{} \t\r\n]++|"[^"\\]*+(?:\\.[^"\\]*+)*"|\[[^"\[\]{}]*+\]')
_PLACE = re.compile(r"(.*) - at `\$\[(\d+)\]`")

_NUMBERS = msgspec.json.Decoder(list[float | None])
_COUNTS = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=1, le=2**40)]])


class Scanner:
    """A place in a body, and what can be read there."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0
        self._pace = Pace(SLICE // 2)

    async def keys(self, within: str = "") -> AsyncIterator[str]:
        """The keys of the object that begins here; the caller reads each value.

        Args:
            within: the name of the object, for messages.
        """
        self._expect(b"{")
        seen: set[str] = set()
        await self.space()
        if self._take(b"}"):
            return
        while True:
            await self.space()
            key = _decode(self._match(_TEXT, "a key"), str, "a key")
            field = f"{within}.{key}" if within else key
            if key in seen:
                raise Malformed(f"{field} is there twice; send it once", field)
            seen.add(key)
            await self.space()
            self._expect(b":")
            await self.space()
            yield key
            await self.space()
            if self._take(b"}"):
                return
            self._expect(b",")

    async def end(self) -> None:
        """Nothing follows but space."""
        await self.space()
        if self.at < len(self.body):
            raise self._not_json("something follows the object")

    def scalar(self, type_: Any, field: str) -> Any:
        """A short value: a text, a number, null, or a list of numbers."""
        return _decode(self._match(_SCALAR, f"the value of {field}"), type_, field)

    def begins(self, mark: bytes) -> bool:
        """Whether these bytes are next."""
        return self.body.startswith(mark, self.at)

    async def numbers(self, field: str) -> NDArray[np.float64]:
        """A list of numbers; null becomes NaN."""
        parts: list[NDArray[np.float64]] = []
        count = 0
        async for piece in self._pieces(field, texts=False):
            parts.append(np.array(_list(_NUMBERS, piece, field, count), np.float64))
            count += len(parts[-1])
        if len(parts) < 2:
            return parts[0] if parts else np.empty(0)
        return await asyncio.to_thread(np.concatenate, parts)

    async def counts(self, field: str, most: int) -> NDArray[np.int64]:
        """A list of at most so many positive whole numbers."""
        found: list[int] = []
        async for piece in self._pieces(field, texts=False):
            found += _list(_COUNTS, piece, field, len(found))
            _check_count(len(found), most, field)
        return np.array(found, np.int64)

    async def elements(self, field: str, type_: Any, most: int) -> list[Any]:
        """A list of at most so many texts, or of numbers and texts.

        Args:
            type_: of an element, as msgspec understands it.
        """
        decoder = msgspec.json.Decoder(list[type_])
        found: list[Any] = []
        async for piece in self._pieces(field, texts=True):
            found += _list(decoder, piece, field, len(found))
            _check_count(len(found), most, field)
        return found

    async def names(self, field: str, type_: Any, most: int) -> Names:
        """A list of at most so many texts, packed again.

        Args:
            type_: of an element, as msgspec understands it.
        """
        decoder = msgspec.json.Decoder(list[type_])
        parts: list[Names] = []
        count = 0
        async for piece in self._pieces(field, texts=True):
            parts.append(Names.of(_list(decoder, piece, field, count)))
            count += len(parts[-1])
            _check_count(count, most, field)
        return Names.joined(parts)

    async def space(self) -> None:
        """Skip white space."""
        while True:
            end = self.at + SLICE
            found = _SPACE.match(self.body, self.at, end)
            assert found is not None  # it matches nothing as well
            self.at = found.end()
            if self.at < end:
                return
            await asyncio.sleep(0)

    async def _pieces(self, field: str, *, texts: bool) -> AsyncIterator[bytes]:
        """The list that begins here as shorter lists of one element or more, unparsed."""
        if not self._take(b"["):
            raise Malformed(f"{field} is not a list; send one", field)
        await self.space()
        last = self._take(b"]")
        while not last:
            cut, last = self._cut_texts(field) if texts else self._cut_numbers(field)
            yield b"[%b]" % self.body[self.at : cut]
            count = cut - self.at
            self.at = cut + 1
            await self._pace.spend(count)

    def _cut_numbers(self, field: str) -> tuple[int, bool]:
        """Where this piece ends, and whether it is the last of its list."""
        end = self.body.find(b"]", self.at, self.at + SLICE)
        if end >= 0:
            return end, True
        comma = self.body.rfind(b",", self.at, self.at + SLICE)
        if comma < 0:
            raise self._not_json(f"{field} goes on without a comma or an end")
        return comma, False

    def _cut_texts(self, field: str) -> tuple[int, bool]:
        end = self.at + SLICE
        whole = _ELEMENTS.match(self.body, self.at, end)
        assert whole is not None  # it matches nothing as well
        if last := _LAST.match(self.body, whole.end(), end):
            return last.end(), True
        if whole.end() == self.at:
            raise self._not_json(f"{field} goes on without a comma or an end")
        return whole.end() - 1, False

    def _match(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        found = pattern.match(self.body, self.at, self.at + SLICE)
        if found is None:
            raise self._not_json(f"{what} is expected")
        self.at = found.end()
        return found[0]

    def _take(self, mark: bytes) -> bool:
        """Step over these bytes, where they are next."""
        if not self.begins(mark):
            return False
        self.at += len(mark)
        return True

    def _expect(self, mark: bytes) -> None:
        if not self._take(mark):
            raise self._not_json(f"{mark.decode()} is expected")

    def _not_json(self, problem: str) -> Malformed:
        found = self.body[self.at : self.at + 20].decode("utf-8", "replace")
        there = f"at byte {self.at} is {found!r}" if found else "there the body ends"
        return Malformed(f"the body is not the documented JSON: {problem}, {there}; see /docs")


def _list(decoder: msgspec.json.Decoder[list[Any]], piece: bytes, field: str, before: int) -> Any:
    """The elements of a piece, of whose list so many came before."""
    try:
        found = decoder.decode(piece)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        place = _PLACE.fullmatch(str(error))
        if place is None:
            raise _broken(field, piece, error) from None
        field = f"{field}[{before + int(place[2])}]"
        raise Malformed(f"{field}: {_said(place[1])}", field) from None
    if not found:
        raise Malformed(f"the body is not JSON: {field} ends with a comma", field)
    return found


def _broken(field: str, piece: bytes, error: Exception) -> Malformed:
    if b"NaN" in piece or b"Inf" in piece:
        message = (
            f"{field} holds NaN or Infinity, which JSON has not; send null for a missing value"
        )
        return Malformed(message, field)
    problem = "it is not UTF-8" if is_about_utf8(error) else str(error)
    return Malformed(f"{field} is not a JSON list of single values: {problem}", field)


def _decode(raw: bytes, type_: Any, field: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        place = _PLACE.fullmatch(str(error))
        where, said = (f"[{place[2]}]", place[1]) if place else ("", str(error))
        said = "it is not UTF-8" if is_about_utf8(error) else said
        raise Malformed(f"{field}{where}: {_said(said)}", f"{field}{where}") from None


def _said(problem: str) -> str:
    if problem == "Number out of range":
        return "the number is out of range; send null for a missing value"
    return problem


def _check_count(count: int, most: int, field: str) -> None:
    if count > most:
        raise TooLarge(f"{field} has more than {most} elements, one per series; split it", field)
