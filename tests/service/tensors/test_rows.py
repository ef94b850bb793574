"""Tensors: the rows come out as they went in, and whatever cannot be a row is named."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contract.forecast import ForecastSignature
from service.contract.placement import History, place, stack
from service.errors import Malformed, TooLarge, Unservable
from service.tensors.rows import tensor_rows
from tests.artifacts import toy
from tests.artifacts.rows import unstack

Tensors = dict[str, NDArray[Any]]
FIELDS = ("target", "timestamps", "past", "known", "static", "categories")
PLAIN = ForecastSignature(
    freq="D",
    seasonality=7,
    context_length=20,
    minimum_context=3,
    horizon=3,
    quantile_levels=(0.5,),
)


def plain(rows: int = 4, steps: int = 10) -> Tensors:
    """Good tensors of the plain model."""
    values = np.arange(rows * steps, dtype=np.float32).reshape(rows, steps)
    return {"context": values, "lengths": np.full(rows, steps)}


def dressed(steps: list[int], padded: int = 0) -> tuple[list[History], Tensors]:
    """Series with everything that the toy wants, and good tensors of them."""
    random = np.random.default_rng(sum(steps))
    series = [toy.history(n, random) for n in steps]
    wide = toy.SIGNATURE.model_copy(update={"context_length": max(steps)})
    tensors = stack(series, wide, max(*steps, padded))
    return series, dict(zip([spec.name for spec in wide.inputs], tensors, strict=True))


def histories(
    tensors: Tensors,
    signature: ForecastSignature,
    check_rows: Callable[[int], None] = lambda _: None,
) -> list[History]:
    """The rows for the engine, read back from the memory of a batch."""
    found: dict[int, History] = {}
    for rows in tensor_rows(tensors, signature, check_rows):
        sizes = signature.sizes(len(rows), rows.shape)
        memory = tuple(np.zeros(spec.fixed(sizes), spec.dtype) for spec in signature.inputs)
        rows.write(0, len(rows), memory, 0)
        found.update(zip(rows.places.tolist(), unstack(memory, signature), strict=True))
    return [found[place] for place in sorted(found)]


def newest(series: History, signature: ForecastSignature) -> History:
    """The same series, cut by its field's own number of steps."""
    steps = signature.context_length
    span = steps + signature.horizon
    if series.timestamps is None:
        return History(series.target[-steps:])
    assert series.past is not None
    assert series.known is not None
    return History(
        series.target[-steps:],
        series.timestamps[-span:],
        series.past[-steps:],
        series.known[-span:],
        series.static,
        series.categories,
    )


def assert_same(got: History, expected: History) -> None:
    for field in FIELDS:
        one, other = getattr(got, field), getattr(expected, field)
        if other is None:
            assert one is None
        else:
            np.testing.assert_array_equal(one, np.asarray(other, one.dtype), field)


@given(st.lists(st.integers(1, 45), min_size=1, max_size=8), st.integers(0, 60))
def test_what_was_stacked_comes_back_in_its_newest_steps(steps: list[int], padded: int) -> None:
    series, tensors = dressed(steps, padded)
    for got, expected in zip(histories(tensors, toy.SIGNATURE), series, strict=True):
        assert_same(got, newest(expected, toy.SIGNATURE))


@given(st.lists(st.integers(3, 45), min_size=1, max_size=8))
def test_a_plain_model_gets_targets_alone(steps: list[int]) -> None:
    series = [np.linspace(-n, n, n).astype(np.float32) for n in steps]
    context = np.full((len(steps), max(steps)), np.nan, np.float32)
    for row, values in zip(context, series, strict=True):
        row[: len(values)] = values
    found = histories({"context": context, "lengths": np.array(steps)}, PLAIN)
    for got, values in zip(found, series, strict=True):
        assert_same(got, History(values[-20:]))


