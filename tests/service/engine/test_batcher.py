"""The batcher: everybody gets their own rows or their own error, whatever happens to the others."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.batcher import Batcher, BatchReport
from service.errors import Overloaded, Unavailable

Array = NDArray[Any]


class Doubler:
    """A runner that doubles its rows and remembers the size of each batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, rows: Array) -> Array:
        self.batches.append(len(rows))
        return rows * 2


class Gate(Doubler):
    """A runner that waits inside a batch until it is opened, so a test can fill the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def run(self, rows: Array) -> Array:
        self.entered.release()
        assert self.opened.wait(30)
        return super().run(rows)


class Broken:
    """A runner that fails."""

    def run(self, rows: Array) -> Array:
        raise ValueError("this batch is cursed")


def column(*values: float) -> tuple[Array]:
    return (np.array(values, np.float32).reshape(-1, 1),)


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
        batcher = Batcher(lanes, max_batch_rows, max_queue_rows, report)
        batcher.start()
        try:
            await asyncio.wait_for(story(batcher), 30)
        finally:
            await batcher.close()

    asyncio.run(run())


async def until_running(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.acquire, timeout=30)


@settings(max_examples=40, deadline=None)
@given(
    jobs=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=12),
    lanes=st.integers(1, 3),
    max_batch_rows=st.integers(1, 7),
)
def test_every_caller_gets_its_own_rows_in_its_own_order(
    jobs: list[list[int]], lanes: int, max_batch_rows: int
) -> None:
    runner = Doubler()
    first = np.cumsum([0, *[sum(job) for job in jobs]])

    async def story(batcher: Batcher) -> None:
        async def caller(number: int, sizes: list[int]) -> None:
            numbers = np.arange(first[number], first[number + 1], dtype=np.float32)[:, None]
            blocks = np.split(numbers, np.cumsum(sizes)[:-1])
            answers = await batcher.submit(runner, [(block,) for block in blocks])
            for block, answer in zip(blocks, answers, strict=True):
                np.testing.assert_array_equal(answer, block * 2)

        await asyncio.gather(*(caller(number, sizes) for number, sizes in enumerate(jobs)))
        assert batcher.waiting_rows == 0

    scenario(story, lanes=lanes, max_batch_rows=max_batch_rows)
    assert max(runner.batches) <= max_batch_rows
    assert sum(runner.batches) == first[-1]


def test_rows_that_wait_while_a_lane_is_busy_share_the_next_batch() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = asyncio.ensure_future(batcher.submit(gate, [column(0)]))
        await until_running(gate)
        waiting = [asyncio.ensure_future(batcher.submit(gate, [column(n)])) for n in (1, 2, 3)]
        await asyncio.sleep(0)  # let the three submit
        gate.opened.set()
        await asyncio.gather(running, *waiting)

    scenario(story)
    assert gate.batches == [1, 3]


def test_an_idle_lane_takes_a_lone_row_at_once() -> None:
    runner = Doubler()

    async def story(batcher: Batcher) -> None:
        await batcher.submit(runner, [column(1)])
        await batcher.submit(runner, [column(2)])

    scenario(story)
    assert runner.batches == [1, 1]


def test_rows_of_different_shapes_or_runners_never_share_a_batch() -> None:
    gate, other = Gate(), Doubler()

    async def story(batcher: Batcher) -> None:
        running = asyncio.ensure_future(batcher.submit(gate, [column(0)]))
        await until_running(gate)
        wide = np.ones((2, 5), np.float32)
        jobs = [batcher.submit(gate, [column(1), (wide,)]), batcher.submit(other, [column(2)])]
        waiting = [asyncio.ensure_future(job) for job in jobs]
        await asyncio.sleep(0)
        gate.opened.set()
        (one, two), (three,) = await asyncio.gather(*waiting)
        await running
        assert one.shape == (1, 1)
        assert two.shape == (2, 5)
        assert three.shape == (1, 1)

    scenario(story)
    assert gate.batches == [1, 1, 2]
    assert other.batches == [1]


def test_a_single_row_does_not_wait_for_the_whole_of_a_bulk_job() -> None:
    gate = Gate()
    order: list[str] = []

    async def story(batcher: Batcher) -> None:
        async def caller(name: str, rows: int) -> None:
            await batcher.submit(gate, [column(*range(rows))])
            order.append(name)

        bulk = asyncio.ensure_future(caller("bulk", 40))
        await until_running(gate)
        single = asyncio.ensure_future(caller("single", 1))
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(bulk, single)

    scenario(story)
    assert order == ["single", "bulk"]


def test_a_failing_batch_gives_its_error_to_its_callers_and_the_lane_goes_on() -> None:
    reports: list[BatchReport] = []

    async def story(batcher: Batcher) -> None:
        with pytest.raises(ValueError, match="cursed"):
            await batcher.submit(Broken(), [column(1, 2, 3, 4, 5, 6)])
        (answer,) = await batcher.submit(Doubler(), [column(4)])
        assert answer.tolist() == [[8]]
        assert batcher.waiting_rows == 0

    scenario(story, reports=reports)
    assert reports[0].failed
    assert not reports[-1].failed


def test_a_runner_that_loses_rows_is_an_error_and_not_a_hang() -> None:
    class Loser:
        def run(self, rows: Array) -> Array:
            return rows[1:]

    async def story(batcher: Batcher) -> None:
        with pytest.raises(RuntimeError, match="3 rows went in, 2 came out"):
            await batcher.submit(Loser(), [column(1, 2, 3)])

    scenario(story)


def test_a_full_queue_refuses_the_whole_job_and_says_when_to_come_back() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = asyncio.ensure_future(batcher.submit(gate, [column(0)]))
        await until_running(gate)
        waiting = asyncio.ensure_future(batcher.submit(gate, [column(1, 2, 3)]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="3 series wait and 3 more") as refusal:
            await batcher.submit(gate, [column(4), column(5, 6)])
        assert refusal.value.retry_after >= 1
        assert batcher.waiting_rows == 3
        gate.opened.set()
        await asyncio.gather(running, waiting)
        await batcher.submit(gate, [column(4), column(5, 6)])

    scenario(story, max_queue_rows=5)


def test_the_rows_of_a_caller_who_gave_up_are_never_run() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        running = asyncio.ensure_future(batcher.submit(gate, [column(0)]))
        await until_running(gate)
        gone = asyncio.ensure_future(batcher.submit(gate, [column(*range(1, 9))]))
        await asyncio.sleep(0)
        assert batcher.waiting_rows == 8
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert batcher.waiting_rows == 0
        gate.opened.set()
        await running
        await batcher.submit(gate, [column(9)])

    scenario(story)
    assert gate.batches == [1, 1]


def test_a_caller_who_gives_up_in_the_middle_of_a_batch_takes_nobody_down() -> None:
    gate = Gate()

    async def story(batcher: Batcher) -> None:
        gone = asyncio.ensure_future(batcher.submit(gate, [column(1)]))
        await until_running(gate)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        gate.opened.set()
        (answer,) = await batcher.submit(gate, [column(2)])
        assert answer.tolist() == [[4]]

    scenario(story)


def test_closing_answers_those_who_still_wait() -> None:
    gate = Gate()

    async def story() -> None:
        batcher = Batcher(1, 4, 100)
        batcher.start()
        running = asyncio.ensure_future(batcher.submit(gate, [column(0)]))
        await until_running(gate)
        waiting = asyncio.ensure_future(batcher.submit(gate, [column(1)]))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(batcher.close())
        await asyncio.sleep(0)
        gate.opened.set()
        await closing
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable):
            await batcher.submit(gate, [column(2)])
        running.cancel()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_each_run_is_reported_with_its_rows_and_waits() -> None:
    reports: list[BatchReport] = []

    async def story(batcher: Batcher) -> None:
        await batcher.submit(Doubler(), [column(1, 2, 3, 4, 5)])

    scenario(story, reports=reports, max_batch_rows=3)
    assert [report.rows for report in reports] == [3, 2]
    assert all(wait >= 0 for report in reports for wait in report.waits)
