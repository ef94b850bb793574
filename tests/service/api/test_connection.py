"""A connection: who hangs up when, what is read meanwhile, and what is left in memory."""

import asyncio
import gc
import socket
import traceback
import weakref

import pytest

from service.errors import NotFound
from service.telemetry.tally import tally
from tests.service.api.ways import (
    CLOSE,
    LIMIT,
    PLAIN,
    ask,
    get,
    listening,
    one_answer,
    request,
)

LAST = get(b"/d/names/last", CLOSE)


def test_a_body_that_comes_before_it_is_wanted_waits_in_the_kernel() -> None:
    async def scenario() -> tuple[bool, bytes]:
        async with listening() as (service, port):
            asked = asyncio.ensure_future(ask(port, request(b"/d/slow", CLOSE, body=bytes(LIMIT))))
            await service.entered.wait()
            while not service.connection.flow.read_paused:
                await asyncio.sleep(0)
            service.gate.set()
            return service.connection.flow.read_paused, await asked

    paused, answer = asyncio.run(scenario())
    assert paused
    assert answer.endswith(b"\r\n\r\n%d" % LIMIT)


def test_a_caller_who_reads_nothing_is_not_read_from() -> None:
    large = request(b"/d/echo", body=bytes(500_000))
    most = 200 * len(large)  # more than all buffers between the two hold

    async def scenario() -> tuple[int, int]:
        async with listening() as (service, port):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setblocking(False)
                sent = refused = 0
                while sent < most and refused < 1000:
                    try:
                        sent += client.send(large[sent % len(large) :])
                        refused = 0
                    except BlockingIOError:
                        refused += 1
                    await asyncio.sleep(0)
                return sent, len(service.called)

    sent, called = asyncio.run(scenario())
    assert sent < most
    assert called * len(large) < sent


def test_a_caller_who_hangs_up_ends_the_handler() -> None:
    key = ("gatecast_requests_total", "/d/slow", "cancelled")
    before = tally.cells(key)[0]

    async def scenario() -> None:
        async with listening() as (service, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(b"/d/slow"))
            await service.entered.wait()
            writer.close()
            await asyncio.wait_for(service.cancelled.wait(), 30)
            while service.state.tasks:
                await asyncio.sleep(0)

    asyncio.run(scenario())
    assert tally.cells(key)[0] == before + 1


def test_a_caller_who_hangs_up_within_an_answer_ends_what_writes_it() -> None:
    async def scenario() -> None:
        async with listening() as (service, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get(b"/d/endless-parts"))
            await reader.readuntil(b"more")
            writer.close()
            await asyncio.wait_for(service.cancelled.wait(), 30)
            while service.state.tasks:
                await asyncio.sleep(0)

    asyncio.run(scenario())


def test_a_caller_who_hangs_up_within_a_body_is_counted_and_not_answered() -> None:
    key = ("gatecast_requests_total", "/d/echo", "cancelled")
    before = tally.cells(key)[0]

    async def scenario() -> list[bytes]:
        async with listening() as (service, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(b"/d/echo")[:-1])
            while not service.state.tasks:
                await asyncio.sleep(0)
            writer.close()
            while service.state.tasks:
                await asyncio.sleep(0)
            return service.called

    assert asyncio.run(scenario()) == []
    assert tally.cells(key)[0] == before + 1


def test_a_request_within_a_shutdown_is_answered_and_told_to_close() -> None:
    async def scenario() -> bytes:
        async with listening() as (service, port):
            asked = asyncio.ensure_future(ask(port, request(b"/d/slow")))
            await service.entered.wait()
            service.connection.shutdown()
            await asyncio.sleep(0)
            service.gate.set()
            return await asked

    answer = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in answer


def test_a_connection_on_which_nothing_is_asked_is_closed() -> None:
    async def scenario(*parts: bytes) -> bytes:
        async with listening(keep_alive_s=0.02) as (service, port):
            service.is_full = True
            return await ask(port, *parts)

    refused = request(b"/d/echo", body=bytes(200_000))
    assert asyncio.run(scenario(request(b"/d/echo"))).count(b"HTTP/1.1 429") == 1
    assert asyncio.run(scenario(refused[:100], refused[100:])).count(b"HTTP/1.1 429") == 1
    assert asyncio.run(scenario(PLAIN * 3)).count(b"HTTP/1.1 200") == 3


def test_a_connection_on_which_something_is_asked_is_not_closed() -> None:
    async def scenario() -> bytes:
        async with listening() as (service, port):
            asked = asyncio.ensure_future(
                ask(port, request(b"/d/echo") + request(b"/d/slow", CLOSE))
            )
            await service.entered.wait()
            service.connection.patience.look()  # the timer rings for the first request
            service.gate.set()
            return await asked

    assert asyncio.run(scenario()).count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("path", [b"/d/echo", b"/d/slow"])
def test_a_connection_that_has_ended_leaves_nothing_to_the_collector(path: bytes) -> None:
    async def scenario() -> bool:
        async with listening() as (service, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(path))
            await (one_answer(reader) if path == b"/d/echo" else service.entered.wait())
            known = weakref.ref(service.connection)
            writer.close()
            while service.state.connections or service.state.tasks:
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # what is called when a task has ended still held it
            return known() is None

    gc.disable()
    try:
        assert asyncio.run(scenario())
    finally:
        gc.enable()


def test_a_route_that_nobody_serves_costs_no_memory_each_time_it_is_asked() -> None:
    async def scenario() -> int:
        async with listening() as (_, port):
            await ask(port, get(b"/d/nothing") * 20 + LAST)
        gc.collect()
        errors = [one for one in gc.get_objects() if type(one) is NotFound]
        return max(len(list(traceback.walk_tb(error.__traceback__))) for error in errors)

    assert asyncio.run(scenario()) < 20
