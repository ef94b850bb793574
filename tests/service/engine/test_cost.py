"""The cost model: a line through what was measured, that follows the machine, not its hiccups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.cost import Cost


def measured(fixed: float = 1.0, row: float = 0.5) -> Cost:
    costs = Cost()
    for rows in (1, 8):
        costs.measure(rows, fixed + row * rows)
    return costs


def test_two_measurements_give_the_line_through_them() -> None:
    costs = measured()
    assert [costs.seconds(rows) for rows in (1, 4, 32)] == pytest.approx([1.5, 3.0, 17.0])


def test_nothing_is_expected_of_what_was_never_seen() -> None:
    costs = Cost()
    assert costs.seconds(8) == 0.0
    assert costs.fitting(1.0) == 0


def test_a_run_for_callers_is_enough_to_begin_with() -> None:
    costs = Cost()
    costs.observe(4, 2.0)
    assert costs.seconds(4) == pytest.approx(2.0)
    assert costs.seconds(8) >= costs.seconds(4)


@given(
    fixed=st.floats(0.1, 10),
    row=st.floats(0.1, 10),
    sizes=st.lists(st.integers(1, 32), min_size=200, max_size=200),
)
def test_the_line_follows_a_machine_that_has_become_slower_or_faster(
    fixed: float, row: float, sizes: list[int]
) -> None:
    costs = measured()
    for rows in sizes:
        costs.observe(rows, fixed + row * rows)
    usual = int(np.median(sizes))
    assert costs.seconds(usual) == pytest.approx(fixed + row * usual, rel=0.1)


def test_batches_of_one_size_do_not_turn_the_line_upside_down() -> None:
    costs = measured()
    for _ in range(10_000):
        costs.observe(4, 3.0)
    assert [costs.seconds(rows) for rows in (1, 4, 8)] == pytest.approx([1.5, 3, 5], rel=0.01)


def test_one_run_that_was_held_up_changes_little() -> None:
    costs = measured()
    for _ in range(100):
        costs.observe(4, 3.0)
    costs.observe(4, 3000.0)
    assert costs.seconds(4) < 3.5


@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1e3)), min_size=1, max_size=50),
)
def test_neither_part_of_the_line_is_ever_negative(runs: list[tuple[int, float]]) -> None:
    costs = Cost()
    for rows, seconds in runs:
        costs.observe(rows, seconds)
    assert 0 <= costs.seconds(0) <= costs.seconds(1) <= costs.seconds(64)


def test_what_fits_is_judged_by_the_undisturbed_machine() -> None:
    costs = measured()
    for _ in range(100):
        costs.observe(4, 300.0)
    assert costs.fitting(3.01) == 4
    assert costs.fitting(1000.0) >= 32
    assert costs.fitting(0.1) == 0
