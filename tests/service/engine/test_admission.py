"""Admission: who is let in is answered in time, also where many come at once."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from service.engine.admission import (
    AGAIN_S,
    CAUTION,
    LEAST_CAUTION,
    MOST_CAUTION,
    SOON_S,
    Admission,
)
from service.engine.batch import Batch
from service.engine.job import Job, Piece
from service.engine.line import Line
from service.engine.pool import Pool
from service.engine.pulse import Pulse
from service.errors import DeadlineExceeded, Overloaded
from tests.service.engine.runners import Column, Doubler

ROW_S = 0.5


def pool() -> Pool:
    """Rows that cost half a second each."""
    made = Pool(Doubler(), 1, 4)
    for rows in (1, 8):
        made.measure(rows, rows * ROW_S)
    return made


class Door:
    """An admission and its line, with a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.line = Line(4)
        self.pool = pool()
        self.loop = asyncio.new_event_loop()
        self.admission = Admission(self.line, 1, 1000, Pulse(self.loop))
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def job(self, allowance: float = 60.0) -> Job:
        made = Job(lambda _: None, self.now, allowance)
        made.add(self.pool, Column(1), self.now)
        return made

    def join(self, job: Job) -> None:
        self.admission.judge(job, self.now)
        self.line.join(job)

    def let_in(self, timeout_s: float, most: int) -> int:
        """How many of so many callers pass the early look."""
        for count in range(most):
            if self.admission.no_room(timeout_s) is not None:
                return count
        return most


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    made = Door(monkeypatch)
    for _ in range(100):  # until the usual job is known
        made.admission.judge(made.job(), made.now)
    yield made
    made.loop.close()


def test_a_herd_that_has_not_joined_the_line_yet_is_counted(door: Door) -> None:
    let_in = door.let_in(timeout_s=10, most=1000)
    assert 10 / (CAUTION * ROW_S) <= let_in <= 10 / (CAUTION * ROW_S) + 2


def test_who_joins_the_line_is_counted_once(door: Door) -> None:
    door.admission.no_room(60)
    before = door.let_in(timeout_s=10, most=1000)
    door.now += 2 * SOON_S  # all of those are slow
    for _ in range(8):
        door.admission.no_room(60)
        door.join(door.job())
    assert door.let_in(timeout_s=10, most=1000) in (before - 7, before - 8)


def test_a_caller_whose_body_does_not_come_holds_nobody_up(door: Door) -> None:
    assert door.let_in(timeout_s=10, most=1000) < 1000
    door.now += SOON_S / 2
    assert door.let_in(timeout_s=10, most=1000) == 0
    door.now += SOON_S
    assert door.let_in(timeout_s=10, most=1000) > 10


def test_the_time_to_the_judgement_is_foreseen(door: Door) -> None:
    for _ in range(100):
        door.admission.no_room(60)
        door.now += SOON_S / 2  # the body is read meanwhile
        door.admission.judge(door.job(), door.now)
    door.admission.no_room(60)
    assert door.admission.no_room(CAUTION * ROW_S + SOON_S / 4) is not None
    assert door.admission.no_room(CAUTION * ROW_S + SOON_S) is None


def test_for_a_moment_whoever_allows_as_much_time_is_refused_in_the_same_words(door: Door) -> None:
    door.let_in(timeout_s=10, most=1000)
    first = door.admission.no_room(10)
    assert first is not None
    door.now += AGAIN_S / 2
    assert door.admission.no_room(10) is first
    assert door.admission.no_room(60) is None
    door.now += 2 * SOON_S  # nobody waits any more
    assert door.admission.no_room(10) is None


def test_a_job_that_could_never_be_let_in_tells_nothing_of_the_usual_one(door: Door) -> None:
    before = door.let_in(timeout_s=10, most=1000)
    door.now += 2 * SOON_S
    too_large = Job(lambda _: None, door.now, 60.0)
    too_large.add(door.pool, Column(*[1.0] * 1001), door.now)
    with pytest.raises(Overloaded):
        door.admission.judge(too_large, door.now)
    with pytest.raises(DeadlineExceeded):
        door.admission.judge(door.job(allowance=ROW_S / 2), door.now)
    assert door.let_in(timeout_s=10, most=1000) == before


def test_who_is_refused_is_let_go_of(door: Door) -> None:
    refused = door.job(allowance=ROW_S / 2)
    with pytest.raises(DeadlineExceeded):
        door.admission.judge(refused, door.now)
    assert not refused.entries  # which know their job: nothing but the collector would find them


def test_each_who_was_not_answered_in_time_makes_the_next_wait_for_more_room(door: Door) -> None:
    calm = door.let_in(timeout_s=10, most=1000)
    door.now += 2 * SOON_S
    for _ in range(20):
        door.admission.expired()
    assert door.let_in(timeout_s=10, most=1000) < 0.7 * calm


def test_caution_has_bounds(door: Door) -> None:
    for _ in range(10_000):
        door.admission.expired()
    assert door.admission.caution == MOST_CAUTION
    job = door.job(allowance=10)
    door.now += 9
    for _ in range(10_000):
        door.admission.answered(job)
    assert door.admission.caution == LEAST_CAUTION


def test_who_was_answered_long_before_its_deadline_tells_nothing_of_how_long_a_line_may_be(
    door: Door,
) -> None:
    job = door.job(allowance=10)
    door.now += 4
    for _ in range(10_000):
        door.admission.answered(job)
    assert door.admission.caution == CAUTION


def test_a_batch_of_a_busy_service_costs_the_time_to_the_next(door: Door) -> None:
    batch = Batch(door.pool, [Piece(door.job().entries[0], 0, 1, 0.0)], started=7.0)
    batch.ended = 7.0 + ROW_S
    before = door.pool.cost.seconds(1)
    batch.teach(batch.ended)
    assert door.pool.cost.seconds(1) == pytest.approx(before, rel=0.1)
    for _ in range(50):
        batch.teach(7.0 + 3 * ROW_S)
    assert door.pool.cost.seconds(1) == pytest.approx(3 * ROW_S, rel=0.2)


def test_a_batch_that_failed_teaches_nothing(door: Door) -> None:
    batch = Batch(door.pool, [Piece(door.job().entries[0], 0, 1, 0.0)], started=7.0)
    batch.failed = True
    before = door.pool.cost.seconds(1)
    batch.teach(1e6)
    assert door.pool.cost.seconds(1) == before
