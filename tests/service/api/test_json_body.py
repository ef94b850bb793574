"""Bodies of any size: long arrays are cut out and read in pieces, and nobody can tell."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api import json_body
from service.api.json_body import JsonBody, read_struct, write_numbers
from service.errors import Malformed

Floats = list[float | None]

NUMBERS = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32))
TEXTS = st.text(alphabet='[]{}",:\\ 1é', max_size=30)


class Document(msgspec.Struct):
    """Something like a request."""

    before: str
    many: list[msgspec.Raw]
    after: dict[str, Any]
    numbers: msgspec.Raw


DECODER = msgspec.json.Decoder(Document)


@pytest.fixture
def small_pieces() -> Iterator[None]:
    """Arrays of more than 4 bytes are long."""
    with patch.object(json_body, "PIECE_BYTES", 4), patch.object(json_body, "PIECE_VALUES", 3):
        yield


def numbers(text: str) -> list[float]:
    """`{"numbers": text}` read with pieces of 4 bytes."""

    class Only(msgspec.Struct):
        numbers: msgspec.Raw

    body = JsonBody(b'{"numbers":%b}' % text.encode())
    raw = body.struct(msgspec.json.Decoder(Only)).numbers
    found: list[float] = asyncio.run(body.numbers(raw, "numbers")).tolist()
    return found


def as_floats(values: Floats) -> Any:
    return np.array(values, np.float64)


@settings(deadline=None)
@given(NUMBERS, st.lists(NUMBERS, max_size=3), TEXTS, st.dictionaries(TEXTS, TEXTS | NUMBERS))
def test_what_is_cut_out_is_read_as_if_it_were_not(
    values: Floats, many: list[Floats], text: str, others: dict[str, Any]
) -> None:
    document = {"before": text, "many": many, "after": others, "numbers": values}
    for escaped in (False, True):
        content = json.dumps(document, ensure_ascii=escaped).encode()
        with patch.object(json_body, "PIECE_BYTES", 4):
            body = JsonBody(content)
            found = body.struct(DECODER)
            assert found.before == text
            got = [asyncio.run(body.numbers(raw, "many")) for raw in found.many]
            np.testing.assert_array_equal(
                asyncio.run(body.numbers(found.numbers, "n")), as_floats(values)
            )
        for came, expected in zip(got, many, strict=True):
            np.testing.assert_array_equal(came, as_floats(expected))


@settings(deadline=None)
@given(st.lists(st.integers(-(2**70), 2**70)))
def test_whole_numbers_stay_exact(values: list[int]) -> None:
    class Only(msgspec.Struct):
        sizes: msgspec.Raw

    with patch.object(json_body, "PIECE_BYTES", 4):
        body = JsonBody(json.dumps({"sizes": values}).encode())
        raw = body.struct(msgspec.json.Decoder(Only)).sizes
        assert asyncio.run(body.integers(raw, "sizes")) == values


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "text",
    [
        "[1,2,3,4,5,6,]",
        "[1,2,3,      ,4]",
        "[,1,2,3,4,5]",
        "[1,2,3,4,5,   ]",
        "[1 2 3 4 5 6 7]",
        "[1,2,3,[4,5,6,7],8]",
        "[1,2,3,4,NaN]",
        "[1,2,3,4,Infinity]",
        "[1,2,3,4,1e400]",
        "[1,2,3,4,true]",
        '[1,2,3,4,"a,b"]',
        "[1,2,3,4,{}]",
        "[1,2,3,4,--5]",
        "[1,2,3,4,0x10]",
        '"text"',
        "{}",
        "null",
        "5",
    ],
)
def test_what_is_no_list_of_numbers_is_refused_also_where_it_is_cut(text: str) -> None:
    with pytest.raises(Malformed, match="numbers"):
        numbers(text)


@pytest.mark.usefixtures("small_pieces")
def test_a_wrong_value_is_counted_from_the_start_of_its_array() -> None:
    with pytest.raises(Malformed) as caught:
        numbers("[10,11,12,13,14,15,true,16]")
    assert caught.value.field == "numbers[6]"
    assert caught.value.message == "numbers[6]: expected float | null, got bool"


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("text", ["[]", "[ ]", "[         ]", "[\n\n\n\n\n\n]"])
def test_an_empty_list_is_empty(text: str) -> None:
    assert numbers(text) == []


def test_others_run_between_the_pieces() -> None:
    async def count_turns() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        class Only(msgspec.Struct):
            y: msgspec.Raw

        content = b'{"y":[%b]}' % b",".join([b"1.5"] * 200_000)
        running = asyncio.ensure_future(others())
        body = JsonBody(content)
        values = await body.numbers(body.struct(msgspec.json.Decoder(Only)).y, "y")
        running.cancel()
        assert len(values) == 200_000
        assert (values == 1.5).all()
        return turns

    assert asyncio.run(count_turns()) >= 800_000 // json_body.PIECE_BYTES


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("count", [0, 1, 3, 4, 10])
def test_numbers_are_written_as_json_that_reads_back(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count).astype(np.float32)
    read = json.loads(asyncio.run(write_numbers(values)))
    assert np.array_equal(np.array(read, np.float32), values)


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        (b"", "the body is not JSON: Input data was truncated", None),
        (b'{"a":', "the body is not JSON: Input data was truncated", None),
        (b"[]", "the body: expected object, got array", None),
        (b"{}", "before is missing; see /docs", "before"),
        (b'{"before":1}', "before: expected str, got int", "before"),
        (b'{"before":"a","many":[1,2],"after":3}', "after: expected object, got int", "after"),
        (b'{"before":"\xff"}', "the body is not UTF-8", None),
        (b'{"other":' + b"[" * 100_000, "the body is nested too deeply", None),
    ],
)
def test_the_first_fault_is_named(body: bytes, message: str, field: str | None) -> None:
    with pytest.raises(Malformed) as caught:
        read_struct(DECODER, body)
    assert (caught.value.message, caught.value.field) == (message, field)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 3_000_000,
        b"]" * 3_000_000,
        b'"' * 3_000_000,
        b'{"before":"' + (b"[" + b" " * 70_000 + b"]") * 40,
        b'{"numbers":' + (b"[" + b"1," * 40_000 + b"]") * 40,
        b"\\" * 3_000_000,
    ],
)
def test_a_hostile_body_of_brackets_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        JsonBody(body).struct(DECODER)
