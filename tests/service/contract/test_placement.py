"""Placement: a row's bucket is its own affair, and no row or value is lost on the way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contract.placement import Block, bucket, place

lengths = st.integers(1, 3000)
histories = st.lists(
    st.lists(st.floats(-1e30, 1e30) | st.just(float("nan")), min_size=1, max_size=80),
    min_size=1,
    max_size=12,
)


def arrays(values: list[list[float]]) -> list[NDArray[np.float64]]:
    return [np.array(row, np.float64) for row in values]


def placed(blocks: list[Block], row: int) -> tuple[NDArray[np.float32], int]:
    """The padded context and the length of one series."""
    for block in blocks:
        for at in np.flatnonzero(block.rows == row):
            return block.context[at], int(block.lengths[at])
    raise AssertionError(f"series {row} was not placed")


@given(lengths, lengths)
def test_a_bucket_holds_the_row_or_the_whole_context(length: int, context_length: int) -> None:
    assert min(length, context_length) <= bucket(length, context_length) <= context_length


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
    blocks = place(arrays(values), context)
    rows = np.concatenate([block.rows for block in blocks])
    assert sorted(rows.tolist()) == list(range(len(values)))
    for block in blocks:
        assert len(block.rows) == len(block.context) == len(block.lengths)


@given(histories, st.integers(1, 60))
def test_the_newest_values_are_kept_and_the_rest_is_nan(
    values: list[list[float]], context: int
) -> None:
    series = arrays(values)
    blocks = place(series, context)
    for row, history in enumerate(series):
        padded, length = placed(blocks, row)
        assert length == min(len(history), context)
        np.testing.assert_array_equal(padded[:length], history[-length:].astype(np.float32))
        assert np.isnan(padded[length:]).all()


@given(histories, st.integers(1, 60))
def test_a_row_is_placed_the_same_alone_and_among_others(
    values: list[list[float]], context: int
) -> None:
    series = arrays(values)
    blocks = place(series, context)
    for row, history in enumerate(series):
        (alone,) = place([history], context)
        among, length = placed(blocks, row)
        np.testing.assert_array_equal(among, alone.context[0])
        assert length == alone.lengths[0]


@given(histories, st.integers(1, 60))
def test_a_block_is_one_bucket_and_no_bucket_has_two(
    values: list[list[float]], context: int
) -> None:
    blocks = place(arrays(values), context)
    widths = [block.context.shape[1] for block in blocks]
    assert len(set(widths)) == len(widths)
    for block, width in zip(blocks, widths, strict=True):
        assert {bucket(len(values[row]), context) for row in block.rows} == {width}


def test_tensors_have_the_types_of_the_graph() -> None:
    (block,) = place([np.array([1, 2, 3], np.float64)], 24)
    assert block.context.dtype == np.float32
    assert block.lengths.dtype == np.int64
    assert block.context.flags.c_contiguous


def test_placing_leaves_the_series_as_they_were() -> None:
    series = np.arange(30.0)
    (block,) = place([series], 24)
    block.context[:] = 0
    np.testing.assert_array_equal(series, np.arange(30.0))


def test_no_series_need_no_block() -> None:
    assert place([], 24) == []
