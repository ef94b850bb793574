"""The batcher: everybody gets their own rows or their own error, whatever happens to the others."""

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batch import BatchReport
from service.engine.batcher import Batcher
from service.engine.job import Job
from service.engine.runner import Rows, Runner
from service.errors import DeadlineExceeded, Overloaded, Unavailable
from tests.service.engine.runners import Array, Column, Cursed, Doubler, Gate


def scenario(
    story: Callable[[Batcher], Awaitable[None]],
    *,
    lanes: int = 1,
    max_batch_rows: int = 4,
    max_queue_rows: int = 1000,
    reports: list[BatchReport] | None = None,
) -> None:
    """Run a story against a started batcher and close it afterwards."""

    async def run() -> None:
        report = reports.append if reports is not None else lambda _: None
        batcher = Batcher(lanes, max_batch_rows, max_queue_rows, report=report)
        batcher.start()
        try:
            await asyncio.wait_for(story(batcher), 30)
        finally:
            await batcher.close()

    asyncio.run(run())


async def ask(
    batcher: Batcher,
    runner: Runner,
    *parts: Rows,
    timeout_s: float | None = None,
    patient: bool = False,
) -> list[Array]:
    outputs, _ = await batcher.submit(runner, parts, timeout_s, patient=patient)
    return outputs


def asking(
    batcher: Batcher,
    runner: Runner,
    *parts: Rows,
    timeout_s: float | None = None,
    patient: bool = False,
) -> "asyncio.Future[list[Array]]":
    asked = ask(batcher, runner, *parts, timeout_s=timeout_s, patient=patient)
    return asyncio.ensure_future(asked)


async def until_running(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.acquire, timeout=30)


async def busy(batcher: Batcher, gate: Gate) -> "asyncio.Future[list[Array]]":
    """Keep the one lane busy until the gate is opened."""
    running = asking(batcher, gate, Column(0))
    await until_running(gate)
    return running


@settings(max_examples=40, deadline=None)
@given(
    jobs=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=12),
    lanes=st.integers(1, 3),
    max_batch_rows=st.integers(1, 7),
    measured=st.booleans(),
    patient=st.sets(st.integers(0, 11)),
)
def test_every_caller_gets_its_own_rows_in_its_own_order(
    jobs: list[list[int]], lanes: int, max_batch_rows: int, measured: bool, patient: set[int]
) -> None:
    runner = Doubler()
    first = np.cumsum([0, *[sum(job) for job in jobs]])

    async def story(batcher: Batcher) -> None:
        if measured:  # short batches run on the event loop where there is one lane
            measure(batcher, runner)

        async def caller(number: int, sizes: list[int]) -> None:
            numbers = np.arange(first[number], first[number + 1], dtype=np.float32)
            blocks = np.split(numbers, np.cumsum(sizes)[:-1])
            columns = [Column(*block) for block in blocks]
            answers = await ask(batcher, runner, *columns, patient=number in patient)
            for block, answer in zip(blocks, answers, strict=True):
                np.testing.assert_array_equal(answer, block[:, np.newaxis] * 2)

        await asyncio.gather(*(caller(number, sizes) for number, sizes in enumerate(jobs)))
        assert batcher.waiting_rows == 0

    scenario(story, lanes=lanes, max_batch_rows=max_batch_rows)
    assert max(runner.sizes) <= max_batch_rows
    assert sum(runner.sizes) == first[-1]


def measure(batcher: Batcher, runner: Runner, seconds: float = 1e-6, width: int = 1) -> None:
    """Let the batcher know that a row costs so much."""
    for rows in (1, 8):
        batcher.measure(runner, width, rows, rows * seconds)


def test_rows_that_wait_while_a_lane_is_busy_share_the_next_batch() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        waiting = [asking(batcher, gate, Column(n)) for n in (1, 2, 3)]
        await asyncio.sleep(0)  # let the three submit
        gate.opened.set()
        await asyncio.gather(running, *waiting)

    scenario(story)
    assert gate.sizes == [1, 3]


def test_rows_of_a_request_that_was_let_in_are_not_judged_again() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        with pytest.raises(Overloaded):
            await ask(batcher, gate, Column(*range(6)))
        late = asyncio.ensure_future(batcher.submit(gate, [Column(*range(6))], let_in=True))
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(running, late)

    scenario(story, max_queue_rows=5)
    assert sum(gate.sizes) == 7


def test_an_idle_lane_takes_a_lone_row_at_once() -> None:
    runner = Doubler()

    async def story(batcher: Batcher) -> None:
        await ask(batcher, runner, Column(1))
        await ask(batcher, runner, Column(2))

    scenario(story)
    assert runner.sizes == [1, 1]


