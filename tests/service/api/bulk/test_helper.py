"""The process that reads tables: it may die, hang or be given up, and the next task is answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.api.bulk import helper as module
from service.api.bulk.helper import Helper
from service.api.bulk.names import Names
from service.errors import DeadlineExceeded, Malformed, TooLarge

MEMORY = 1 << 29


def run(story: Callable[[Helper], Awaitable[Any]], memory: int = MEMORY) -> Any:
    """A story about one helper, which is closed at its end."""

    async def whole() -> Any:
        helper = Helper(memory)
        try:
            return await story(helper)
        finally:
            await helper.close()

    return asyncio.run(whole())


async def write(helper: Helper, count: int, timeout_s: float | None = None) -> pa.Table:
    """A forecast of so many series as a table."""
    names = Names.of([f"ä{at}" for at in range(count)])
    timestamps = np.arange(2 * count).reshape(count, 2)
    quantiles = np.arange(2 * count, dtype=np.float32).reshape(1, count, 2)
    said = {"task": "write", "media": "application/vnd.apache.arrow.stream", "zone": "Z"}
    arrays: list[Any] = [names.utf8, names.ends, timestamps, quantiles]
    _, (table,) = await helper.ask(said | {"levels": ["0.5"]}, arrays, timeout_s)
    return pa.ipc.open_stream(pa.py_buffer(table)).read_all()


def test_arrays_arrive_as_they_were_sent() -> None:
    table = run(lambda helper: write(helper, 100_000))
    assert table.column_names == ["item_id", "timestamp", "0.5"]
    assert table["item_id"].to_pylist()[-3:] == ["ä99998", "ä99999", "ä99999"]
    np.testing.assert_array_equal(table["0.5"], np.arange(200_000, dtype=np.float32))
    np.testing.assert_array_equal(table["timestamp"].cast(pa.int64()), np.arange(200_000))


def test_callers_wait_in_line() -> None:
    async def story(helper: Helper) -> list[pa.Table]:
        return await asyncio.gather(*(write(helper, count) for count in (1, 5, 3)))

    assert [table.num_rows for table in run(story)] == [2, 10, 6]


def test_a_process_that_died_is_replaced() -> None:
    async def story(helper: Helper) -> pa.Table:
        await write(helper, 1)
        assert helper._process is not None
        helper._process.kill()
        with pytest.raises(Malformed, match="its reader came to an end"):
            await write(helper, 1)
        return await write(helper, 3)

    assert run(story).num_rows == 6


def test_a_caller_who_leaves_ends_the_process_and_the_next_is_answered() -> None:
    async def story(helper: Helper) -> pa.Table:
        await write(helper, 1)
        leaving = asyncio.ensure_future(write(helper, 1_000_000))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await write(helper, 3)

    assert run(story).num_rows == 6


def test_a_deadline_counts_the_time_in_line() -> None:
    async def story(helper: Helper) -> pa.Table:
        first = asyncio.ensure_future(write(helper, 50_000))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await write(helper, 1, timeout_s=0.0)
        assert (await first).num_rows == 100_000
        return await write(helper, 3)

    assert run(story).num_rows == 6


def test_a_table_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(helper: Helper) -> None:
        await write(helper, 1)
        monkeypatch.setattr(module, "LONGEST_S", 0.0)
        with pytest.raises(TooLarge, match="took longer"):
            await write(helper, 1000)

    run(story)


def test_a_table_that_needs_too_much_memory_is_refused() -> None:
    async def story(helper: Helper) -> pa.Table:
        with pytest.raises(TooLarge, match="more memory than one may take"):
            await write(helper, 3_000_000)
        return await write(helper, 3)

    assert run(story, memory=1 << 27).num_rows == 6


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "äöü", "\U0001f600", "b"]])
def test_names_are_the_texts_they_were_made_of(texts: list[str]) -> None:
    names = Names.of(texts)
    assert [*names] == texts
    assert names[1:] == texts[1:]
    assert [*Names.joined([names, Names.of([]), names])] == texts * 2
    with pytest.raises(IndexError):
        names[len(texts)]
