"""How many workers there are, and that each gets its share of the connections."""

import asyncio
import os
from contextlib import ExitStack

from service.cores import available_cores
from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import (
    ALIVE,
    address,
    connect,
    descendants,
    eventually,
    held,
    two_workers,
)
from tests.end_to_end.server import ServerProcess, serving
from tests.end_to_end.test_startup import workers


def test_connections_are_spread_evenly_over_the_workers() -> None:
    with two_workers() as server:
        for _ in range(10):
            with ExitStack() as opened:
                for _ in range(32):
                    opened.enter_context(connect(server))
                assert sorted(held(server).values()) == [16, 16]
            assert eventually(lambda: sum(held(server).values()) == 0)


def test_auto_is_a_worker_for_each_available_core() -> None:
    with serving(ARTIFACTS, "--workers", "auto") as server:
        cores = available_cores()
        assert f" workers {cores}\n" in server.log
        assert len(workers(server)) == (cores if cores > 1 else 0)
        server.terminate()
        assert server.wait() == 0


def test_auto_on_one_core_is_one_process() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with serving(ARTIFACTS, "--workers", "auto") as server:
            assert " workers 1\n" in server.log
            assert descendants(server.process.pid) == {server.process.pid}
    finally:
        os.sched_setaffinity(0, cores)


def test_connections_opened_at_once_are_spread_evenly_over_the_workers() -> None:
    async def open_all(server: ServerProcess) -> dict[int, int]:
        async def one() -> asyncio.StreamWriter:
            reader, writer = await asyncio.open_connection(*address(server))
            writer.write(ALIVE)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            return writer

        opened = await asyncio.gather(*(one() for _ in range(32)))
        counted = held(server)
        for writer in opened:
            writer.close()
        return counted

    with two_workers() as server:
        assert sorted(asyncio.run(open_all(server)).values()) == [16, 16]


def test_a_worker_that_holds_fewer_connections_gets_the_next_ones() -> None:
    with two_workers() as server, ExitStack() as opened:
        connections = [opened.enter_context(connect(server)) for _ in range(32)]
        for connection in connections[::2]:  # given in turn, so all of one worker
            connection.close()
        assert eventually(lambda: min(held(server).values()) == 0)
        assert eventually(lambda: _opened_until_even(server, opened))


def _opened_until_even(server: ServerProcess, opened: ExitStack) -> bool:
    """In turn alone, the difference would stay."""
    opened.enter_context(connect(server))
    counts = held(server).values()
    return max(counts) - min(counts) <= 6