def test_short_batches_run_on_the_event_loop_with_all_that_came_in_its_turn() -> None:
    runner = Doubler()

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        await asyncio.gather(*(ask(batcher, runner, Column(n)) for n in (1, 2, 3)))

    scenario(story)
    assert runner.batches == [[1, 2, 3]]
    assert runner.threads == {threading.get_ident()}


def test_what_a_turn_has_no_room_for_runs_in_the_next_ones() -> None:
    runner, other = Doubler(), Doubler()

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        measure(batcher, other)
        asked = [ask(batcher, runner, Column(n)) for n in (1, 2, 3, 4, 5)]
        asked.append(ask(batcher, other, Column(6)))
        asked.append(ask(batcher, runner, Column(7), Column(8)))
        answers = await asyncio.gather(*asked)
        assert [[float(part[0, 0]) for part in parts] for parts in answers] == [
            *[[2.0 * n] for n in (1, 2, 3, 4, 5, 6)],
            [14.0, 16.0],
        ]

    scenario(story)
    assert runner.batches[0] == [1, 2, 3, 4]
    assert sorted(number for batch in runner.batches for number in batch) == [1, 2, 3, 4, 5, 7, 8]


def test_a_caller_who_leaves_within_the_turn_is_not_run() -> None:
    runner = Doubler()
    told: list[Job] = []

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        batcher.withdraw(batcher.enqueue(runner, [Column(1)], told.append))
        await ask(batcher, runner, Column(2))

    scenario(story)
    assert runner.batches == [[2]]
    assert not told


def test_one_cursed_row_of_a_turn_is_the_only_one_that_fails() -> None:
    runner = Cursed(2)

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        asked = (ask(batcher, runner, Column(n)) for n in (1, 2, 3))
        one, two, three = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(two, ValueError)
        assert not isinstance(one, BaseException)
        assert not isinstance(three, BaseException)

    scenario(story)


def test_a_caller_who_fails_on_its_answer_keeps_nobody_from_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner = Doubler()

    def fail(_: Job) -> None:
        raise ZeroDivisionError

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        batcher.enqueue(runner, [Column(1)], fail)
        (answer,) = await ask(batcher, runner, Column(2))
        assert answer[0, 0] == 4

    with caplog.at_level(logging.ERROR, "gatecast"):
        scenario(story)
    assert runner.batches == [[1, 2]]
    assert "ZeroDivisionError" in caplog.text


def test_who_has_no_time_for_a_short_batch_is_told_so_at_once() -> None:
    runner = Doubler()

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, runner, Column(1), timeout_s=1e-9)

    scenario(story)
    assert runner.batches == []


def test_who_was_not_answered_in_time_leaves_nothing_to_the_collector() -> None:
    runner, times = Gate(), 5
    found: list[int] = []

    async def story(batcher: Batcher) -> None:
        running = asking(batcher, runner, Column(1))
        await asyncio.to_thread(runner.entered.acquire)
        gc.collect()
        for _ in range(times):
            with contextlib.suppress(DeadlineExceeded):
                await ask(batcher, runner, Column(2), timeout_s=0.001)
        found.append(gc.collect())
        runner.opened.set()
        await running

    gc.disable()
    try:
        scenario(story)
    finally:
        gc.enable()
    assert found[0] < times


def test_a_job_that_came_in_a_turn_is_not_run_once_the_batcher_is_closed() -> None:
    runner = Doubler()

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        waiting = asking(batcher, runner, Column(1))
        await asyncio.sleep(0)
        await batcher.close()
        with contextlib.suppress(Unavailable):  # where the turn had not ended
            await waiting
        with pytest.raises(Unavailable):
            await ask(batcher, runner, Column(2))

    scenario(story)


def test_a_lane_begins_its_next_batch_when_the_answers_of_the_last_have_been_heard() -> None:
    """Whoever asks again on hearing the answer is in the next batch, although others wait."""
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        async def twice() -> None:
            await ask(batcher, gate, Column(0))
            await ask(batcher, gate, Column(1))

        running = asyncio.ensure_future(twice())
        await until_running(gate)
        waiting = asking(batcher, gate, Column(2))
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(running, waiting)

    scenario(story)
    assert gate.batches == [[0], [2, 1]]


def test_long_batches_and_those_of_several_lanes_run_on_threads() -> None:
    slow, fast = Doubler(), Doubler()

    async def long(batcher: Batcher) -> None:
        measure(batcher, slow, seconds=1.0)
        await ask(batcher, slow, Column(1))

    async def short(batcher: Batcher) -> None:
        measure(batcher, fast)
        await ask(batcher, fast, Column(1))

    scenario(long)
    scenario(short, lanes=2)
    assert threading.get_ident() not in slow.threads | fast.threads


