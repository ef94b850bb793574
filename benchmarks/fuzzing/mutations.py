"""Damage to bytes that were right: small enough that most of what reads them is reached."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

# Lengths, counts and offsets that are wrong in ways that matter, in 1, 4 and 8 bytes.
_NUMBERS = [
    number.to_bytes(size, order)
    for size in (1, 4, 8)
    for number in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for order in ("little", "big")
]
_VALUES: list[Any] = [
    *(None, True, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 0.5, 1e-320, 3e38, -3e38, 1e308, 1e39),
    *("", "a", "\0", "\ud800", "tiny", "tiny@1", "NaN", "9999-12-31", "0001-01-01", "x" * 5000),
    *([], {}, [[]], [None], [0] * 5000, {"a": 1}),
]
_TEXTS = [b"", b"\0", b"\xff", b"\x80", b"\r\n\r\n", b'"', b"[[", b"{", b"-", b"e999", b"null"]


def mutate(chance: random.Random, data: bytes) -> bytes:
    """One to four changes of a byte string; of JSON, as often another value in one place."""
    if data[:1] == b"{" and chance.random() < 0.5:
        return _other_value(chance, data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        data = chance.choice(_CHANGES)(chance, data)
    return data


def _other_value(chance: random.Random, data: bytes) -> bytes:
    """JSON, and what follows it, with one value replaced, doubled or left out."""
    whole, end = json.JSONDecoder().raw_decode(data.decode("latin-1"))
    places = [*_places(whole)]
    inside, key = chance.choice(places)
    if chance.random() < 0.2:
        del inside[key]
    else:
        inside[key] = chance.choice([*_VALUES, inside[key], [inside[key]] * 2])
    return json.dumps(whole).encode() + data[end:]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = range(len(value)) if isinstance(value, list) else value
    for key in keys:
        yield value, key
        if isinstance(value[key], list | dict):
            yield from _places(value[key])


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return _put(data, at, bytes([data[at] ^ 1 << chance.randrange(8)]) if data else b"")


def _replace(chance: random.Random, data: bytes) -> bytes:
    return _put(data, _place(chance, data), chance.randbytes(chance.randint(1, 8)))


def _lie(chance: random.Random, data: bytes) -> bytes:
    return _put(data, _place(chance, data), chance.choice(_NUMBERS))


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + chance.choice([*_TEXTS, chance.randbytes(4)]) + data[at:]


def _delete(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + data[at + chance.randint(1, 16) :]


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: _place(chance, data)]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + data[at : at + chance.randint(1, 64)] * chance.randint(2, 20) + data[at:]


def _place(chance: random.Random, data: bytes) -> int:
    """Heads and tails more often than the rest: there are the lengths."""
    last = max(len(data) - 1, 0)
    where = chance.random()
    if where < 0.3:
        return chance.randint(0, min(last, 128))
    if where < 0.5:
        return chance.randint(max(last - 128, 0), last)
    return chance.randint(0, last)


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


_CHANGES: list[Callable[[random.Random, bytes], bytes]] = [
    *(_flip, _replace, _lie, _insert, _delete, _cut, _repeat)
]
