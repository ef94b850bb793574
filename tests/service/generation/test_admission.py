"""Who may begin a text, by what steps take; the clock is in the test's hands."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.errors import DeadlineExceeded, Overloaded
from service.generation.admission import CAUTION, Admission

FIXED, ROW = 0.001, 0.0005  # seconds


def admission(limit: int = 1000) -> Admission:
    """Steps take FIXED + ROW for each text."""
    measured = [(1, rows, FIXED + ROW * rows) for rows in (1, 8)]
    return Admission(cast(Any, SimpleNamespace(measured=measured)), limit)


def refused(allowance: float, others: list[int], limit: int = 1000) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        admission(limit).judge(100, allowance, others)
    return caught.value


def test_what_not_even_an_idle_service_can_end_in_time_is_told_so() -> None:
    seconds = 100 * (FIXED + ROW)
    admission().judge(100, 1.001 * seconds, [])
    with pytest.raises(DeadlineExceeded, match="100 steps take 150 ms and the request allows 148"):
        admission().judge(100, 0.99 * seconds, [])


@pytest.mark.parametrize("others", [1, 7, 40])
def test_a_newcomer_is_let_in_while_it_can_end_in_time(others: int) -> None:
    needed = CAUTION * 100 * (FIXED + ROW * (others + 1))
    admission().judge(100, 1.001 * needed, [50] * others)
    error = refused(0.999 * needed, [50] * others)
    assert f"{others} texts are being written" in error.message


def test_retry_after_is_when_enough_of_the_others_have_ended() -> None:
    others = [1100, 4100, 2100, 3100]
    needed = CAUTION * 100 * (FIXED + ROW * 3)  # beside two others
    step = FIXED + ROW * len(others)
    assert refused(1.001 * needed, others).retry_after == math.ceil(2100 * step)


def test_retry_after_is_never_less_than_a_second() -> None:
    assert refused(0.16, [1, 1]).retry_after == 1


def test_no_more_texts_than_the_limit_are_written_at_once() -> None:
    admission(3).judge(1, 30, [11_000] * 2)
    error = refused(30, [11_000, 31_000, 21_000], limit=3)
    assert "3 texts are being written, which is the limit" in error.message
    assert error.retry_after == math.ceil(11_000 * (FIXED + 3 * ROW))


def test_steps_that_have_become_slow_let_fewer_in() -> None:
    slow = admission()
    for _ in range(200):
        slow.observe(4, 10 * (FIXED + 4 * ROW))
    admission().judge(100, 0.6, [50] * 4)
    with pytest.raises(Overloaded):
        slow.judge(100, 0.6, [50] * 4)


def test_an_idle_service_forgets_how_slow_a_crowd_was() -> None:
    slow = admission()
    for _ in range(200):
        slow.observe(64, 1.0)
    slow.judge(100, 0.2, [])
