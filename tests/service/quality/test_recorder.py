"""The queue between the event loop and the database: bounded, counted, and written in the end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from service.errors import Unavailable
from service.forecasting.inquiry import Series
from service.quality import recorder as module
from service.quality import tables
from service.quality.address import database_url
from service.quality.recorder import Recorder
from service.quality.store import Store
from service.telemetry.tally import tally
from tests.service.quality.test_joining import TINY, quantiles, series

Act = Callable[[Recorder], Awaitable[None]]


def lost(reason: str) -> float:
    return tally.totals().get(("gatecast_quality_lost_total", reason), [0.0])[0]


def offer(recorder: Recorder, *many: Series) -> None:
    answer = np.concatenate([quantiles(0)] * len(many))
    recorder.offer(TINY, many, answer)


def work(folder: Path, act: Act, **limits: float) -> None:
    """Do something with a recorder that runs, whose database is a file of this folder."""

    async def run() -> None:
        recorder = Recorder(Store(database_url(str(folder / "q.db"))), **limits)  # type: ignore[arg-type]
        recorder.start()
        try:
            await act(recorder)
        finally:
            await recorder.close()

    asyncio.run(run())


def written(folder: Path) -> list[str]:
    store = Store(database_url(str(folder / "q.db")))
    with store.reading() as connection:
        found = connection.execute(select(tables.forecasts.c.item_id)).scalars()
        items = sorted(found)
    store.close()
    return items


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_what_was_offered_is_written_at_the_end(tmp_path: Path) -> None:
    async def act(recorder: Recorder) -> None:
        for item_id in ("b", "a", "b"):
            offer(recorder, series(item_id, [1.0, 2.0]), series(f"{item_id}'", [3.0]))

    work(tmp_path, act)
    assert written(tmp_path) == ["a", "a'", "b", "b'"]


@pytest.mark.parametrize("limits", [{"most_rows": 2}, {"most_bytes": 1500}])
def test_what_finds_no_room_is_lost_and_counted(tmp_path: Path, limits: dict[str, float]) -> None:
    before = lost("full")

    async def act(recorder: Recorder) -> None:
        for item_id in "abcd":  # the thread has no turn between them that could make room
            offer(recorder, series(item_id, [1.0, 2.0]))

    work(tmp_path / "missing", act, **limits)
    assert lost("full") == before + 2


def test_a_database_that_comes_back_gets_what_waited(tmp_path: Path) -> None:
    folder = tmp_path / "mount"

    async def act(recorder: Recorder) -> None:
        offer(recorder, series("a", [1.0]))
        with pytest.raises(Unavailable, match="unable to open database file") as caught:
            await recorder.ask(lambda store: store.prune(0.0, 1))
        assert caught.value.retry_after is not None
        offer(recorder, series("b", [1.0]))
        assert recorder.waiting == 2
        folder.mkdir()
        await wait_for(lambda: recorder.waiting == 0)
        assert await recorder.ask(lambda store: store.url) == database_url(str(folder / "q.db"))

    before = lost("full"), lost("failed"), lost("shutdown")
    work(folder, act)
    assert written(folder) == ["a", "b"]
    assert (lost("full"), lost("failed"), lost("shutdown")) == before


def test_what_no_database_came_for_is_counted_at_the_end(tmp_path: Path) -> None:
    before = lost("shutdown")

    async def act(recorder: Recorder) -> None:
        offer(recorder, series("a", [1.0]), series("b", [1.0]))

    work(tmp_path / "missing", act)
    assert lost("shutdown") == before + 2


def test_tables_that_are_not_ours_lose_forecasts_and_stay_as_they_are(tmp_path: Path) -> None:
    store = Store(database_url(str(tmp_path / "q.db")))
    with store.writing() as connection:
        connection.execute(update(tables.schema).values(version=99))
    before = lost("failed")

    async def act(recorder: Recorder) -> None:
        offer(recorder, series("a", [1.0]))
        with pytest.raises(Unavailable, match="schema 99"):
            await recorder.ask(lambda store: store.prune(0.0, 1))
        await wait_for(lambda: lost("failed") == before + 1)

    work(tmp_path, act)
    with store.writing() as connection:
        connection.execute(update(tables.schema).values(version=tables.SCHEMA))
    store.close()
    assert written(tmp_path) == []


def test_an_item_that_no_database_takes_harms_no_other(tmp_path: Path) -> None:
    before = lost("unwritable")

    async def act(recorder: Recorder) -> None:
        offer(recorder, *[series(one, [1.0]) for one in ("a\0", "b" * 1025, "\ud800", "ü" * 512)])
        await wait_for(lambda: lost("unwritable") == before + 3)

    work(tmp_path, act)
    assert written(tmp_path) == ["ü" * 512]


def test_a_share_of_the_items_is_the_same_items_always(tmp_path: Path) -> None:
    async def act(recorder: Recorder) -> None:
        for known in (1, 2):
            offer(recorder, *[series(f"item-{k}", [1.0] * known) for k in range(1000)])

    work(tmp_path, act, share=20.0)
    items = written(tmp_path)
    assert items[::2] == items[1::2]
    assert 150 < len(items) / 2 < 250


def test_a_copy_is_kept_and_no_body(tmp_path: Path) -> None:
    async def act(recorder: Recorder) -> None:
        body = np.arange(1e6)
        offer(
            recorder, series("a", [1.0]), Series("b", series("", []).start, None, body[5:500_000])
        )
        (kept,) = recorder._queue
        assert kept.values.base is None
        assert kept.values.nbytes == 8 * (1 + TINY.signature.context_length)
        assert kept.answer.base is None

    work(tmp_path, act)


def test_too_many_questions_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_QUESTIONS", 0)

    async def act(recorder: Recorder) -> None:
        with pytest.raises(Unavailable, match="too many"):
            await recorder.ask(lambda store: None)

    work(tmp_path, act)
