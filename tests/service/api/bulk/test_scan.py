"""The sliced reader of packed JSON against Python's own parser, whatever the size of a slice."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.bulk import scan
from service.api.bulk.scan import Scanner
from service.errors import Malformed, TooLarge

NUMBERS = st.lists(
    st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
)
TEXTS = st.lists(st.text(max_size=6))
SPACES = st.sampled_from([None, 0, 3, "\t"])
FIXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(body: bytes, most: int = 1000) -> dict[str, Any]:
    """An object of numbers y, counts sizes, texts ids, features mix and anything short."""

    async def read_all() -> dict[str, Any]:
        scanner = Scanner(body)
        found: dict[str, Any] = {}
        await scanner.space()
        async for key in scanner.keys():
            if key == "y":
                found[key] = await scanner.numbers(key)
            elif key == "sizes":
                found[key] = await scanner.counts(key, most)
            elif key == "ids":
                found[key] = [*await scanner.names(key, str, most)]
            elif key == "mix":
                found[key] = await scanner.elements(key, str | float | None, most)
            else:
                found[key] = scanner.scalar(str | float | list[float] | None, key)
        await scanner.end()
        return found

    return asyncio.run(read_all())


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """What was read, as Python's parser says it."""
    arrays = {k: v.tolist() for k, v in found.items() if isinstance(v, np.ndarray)}
    return found | {k: [None if x != x else x for x in v] for k, v in arrays.items()}


@FIXED
@given(
    y=NUMBERS,
    sizes=st.lists(st.integers(1, 10**9)),
    ids=TEXTS,
    mix=st.lists(st.none() | st.text(max_size=4) | st.integers(-5, 5)),
    model=st.text(max_size=5),
    indent=SPACES,
    ascii_only=st.booleans(),
    size=st.sampled_from([64, 100, 1 << 15]),
)
def test_a_body_is_read_as_json_is(
    monkeypatch: pytest.MonkeyPatch,
    y: list[Any],
    sizes: list[int],
    ids: list[str],
    mix: list[Any],
    model: str,
    indent: Any,
    ascii_only: bool,
    size: int,
) -> None:
    monkeypatch.setattr(scan, "SLICE", size)
    content = {"model": model, "y": y, "ids": ids, "sizes": sizes, "mix": mix}
    body = json.dumps(content, indent=indent, ensure_ascii=ascii_only).encode()
    assert plain(read(body)) == content


@FIXED
@given(data=st.data(), size=st.sampled_from([64, 1 << 15]))
def test_a_damaged_body_is_refused_or_read_as_json_is(
    monkeypatch: pytest.MonkeyPatch, data: st.DataObject, size: int
) -> None:
    monkeypatch.setattr(scan, "SLICE", size)
    good = b'{"model": "a", "y": [1, 2.5, null], "ids": ["a,]", "\\"b"], "sizes": [3], "mix": [1]}'
    body = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from(
                [b"", b",", b"]", b"[", b'"', b"}", b"{", b"\\", b"\xff", b"1", b":", b" "]
            )
        )
    try:
        found = plain(read(bytes(body)))
    except (Malformed, TooLarge):
        return
    assert found == json.loads(bytes(body))


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_truncated_body_is_refused(cut: int) -> None:
    body = b'{"y": [1, 2.5, null], "ids": ["a", "b"], "sizes": [3], "m": "x"}'
    with pytest.raises(Malformed):
        read(body[:-cut])


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (b'{"y": [1, 2, true]}', "y[2]", "float . null.*bool"),
        (b'{"y": [1, "2"]}', "y[1]", "float . null.*str"),
        (b'{"y": [1, 1e999]}', "y[1]", "out of range.*null"),
        (b'{"y": [1, NaN]}', "y", "NaN or Infinity.*null"),
        (b'{"y": [1, -Infinity]}', "y", "NaN or Infinity.*null"),
        (b'{"y": [[1]]}', "y[0]", "array"),
        (b'{"y": 5}', "y", "not a list"),
        (b'{"y": [1,]}', "y", "comma"),
        (b'{"sizes": [1, 0]}', "sizes[1]", ">= 1"),
        (b'{"sizes": [2.5]}', "sizes[0]", "int.*float"),
        (b'{"sizes": [1' + b"0" * 400 + b"]}", "sizes[0]", "."),
        (b'{"ids": [5]}', "ids[0]", "str.*int"),
        (b'{"ids": ["\xff"]}', "ids", "UTF-8"),
        (b'{"y": [1], "y": [2]}', "y", "twice"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, field: str, message: str) -> None:
    with pytest.raises(Malformed, match=message) as caught:
        read(body)
    assert caught.value.field == field


def test_an_index_counts_from_the_begin_of_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SLICE", 64)
    values = [*["1"] * 500, "true", "1"]
    with pytest.raises(Malformed) as caught:
        read(b'{"y": [%b]}' % ",".join(values).encode())
    assert caught.value.field == "y[500]"


def test_a_list_that_is_too_long_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "SLICE", 64)
    with pytest.raises(TooLarge, match="sizes has more than 10 elements"):
        read(b'{"sizes": [' + b"1," * 1000 + b"and what comes here is not looked at", most=10)
    with pytest.raises(TooLarge, match="ids has more than 10 elements"):
        read(b'{"ids": [' + b'"",' * 1000 + b"!", most=10)


@pytest.mark.parametrize("body", [b"[" * 10**6, b'{"y":' + b"[" * 10**6, b'{"m":"' + b"x" * 10**6])
def test_a_body_without_an_end_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="not the documented JSON|x"):
        read(body)


def test_others_run_while_a_long_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SLICE", 1024)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        other = asyncio.ensure_future(count())
        scanner = Scanner(b"[" + b"1.5," * 100_000 + b"1]")
        assert len(await scanner.numbers("y")) == 100_001
        other.cancel()

    asyncio.run(both())
    assert turns >= 400_000 // 1024