def assert_placed_alike(tensors: Tensors, signature: ForecastSignature) -> None:
    """Rows for the engine are those that `place` would make of the histories, to the bit."""
    given = tuple(tensors[spec.name] for spec in signature.inputs)
    series = [newest(one, signature) for one in unstack(given, signature)]
    expected = place(series, signature)
    found = sorted(tensor_rows(tensors, signature), key=lambda rows: rows.places[0])
    assert len(found) == len(expected)
    for rows, block in zip(found, expected, strict=True):
        assert rows.shape == block.inputs[0].shape[1]
        np.testing.assert_array_equal(rows.places, block.rows)
        memory = tuple(np.full_like(one, 9) for one in block.inputs)
        half = len(rows) // 2
        rows.write(half, len(rows), memory, half)
        rows.write(0, half, memory, 0)
        for got, want in zip(memory, block.inputs, strict=True):
            np.testing.assert_array_equal(got, want)
            assert got.tobytes() == want.tobytes()


@given(
    st.lists(st.integers(3, 45), min_size=1, max_size=8)
    | st.integers(3, 45).map(lambda n: [n] * 3),
    st.integers(0, 60),
)
def test_rows_of_a_plain_model_are_placed_as_everywhere(steps: list[int], padded: int) -> None:
    context = np.full((len(steps), max(*steps, padded)), np.inf, np.float32)
    for row, n in zip(context, steps, strict=True):
        row[:n] = np.linspace(-n, n, n)
        row[: n // 2] = np.nan
    assert_placed_alike({"context": context, "lengths": np.array(steps)}, PLAIN)


@given(st.lists(st.integers(1, 45), min_size=1, max_size=8), st.integers(0, 60))
def test_rows_with_everything_are_placed_as_everywhere(steps: list[int], padded: int) -> None:
    assert_placed_alike(dressed(steps, padded)[1], toy.SIGNATURE)


def test_rows_of_a_context_that_is_no_bucket_are_placed_as_everywhere() -> None:
    context = np.arange(120, dtype=np.float32).reshape(2, 60)
    for limit in (1, 7, 27, 59, 60, 61):
        signature = PLAIN.model_copy(update={"context_length": limit})
        for lengths in ([60, 60], [60, 27], [3, 28]):
            assert_placed_alike({"context": context, "lengths": np.array(lengths)}, signature)


def test_what_lies_in_the_padding_is_not_looked_at() -> None:
    _, tensors = dressed([5, 9], padded=12)
    for name in ("context", "past_covariates", "known_covariates"):
        tensors[name][0, 8:] = np.inf
    tensors["timestamps"][0, 8:] = -(2**63)
    first, _ = histories(tensors, toy.SIGNATURE)
    assert len(first.target) == 5


def test_what_lies_before_the_newest_steps_is_not_looked_at() -> None:
    _, tensors = dressed([40, 30])
    for name in ("context", "past_covariates", "known_covariates"):
        tensors[name][0, :20] = np.inf
        tensors[name][1, :10] = np.inf
    tensors["timestamps"][0, :20] = 2**62
    assert len(histories(tensors, toy.SIGNATURE)) == 2


def test_missing_values_are_welcome_beside_an_observed_one() -> None:
    _, tensors = dressed([5, 9])
    tensors["context"][0, :4] = np.nan
    for name in ("past_covariates", "known_covariates", "static_features"):
        tensors[name][:] = np.nan
    assert len(histories(tensors, toy.SIGNATURE)) == 2


def test_the_largest_value_is_served() -> None:
    tensors = plain()
    tensors["context"][1, 2] = -1e36
    assert len(histories(tensors, PLAIN)) == 4


def test_the_rows_are_counted_before_they_are_looked_at() -> None:
    def check_rows(rows: int) -> None:
        raise TooLarge(f"{rows} rows")

    tensors = plain(rows=5)
    tensors["context"][:] = np.inf
    with pytest.raises(TooLarge, match="5 rows"):
        histories(tensors, PLAIN, check_rows)


def test_read_only_and_strided_tensors_are_read() -> None:
    wide = np.arange(80, dtype=np.float32).reshape(4, 20)
    wide.flags.writeable = False
    tensors = {"context": wide[:, ::2], "lengths": np.full(8, 10)[::2]}
    assert histories(tensors, PLAIN)[1].target.tolist() == list(range(20, 40, 2))


def changed(**tensors: object) -> Tensors:
    """The good tensors with others in their place."""
    return plain() | {name: np.asarray(values) for name, values in tensors.items()}


def without(name: str) -> Tensors:
    return {key: values for key, values in plain().items() if key != name}


def filled(name: str, at: tuple[int | slice, ...], value: float) -> Callable[[], Tensors]:
    """The toy's tensors of rows of 5, 9 and 40 steps with one value changed."""

    def fill() -> Tensors:
        _, tensors = dressed([5, 9, 40])
        tensors[name][at] = value
        return tensors

    return fill


def back() -> Tensors:
    """Milliseconds would be noticed; so is a line of time that was turned round."""
    _, tensors = dressed([5, 9, 40])
    tensors["timestamps"][1, :12] = tensors["timestamps"][1, :12][::-1]
    return tensors


NAN_ROW = np.where(np.arange(4)[:, np.newaxis] == 2, np.nan, np.ones((4, 10))).astype("f4")
FORM: dict[str, tuple[Callable[[], Tensors], str, str]] = {
    "no tensor": (dict, "context", "'context', 'lengths' is missing.*context float32"),
    "no lengths": (lambda: without("lengths"), "lengths", "'lengths' is missing"),
    "one more": (lambda: changed(x=[1]), "x", "unexpected tensor 'x'.*takes context float32"),
    "many more": (
        lambda: changed(**{f"{n:060}": [1] for n in range(9)}),
        f"{0:060}",
        r"0\.\.\., '0.* and 4 more",
    ),
    "float64": (lambda: changed(context=np.ones((4, 10))), "context", "float64.*float32"),
    "big-endian": (lambda: changed(context=np.ones((4, 10), ">f4")), "context", ">f4.*float32"),
    "int32": (lambda: changed(lengths=np.full(4, 10, "i4")), "lengths", "int32.*int64"),
    "objects": (lambda: changed(lengths=np.full(4, None)), "lengths", "object.*int64"),
    "one axis": (lambda: changed(context=np.ones(4, "f4")), "context", r"\[4\].*\[batch, time\]"),
    "three axes": (
        lambda: changed(context=np.ones((4, 10, 1), "f4")),
        "context",
        r"\[4, 10, 1\].*\[batch, time\]",
    ),
    "a scalar": (lambda: changed(lengths=np.int64(3)), "lengths", r"\[\], expected lengths"),
    "no row": (lambda: plain(rows=0), "context", r"\[0, 10\].*at least one row"),
    "no step": (lambda: plain(steps=0), "context", r"\[4, 0\].*of one step"),
    "too few lengths": (
        lambda: changed(lengths=np.full(3, 10)),
        "lengths",
        r"\[3\], expected \[4\] beside context \[4, 10\]",
    ),
    "length 0": (
        lambda: changed(lengths=[9, 9, 0, 9]),
        "lengths",
        "row 2.* is 0, expected 1 to 10",
    ),
    "length -1": (lambda: changed(lengths=[9, -1, 9, 9]), "lengths", "row 1.* is -1"),
    "length 11": (lambda: changed(lengths=[9, 9, 9, 11]), "lengths", "row 3.* is 11.*1 to 10"),
    "length 2**63 - 1": (lambda: changed(lengths=[2**63 - 1] * 4), "lengths", "row 0"),
}
VALUES: dict[str, tuple[Callable[[], Tensors], ForecastSignature, str, str]] = {
    "too short": (lambda: changed(lengths=[9, 2, 9, 2]), PLAIN, "lengths", "row 1.* 2,.*3 steps"),
    "nothing observed": (
        lambda: changed(context=NAN_ROW),
        PLAIN,
        "context",
        "row 2.*no observed value in its newest 10 steps",
    ),
    "nothing observed in the newest": (
        filled("context", (2, slice(20, 40)), np.nan),
        toy.SIGNATURE,
        "context",
        "row 2.*newest 20 steps",
    ),
    "infinite": (filled("context", (0, 4), -np.inf), toy.SIGNATURE, "context", "row 0.* inf;"),
    "too large": (filled("context", (1, 8), 2e36), toy.SIGNATURE, "context", r"row 1.*2e\+36;"),
    "past too large": (
        filled("past_covariates", (1, 8, 1), 2e36),
        toy.SIGNATURE,
        "past_covariates",
        "row 1.*2e",
    ),
    "known too large at the horizon": (
        filled("known_covariates", (0, 7, 0), np.inf),
        toy.SIGNATURE,
        "known_covariates",
        "row 0.*inf",
    ),
    "static too large": (
        filled("static_features", (2, 0), np.inf),
        toy.SIGNATURE,
        "static_features",
        "row 2.*inf",
    ),
    "a code unknown": (
        filled("static_categories", (1, 0), 3),
        toy.SIGNATURE,
        "static_categories",
        r"row 1.* 3 for category 0, expected 0 \(unknown\) to 2",
    ),
    "a code negative": (
        filled("static_categories", (1, 0), -1),
        toy.SIGNATURE,
        "static_categories",
        "row 1.* -1",
    ),
    "milliseconds": (
        filled("timestamps", (2, 42), 1_700_000_000_000),
        toy.SIGNATURE,
        "timestamps",
        "row 2.*1700000000000 at step 42.*1678 to 2261",
    ),
    "time repeated": (
        filled("timestamps", (0, 7), 0),
        toy.SIGNATURE,
        "timestamps",
        "row 0.*does not increase from step 6 to step 7",
    ),
    "time turned round": (
        back,
        toy.SIGNATURE,
        "timestamps",
        "row 1.*does not increase from step 0",
    ),
}


@pytest.mark.parametrize("case", FORM)
def test_tensors_of_another_form_are_malformed(case: str) -> None:
    tensors, field, message = FORM[case]
    for read in (histories, tensor_rows):
        with pytest.raises(Malformed) as caught:
            read(tensors(), PLAIN)
    assert caught.value.field == field
    assert re.search(message, caught.value.message), caught.value.message


@pytest.mark.parametrize("case", VALUES)
def test_rows_that_the_model_cannot_answer_are_named(case: str) -> None:
    tensors, signature, field, message = VALUES[case]
    for read in (histories, tensor_rows):
        with pytest.raises(Unservable) as caught:
            read(tensors(), signature)
    assert caught.value.field == field
    assert re.search(message, caught.value.message), caught.value.message


def test_a_span_of_another_length_names_the_horizon() -> None:
    _, tensors = dressed([5, 9])
    tensors["timestamps"] = tensors["timestamps"][:, :-1]
    with pytest.raises(Malformed, match=r"\[2, 11\], expected \[2, 12\].*the model's horizon"):
        histories(tensors, toy.SIGNATURE)


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def anything(draw: st.DrawFn) -> Tensors:
    """Tensors under the names of the toy, of any form and content."""

    def one() -> Iterator[NDArray[Any]]:
        for spec in toy.SIGNATURE.inputs:
            right = spec.fixed(toy.SIGNATURE.sizes(2, 4))
            shape = draw(st.just(right) | shapes())
            content = st.sampled_from([0, 1, 2, 5, -1, 86_400, 2**62])
            if spec.dtype == "float32":
                content |= st.sampled_from([np.nan, np.inf, 1e37])
            values = draw(st.lists(content, min_size=1, max_size=4))
            yield np.resize(np.array(values, spec.dtype), shape)

    return dict(zip([spec.name for spec in toy.SIGNATURE.inputs], one(), strict=True))


@given(anything())
def test_whatever_comes_is_served_or_refused(tensors: Tensors) -> None:
    with suppress(Malformed, Unservable):
        assert len(histories(tensors, toy.SIGNATURE)) == len(tensors["lengths"])
