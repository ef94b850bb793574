"""Placement: a row's bucket is its own affair, and no row or value is lost on the way."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contract.buckets import PACKET, bucket
from service.contract.forecast import ForecastSignature
from service.contract.metadata import Block
from service.contract.placement import History, place, stack
from tests.artifacts import toy
from tests.artifacts.rows import unstack

lengths = st.integers(1, 3000)
histories = st.lists(
    st.lists(st.floats(-1e30, 1e30) | st.just(float("nan")), min_size=1, max_size=80),
    min_size=1,
    max_size=12,
)


def arrays(values: list[list[float]]) -> list[NDArray[np.float64]]:
    return [np.array(row, np.float64) for row in values]


def targets(values: list[list[float]]) -> list[History]:
    return [History(row) for row in arrays(values)]


def plain(context_length: int) -> ForecastSignature:
    """A signature without covariates and calendar."""
    return ForecastSignature(
        freq="D",
        seasonality=7,
        context_length=context_length,
        minimum_context=1,
        horizon=3,
        quantile_levels=(0.5,),
    )


def placed(blocks: list[Block], row: int) -> tuple[NDArray[Any], ...]:
    """One series' row of every tensor."""
    for block in blocks:
        for at in np.flatnonzero(block.rows == row):
            return tuple(array[at] for array in block.inputs)
    raise AssertionError(f"series {row} was not placed")


