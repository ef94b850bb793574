"""Deadlines: who is not answered in time is expired, at once and once."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.deadlines import GRAIN, Deadlines
from service.engine.job import Job


def scenario(story: Callable[[Deadlines, list[Job], "asyncio.Event"], Awaitable[None]]) -> None:
    async def run() -> None:
        expired: list[Job] = []
        rang = asyncio.Event()

        def expire(job: Job) -> None:
            expired.append(job)
            rang.set()

        deadlines = Deadlines(asyncio.get_running_loop(), expire)
        await asyncio.wait_for(story(deadlines, expired, rang), 30)
        deadlines.close()

    asyncio.run(run())


def job(seconds: float) -> Job:
    loop = asyncio.get_running_loop()
    return Job(lambda _: None, loop.time(), seconds)


def test_a_job_expires_at_its_deadline_and_not_before() -> None:
    async def story(deadlines: Deadlines, expired: list[Job], rang: asyncio.Event) -> None:
        late, early = job(60), job(0.02)
        deadlines.add(late)
        deadlines.add(early)
        await rang.wait()
        assert asyncio.get_running_loop().time() >= early.deadline - GRAIN
        assert expired == [early]
        assert deadlines.jobs() == [late]

    scenario(story)


def test_an_answered_job_never_expires() -> None:
    async def story(deadlines: Deadlines, expired: list[Job], rang: asyncio.Event) -> None:
        answered, other = job(0.01), job(0.02)
        deadlines.add(answered)
        deadlines.add(other)
        deadlines.discard(answered)
        await rang.wait()
        assert expired == [other]
        assert deadlines.jobs() == []

    scenario(story)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 0.02), min_size=1, max_size=20))
def test_whatever_the_order_all_expire_by_their_deadlines(seconds: list[float]) -> None:
    async def story(deadlines: Deadlines, expired: list[Job], rang: asyncio.Event) -> None:
        jobs = [job(one) for one in seconds]
        for one in jobs:
            deadlines.add(one)
        while len(expired) < len(jobs):
            await rang.wait()
            rang.clear()
        slots = [round(one.deadline / GRAIN) for one in expired]
        assert all(b >= a - 1 for a, b in pairwise(slots))
        assert set(expired) == set(jobs)

    scenario(story)