def test_a_short_batch_on_the_loop_does_not_wait_for_a_long_one_on_the_thread() -> None:
    gate, runner = Gate(), Doubler()

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner)
        running = await busy(batcher, gate)
        waiting = asking(batcher, gate, Column(1))
        await asyncio.sleep(0)
        await ask(batcher, runner, Column(2))
        assert not waiting.done()
        gate.opened.set()
        await asyncio.gather(running, waiting)

    scenario(story)


def test_rows_of_different_shapes_or_runners_never_share_a_batch() -> None:
    gate, other = Gate(), Doubler()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        waiting = [
            asking(batcher, gate, Column(1), Column(1, 1, width=5)),
            asking(batcher, other, Column(2)),
        ]
        await asyncio.sleep(0)
        gate.opened.set()
        (one, two), (three,) = await asyncio.gather(*waiting)
        await running
        assert [part.shape for part in (one, two, three)] == [(1, 1), (2, 5), (1, 1)]

    scenario(story)
    assert gate.sizes == [1, 1, 2]
    assert other.sizes == [1]


def test_the_earliest_deadline_goes_first_and_equal_ones_in_the_order_they_came() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        waiting = [
            asking(batcher, gate, Column(n), timeout_s=seconds)
            for n, seconds in ((1, 20.0), (2, 10.0), (3, 20.0), (4, 15.0))
        ]
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(running, *waiting)

    scenario(story, max_batch_rows=1)
    assert gate.batches == [[0], [2], [4], [1], [3]]


def test_a_single_row_does_not_wait_for_the_whole_of_a_bulk_job() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        bulk = asking(batcher, gate, Column(*range(40)), Column(*range(8), width=2))
        await until_running(gate)
        single = asking(batcher, gate, Column(-1))
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(bulk, single)

    scenario(story)
    assert [batch[0] for batch in gate.batches].index(-1) <= 2


def test_rows_of_a_patient_job_let_others_go_first_and_fill_half_of_a_batch_at_most() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        parts = [asking(batcher, gate, Column(*rows), patient=True) for rows in ((1, 2, 3), (4,))]
        await asyncio.sleep(0)
        singles = [asking(batcher, gate, Column(row)) for row in (-1, -2, -3)]
        await asyncio.sleep(0)
        gate.opened.set()
        assert [rows[0].ravel().tolist() for rows in await asyncio.gather(*parts)] == [
            [2, 4, 6],
            [8],
        ]
        await asyncio.gather(running, *singles)

    scenario(story)
    assert gate.batches == [[0], [-1, -2, -3, 1], [2, 3], [4]]


def test_of_a_failing_batch_only_the_guilty_row_gets_the_error() -> None:
    cursed = Cursed(3.0)
    reports: list[BatchReport] = []

    async def story(batcher: Batcher) -> None:
        gate = Gate()
        running = await busy(batcher, gate)
        good = [asking(batcher, cursed, Column(n)) for n in (1, 2, 4)]
        bad = asking(batcher, cursed, Column(3))
        await asyncio.sleep(0)
        gate.opened.set()
        await running
        assert [answer[0].tolist() for answer in await asyncio.gather(*good)] == [
            [[2.0]],
            [[4.0]],
            [[8.0]],
        ]
        with pytest.raises(ValueError, match="cursed"):
            await bad

    scenario(story, reports=reports)
    assert [report.failed for report in reports] == [False, True]
    assert cursed.sizes[0] == 4


@settings(max_examples=40, deadline=None)
@given(cursed=st.sets(st.integers(0, 11)), sizes=st.lists(st.integers(1, 4), max_size=6))
def test_whichever_rows_are_guilty_the_others_get_their_answers(
    cursed: set[int], sizes: list[int]
) -> None:
    runner = Cursed(*(float(number) for number in cursed))
    ends = np.cumsum(sizes)

    async def story(batcher: Batcher) -> None:
        async def caller(first: int, size: int) -> None:
            numbers = range(first, first + size)
            if cursed & set(numbers):
                with pytest.raises(ValueError, match="cursed"):
                    await ask(batcher, runner, Column(*numbers))
            else:
                (answer,) = await ask(batcher, runner, Column(*numbers))
                assert answer[:, 0].tolist() == [2 * number for number in numbers]

        firsts = (ends - sizes).tolist() if sizes else []
        await asyncio.gather(*(caller(*one) for one in zip(firsts, sizes, strict=True)))

    scenario(story, max_batch_rows=24)


def test_an_error_while_rows_are_written_reaches_the_callers_and_the_lane_goes_on() -> None:
    class Unwritable(Column):
        def write(self, *_: object) -> None:
            raise ValueError("no ink")

    async def story(batcher: Batcher) -> None:
        with pytest.raises(ValueError, match="no ink"):
            await ask(batcher, Doubler(), Unwritable(1))
        (answer,) = await ask(batcher, Doubler(), Column(4))
        assert answer.tolist() == [[8]]

    scenario(story)