@st.composite
def dressed(draw: st.DrawFn) -> list[History]:
    """Series with everything that the toy wants."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    steps = draw(st.lists(st.integers(1, 50), min_size=1, max_size=12))
    return [toy.history(n, random) for n in steps]


@given(lengths, lengths)
def test_a_bucket_holds_the_row_or_the_whole_context(length: int, context_length: int) -> None:
    padded = bucket(length, context_length)
    assert min(length, context_length) <= padded < context_length + PACKET


@given(lengths, lengths)
def test_a_bucket_is_whole_packets(length: int, context_length: int) -> None:
    assert bucket(length, context_length) % PACKET == 0


def test_no_more_than_the_context_is_placed_where_its_bucket_is_larger() -> None:
    (block,) = place(targets([[float(v) for v in range(40)]]), plain(27))
    context, steps = block.inputs
    assert context.shape == (1, 28)
    assert steps.tolist() == [27]
    assert context[0, :27].tolist() == list(range(13, 40))


@given(lengths, lengths, lengths)
def test_a_longer_row_never_gets_a_smaller_bucket(one: int, other: int, context: int) -> None:
    short, long = sorted((one, other))
    assert bucket(short, context) <= bucket(long, context)


@given(st.integers(9, 100_000))
def test_at_most_one_third_of_a_row_above_8_steps_is_padding(length: int) -> None:
    padded = bucket(length, 10**9)
    assert 3 * (padded - length) <= padded


def test_the_buckets_are_those_of_the_docstring() -> None:
    found = {bucket(length, 100) for length in range(1, 101)}
    assert sorted(found) == [8, 12, 16, 24, 32, 48, 64, 96, 100]


@given(lengths, lengths)
def test_a_bucket_is_its_own_bucket(length: int, context_length: int) -> None:
    padded = bucket(length, context_length)
    assert bucket(padded, context_length) == padded


@given(histories, st.integers(1, 60))
def test_every_row_is_placed_exactly_once(values: list[list[float]], context: int) -> None:
    blocks = place(targets(values), plain(context))
    rows = np.concatenate([block.rows for block in blocks])
    assert sorted(rows.tolist()) == list(range(len(values)))
    for block in blocks:
        assert {len(array) for array in block.inputs} == {len(block.rows)}


@given(histories, st.integers(1, 60))
def test_the_newest_values_are_kept_and_the_rest_is_nan(
    values: list[list[float]], context: int
) -> None:
    blocks = place(targets(values), plain(context))
    for row, history in enumerate(arrays(values)):
        padded, length = placed(blocks, row)
        assert length == min(len(history), context)
        np.testing.assert_array_equal(padded[:length], history[-length:].astype(np.float32))
        assert np.isnan(padded[length:]).all()


@given(histories, st.integers(1, 60))
def test_a_row_is_placed_the_same_alone_and_among_others(
    values: list[list[float]], context: int
) -> None:
    series = targets(values)
    blocks = place(series, plain(context))
    for row, history in enumerate(series):
        (alone,) = place([history], plain(context))
        for among, single in zip(placed(blocks, row), alone.inputs, strict=True):
            np.testing.assert_array_equal(among, single[0])


@given(histories, st.integers(1, 60))
def test_a_block_is_one_bucket_and_no_bucket_has_two(
    values: list[list[float]], context: int
) -> None:
    blocks = place(targets(values), plain(context))
    widths = [block.inputs[0].shape[1] for block in blocks]
    assert len(set(widths)) == len(widths)
    for block, width in zip(blocks, widths, strict=True):
        assert {bucket(len(values[row]), context) for row in block.rows} == {width}


def test_without_covariates_and_calendar_there_are_two_tensors() -> None:
    (block,) = place([toy.history(3, np.random.default_rng(0))], plain(24))
    context, lengths = block.inputs
    assert [str(array.dtype) for array in block.inputs] == ["float32", "int64"]
    assert lengths.shape == (1,)
    assert context.flags.c_contiguous


def test_placing_leaves_the_series_as_they_were() -> None:
    series = np.arange(30.0)
    (block,) = place([History(series)], plain(24))
    block.inputs[0][:] = 0
    np.testing.assert_array_equal(series, np.arange(30.0))


def test_no_series_need_no_block() -> None:
    assert place([], plain(24)) == []


@given(dressed())
def test_every_tensor_has_the_shape_and_type_of_the_signature(series: list[History]) -> None:
    for block in place(series, toy.SIGNATURE):
        sizes = toy.SIGNATURE.sizes(len(block.rows), block.inputs[0].shape[1])
        found = [(array.shape, str(array.dtype)) for array in block.inputs]
        assert found == [(spec.fixed(sizes), spec.dtype) for spec in toy.SIGNATURE.inputs]


@given(dressed())
def test_the_horizon_follows_the_context_and_the_padding_follows_both(
    series: list[History],
) -> None:
    blocks = place(series, toy.SIGNATURE)
    for row, history in enumerate(series):
        context, n, timestamps, past, known, static, categories = placed(blocks, row)
        span = n + 3
        assert history.timestamps is not None
        assert history.past is not None
        assert history.known is not None
        np.testing.assert_array_equal(context[:n], history.target[-n:].astype(np.float32))
        np.testing.assert_array_equal(timestamps[:span], history.timestamps[-span:])
        np.testing.assert_array_equal(past[:n], history.past[-n:].astype(np.float32))
        np.testing.assert_array_equal(known[:span], history.known[-span:].astype(np.float32))
        np.testing.assert_array_equal(static, history.static)
        np.testing.assert_array_equal(categories, history.categories)
        assert not timestamps[span:].any()
        assert np.isnan(past[n:]).all()
        assert np.isnan(known[span:]).all()


@given(dressed())
def test_a_dressed_row_is_placed_the_same_alone_and_among_others(series: list[History]) -> None:
    blocks = place(series, toy.SIGNATURE)
    for row, history in enumerate(series):
        (alone,) = place([history], toy.SIGNATURE)
        for among, single in zip(placed(blocks, row), alone.inputs, strict=True):
            np.testing.assert_array_equal(among, single[0])


@given(dressed())
def test_what_covariates_a_row_has_does_not_move_it_to_another_bucket(
    series: list[History],
) -> None:
    with_all = place(series, toy.SIGNATURE)
    bare = place(series, plain(toy.SIGNATURE.context_length))
    for one, other in zip(with_all, bare, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.inputs[0], other.inputs[0])
        np.testing.assert_array_equal(one.inputs[1], other.inputs[1])


@given(dressed(), st.integers(50, 60))
def test_what_was_stacked_is_unstacked(series: list[History], padded: int) -> None:
    long = toy.SIGNATURE.model_copy(update={"context_length": 50})
    found = unstack(stack(series, long, padded), long)
    for one, other in zip(found, series, strict=True):
        for field in ("target", "timestamps", "past", "known", "static", "categories"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


WRONG: dict[str, Any] = {
    "timestamps": np.zeros(7, np.int64),
    "past": np.zeros((1, 2)),
    "known": np.zeros((5, 1)),
    "static": np.zeros(2),
    "categories": np.zeros((), np.int64),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_history_that_lacks_what_is_declared_is_refused_and_not_filled_up(field: str) -> None:
    good = toy.history(5, np.random.default_rng(0))
    for value in (None, WRONG[field]):
        changes: Any = {field: value}
        with pytest.raises(ValueError, match=f"{field} of history 1 has the shape .*, expected"):
            place([good, replace(good, **changes)], toy.SIGNATURE)
