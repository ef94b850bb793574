"""Numbers in C: a text is read as Python reads it, a float32 written as briefly as it can be."""

import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

express = pytest.importorskip("service.express._express", reason="no compiler at installation")

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def read(text: str) -> np.float32 | None:
    """One number, by way of a body."""
    body = b'{"model":"m","series":[{"item_id":"a","start":"2024","target":[%b]}]}' % text.encode()
    question = express.read_forecast(body)
    if question is None or not question.fits(1, 1, 1):
        return None
    memory: tuple[NDArray[Any], ...] = (np.empty((1, 1), np.float32), np.empty(1, np.int64))
    (rows,) = question.rows(np.ones(2, np.int64))
    rows.write(0, 1, memory, 0)
    return np.float32(memory[0][0, 0])


def digits(text: str) -> int:
    return len(text.partition("e")[0].replace(".", "").strip("-0"))


def every_exponent() -> NDArray[np.float32]:
    """Both ends of every binade and what lies beside them, in both signs."""
    powers = np.arange(0, 0x7F80_0000, 0x0080_0000, dtype=np.uint32)
    near = (powers[:, np.newaxis] + np.array([0, 1, 2, 3, -1, -2, -3], np.int64)).ravel()
    bits = near[(near >= 0) & (near < 0x7F80_0000)].astype(np.uint32)
    return np.concatenate([bits, bits | 0x8000_0000]).view(np.float32)


def random_floats() -> NDArray[np.float32]:
    bits = np.random.default_rng(0).integers(0, 2**32, 500_000, np.uint32)
    values = bits.view(np.float32)
    return values[np.isfinite(values)]


@pytest.mark.parametrize("values", [every_exponent(), random_floats()], ids=["edges", "random"])
def test_a_float_is_written_with_the_fewest_digits_that_read_back_to_it(
    values: NDArray[np.float32],
) -> None:
    texts = express.write_numbers(values)[1:-1].decode().split(",")
    assert np.array(texts, np.float64).astype(np.float32).tobytes() == values.tobytes()
    theirs = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    assert list(map(digits, texts)) == list(map(digits, theirs))
    assert [float(text) for text in texts] == [float(text) for text in theirs]  # the nearest


@given(FINITE)
def test_a_written_number_is_json(value: float) -> None:
    (read_back,) = json.loads(express.write_numbers(np.array([value], np.float32)))
    assert isinstance(read_back, float)
    assert np.float32(read_back).tobytes() == np.float32(value).tobytes()


def test_nothing_is_written_as_an_empty_list() -> None:
    assert express.write_numbers(np.empty(0, np.float32)) == b"[]"


def test_what_is_not_float32_is_not_written() -> None:
    with pytest.raises(ValueError, match="float32"):
        express.write_numbers(np.zeros(3))


DIGITS = st.text("0123456789", min_size=1, max_size=25)
SIMPLE = st.builds(str, st.integers(-(2**80), 2**80))
TEXTS = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    st.one_of(st.just("0"), DIGITS),
    st.one_of(st.just(""), DIGITS.map(lambda text: f".{text}")),
    st.one_of(
        st.just(""),
        st.builds(lambda e, n: f"{e}{n}", st.sampled_from(["e", "E", "e+", "E-"]), DIGITS),
        st.integers(-60, 60).map(lambda power: f"e{power}"),
    ),
)


@settings(max_examples=2000)
@given(st.one_of(TEXTS, SIMPLE, FINITE.map(repr), st.floats(allow_nan=False).map(repr)))
def test_a_text_is_read_as_the_nearest_double_or_left_to_the_handler(text: str) -> None:
    try:
        expected = float(json.loads(text))
    except (ValueError, OverflowError):
        expected = math.inf
    came = read(text)
    if came is None:
        assert abs(expected) > 1e36 or not math.isfinite(expected)
    else:
        assert came.tobytes() == np.float32(expected).tobytes()


# Halfway between two doubles, a hair beside it, and sums of many digits.
HALVES = [
    "9007199254740993",
    "9007199254740992.9999999999",
    "9007199254740993.00000000001",
    "0.1000000000000000055511151231257827",
    "1.0000000596046447753906",
    "1.00000005960464477539062500001",
    "4503599627370497.5",
    "1234567890123456789e-19",
    "18446744073709551615e-19",
    "9999999999999999999e-10",
    "1e-45",
    "7.0064923216240853e-46",
    "7.006492321624085e-46",
    "0e999999999999",
    "-0",
    "-0.0",
]


@pytest.mark.parametrize("text", HALVES)
def test_a_tie_is_broken_as_python_breaks_it(text: str) -> None:
    came = read(text)
    assert came is not None
    assert came.tobytes() == np.float32(float(json.loads(text))).tobytes()


@pytest.mark.parametrize(
    "text",
    ["01", "1.", ".5", "+1", "-", "1e", "1e+", "0x10", "1_0", "nan", "NaN", "Infinity", "1e37"],
)
def test_what_json_does_not_know_or_no_model_can_take_is_left_to_the_handler(text: str) -> None:
    assert read(text) is None