def test_a_runner_that_loses_rows_is_an_error_and_not_a_hang() -> None:
    class Loser(Doubler):
        def run(self, rows: Array) -> Array:
            return rows[1:]

    async def story(batcher: Batcher) -> None:
        with pytest.raises(RuntimeError, match="1 rows went in, 0 came out"):
            await ask(batcher, Loser(), Column(1, 2, 3))

    scenario(story)


def test_a_full_queue_refuses_the_whole_job_and_says_when_to_come_back() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        waiting = asking(batcher, gate, Column(1, 2, 3))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 series wait and 3 more") as refusal:
            await ask(batcher, gate, Column(4), Column(5, 6))
        assert refusal.value.retry_after >= 1
        assert batcher.waiting_rows == 3
        gate.opened.set()
        await asyncio.gather(running, waiting)
        await ask(batcher, gate, Column(4), Column(5, 6))

    scenario(story, max_queue_rows=5)


def test_who_would_wait_longer_than_allowed_is_refused_at_once_and_told_how_long() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        measure(batcher, gate, seconds=0.5)
        running = await busy(batcher, gate)
        waiting = asking(batcher, gate, *(Column(n) for n in range(20)), timeout_s=60)
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="would take 17.* s and the request allows 4 s") as no:
            await ask(batcher, gate, Column(1), timeout_s=4)
        assert no.value.retry_after in (13, 14)  # 1.6 times 21 rows of half a second, and its own
        assert batcher.no_room(4) is not None
        assert batcher.no_room(20) is None
        gate.opened.set()
        await asyncio.gather(running, waiting)

    scenario(story)


def test_what_takes_too_long_even_on_an_idle_service_is_no_matter_of_waiting() -> None:
    runner = Doubler()

    async def story(batcher: Batcher) -> None:
        measure(batcher, runner, seconds=1.0)
        with pytest.raises(DeadlineExceeded, match="takes 3000.* ms and the request allows 2000"):
            await ask(batcher, runner, Column(1, 2, 3), timeout_s=2)

    scenario(story)
    assert runner.batches == []


def test_rows_that_expire_are_answered_while_the_lane_is_busy_and_never_run() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        with pytest.raises(DeadlineExceeded, match="within 5 ms"):
            await ask(batcher, gate, Column(1), timeout_s=0.005)
        assert batcher.waiting_rows == 0
        gate.opened.set()
        await running
        await ask(batcher, gate, Column(2))

    scenario(story)
    assert gate.batches == [[0], [2]]


def test_a_row_that_expires_while_it_runs_is_answered_then_and_not_again() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        with pytest.raises(DeadlineExceeded):
            await ask(batcher, gate, Column(1), timeout_s=0.005)
        gate.opened.set()
        (answer,) = await ask(batcher, gate, Column(2))
        assert answer.tolist() == [[4]]

    scenario(story)


def test_the_rows_of_a_caller_who_gave_up_are_never_run() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = await busy(batcher, gate)
        gone = asking(batcher, gate, Column(*range(1, 9)))
        await asyncio.sleep(0)
        assert batcher.waiting_rows == 8
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert batcher.waiting_rows == 0
        gate.opened.set()
        await running
        await ask(batcher, gate, Column(9))

    scenario(story)
    assert gate.sizes == [1, 1]


def test_a_caller_who_gives_up_in_the_middle_of_a_batch_takes_nobody_down() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        gone = await busy(batcher, gate)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        gate.opened.set()
        (answer,) = await ask(batcher, gate, Column(2))
        assert answer.tolist() == [[4]]

    scenario(story)


def test_closing_answers_those_who_still_wait() -> None:
    gate = Gate()

    async def story() -> None:
        batcher = Batcher(1, 4, 100)
        batcher.start()
        running = await busy(batcher, gate)
        waiting = asking(batcher, gate, Column(1))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(batcher.close())
        await asyncio.sleep(0)
        gate.opened.set()
        await closing
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable):
            await ask(batcher, gate, Column(2))
        assert (await running)[0].tolist() == [[0]]

    asyncio.run(asyncio.wait_for(story(), 30))


def test_each_run_is_reported_with_its_runner_rows_and_times() -> None:
    reports: list[BatchReport] = []

    async def story(batcher: Batcher) -> None:
        _, timing = await batcher.submit(Doubler(), [Column(1, 2, 3, 4, 5)])
        assert timing.queue_s >= 0
        assert timing.compute_s > 0

    scenario(story, reports=reports, max_batch_rows=3)
    assert [(one.model, one.version, one.rows, one.padded_share) for one in reports] == [
        ("doubler", 1, 3, 0.25),
        ("doubler", 1, 2, 0.25),
    ]
    seconds: Sequence[float] = [t for r in reports for t in (r.input_s, r.run_seconds, r.output_s)]
    assert all(one >= 0 for one in seconds)
