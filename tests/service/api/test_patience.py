"""Whom a connection does not wait for: callers who do not go on, and whom it does wait for."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.connection import Connection
from service.api.patience import Patience
from service.telemetry.tally import tally
from tests.service.api.ways import CLOSE, PLAIN, Service, ask, get, listening, request

SHORT = 0.05  # seconds
HEAD = b"GET /d/names/a HTTP/1.1\r\nhost: x\r\n"
UNFINISHED = request(b"/d/echo")[:-1]


def answered(answer: bytes) -> tuple[int, str]:
    """The status and the type of the error of the only answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]["type"]


def test_a_head_that_does_not_end_is_told_so_and_counted() -> None:
    counted = tally.cells(("gatecast_refused_total", "too_slow"))
    before = counted[0]

    async def scenario(*parts: bytes) -> bytes:
        async with listening(head_timeout_s=SHORT) as (_, port):
            return await ask(port, *parts)

    assert answered(asyncio.run(scenario(HEAD))) == (408, "too_slow")
    answers = asyncio.run(scenario(get(b"/d/names/a") + HEAD))  # the next one
    assert answers.count(b"HTTP/1.1 200") == answers.count(b"HTTP/1.1 408") == 1
    assert counted[0] == before + 2


@pytest.mark.parametrize("start", [b"", HEAD], ids=["blank lines", "headers"])
def test_who_sends_a_little_at_a_time_has_no_more_time(start: bytes) -> None:
    async def scenario() -> bytes:
        async with listening(head_timeout_s=SHORT) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answer = asyncio.ensure_future(reader.read())
            writer.write(start)
            while not answer.done():
                writer.write(b"x: y\r\n" if start else b"\r\n")
                await asyncio.sleep(0)
            writer.close()
            return b"" if answer.exception() else await answer

    answer = asyncio.run(scenario())
    assert not start or not answer or answered(answer) == (408, "too_slow")


def test_blank_lines_do_not_keep_an_idle_connection_open() -> None:
    async def scenario() -> bytes:
        async with listening(keep_alive_s=SHORT) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get(b"/d/names/a"))
            answer = asyncio.ensure_future(reader.read())
            while not answer.done():
                writer.write(b"\r\n")
                await asyncio.sleep(0)
            writer.close()
            return b"" if answer.exception() else await answer

    assert asyncio.run(scenario()).count(b"HTTP/1.1 ") in (0, 1)


def test_who_says_nothing_is_sent_away_without_a_word() -> None:
    async def scenario() -> bytes:
        async with listening(head_timeout_s=SHORT) as (_, port):
            return await ask(port)

    assert asyncio.run(scenario()) == b""


def test_a_body_that_does_not_end_is_told_so_by_its_handler() -> None:
    async def scenario() -> tuple[bytes, Service]:
        async with listening(body_timeout_s=SHORT) as (service, port):
            return await ask(port, UNFINISHED), service

    answer, service = asyncio.run(scenario())
    assert answered(answer) == (408, "too_slow")
    assert service.called == []


def test_a_refused_body_that_does_not_end_ends_the_connection() -> None:
    async def scenario() -> bytes:
        async with listening(body_timeout_s=SHORT) as (service, port):
            service.is_full = True
            return await ask(port, UNFINISHED)

    assert asyncio.run(scenario()).count(b"HTTP/1.1 ") == 1


def test_a_body_that_nobody_reads_any_more_ends_the_connection_behind_fastapi() -> None:
    async def scenario() -> bytes:
        async with listening(body_timeout_s=SHORT) as (_, port):
            return await ask(port, PLAIN.replace(b"host: x", b"host: x\r\ncontent-length: 9"))

    assert asyncio.run(scenario()).count(b"HTTP/1.1 200") == 1


class Watched(Connection):
    """Counts how often its patience has ended."""

    ended = 0

    def _give_up(self) -> None:
        Watched.ended += 1
        super()._give_up()


@asynccontextmanager
async def watched(**limits: float) -> AsyncIterator[tuple[Service, int]]:
    Watched.ended = 0
    protocol: type[HttpToolsProtocol] = Watched
    async with listening(protocol, cors=None, **limits) as found:
        yield found


@pytest.mark.parametrize("second", [HEAD, UNFINISHED], ids=["head", "body"])
def test_who_waits_for_an_answer_is_not_sent_away_for_its_next_request(second: bytes) -> None:
    async def scenario() -> bytes:
        async with watched(head_timeout_s=SHORT, body_timeout_s=SHORT) as (service, port):
            asked = asyncio.ensure_future(ask(port, request(b"/d/slow"), second))
            await service.entered.wait()
            while Watched.ended < 2:
                await asyncio.sleep(0)
            assert not asked.done()
            service.gate.set()
            return await asked

    answer = asyncio.run(scenario())
    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.count(b"HTTP/1.1 408") == 1  # once it is alone


def test_a_body_that_waits_in_the_kernel_for_us_is_not_late() -> None:
    large = request(b"/d/slow", CLOSE, body=bytes(1_000_000))

    async def scenario() -> bytes:
        async with watched(body_timeout_s=SHORT) as (service, port):
            asked = asyncio.ensure_future(ask(port, large))
            while Watched.ended < 2:
                await asyncio.sleep(0)
            service.gate.set()
            return await asked

    assert asyncio.run(scenario()).endswith(b"\r\n\r\n1000000")


@pytest.mark.parametrize("path", [b"/d/endless-parts", b"/d/echo"])
def test_who_does_not_read_its_answer_is_cut_off(path: bytes) -> None:
    async def scenario() -> None:
        async with listening(keep_alive_s=SHORT, body_timeout_s=SHORT) as (service, port):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(("127.0.0.1", port))
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                body = b"" if path == b"/d/endless-parts" else bytes(1_900_000)
                asked = get(path) if not body else request(path, body=body) * 20
                sending = asyncio.ensure_future(loop.sock_sendall(client, asked))
                while not service.state.connections:
                    await asyncio.sleep(0)
                while service.state.connections or service.state.tasks:
                    await asyncio.sleep(0)
                sending.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_beyond_the_most_connections_a_new_one_is_told_to_come_again() -> None:
    async def scenario() -> tuple[bytes, bytes, bytes]:
        async with listening(max_connections=2) as (service, port):
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in "ab"]
            while len(service.state.connections) < 2:
                await asyncio.sleep(0)
            refused = await ask(port)
            idle[0][1].write(get(b"/d/names/a", CLOSE))
            served = await idle[0][0].read()
            idle[0][1].close()
            while len(service.state.connections) > 1:
                await asyncio.sleep(0)
            admitted = await ask(port, get(b"/d/names/a", CLOSE))
            idle[1][1].close()
            return refused, served, admitted

    refused, served, admitted = asyncio.run(scenario())
    assert answered(refused) == (503, "unavailable")
    assert served.startswith(b"HTTP/1.1 200")
    assert admitted.startswith(b"HTTP/1.1 200")


def test_the_largest_head_is_a_setting() -> None:
    async def scenario() -> bytes:
        async with listening(max_head_bytes=2000) as (service, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"a: b\r\nc: d\r\n")
            while not service.state.connections or not service.connection.headers:
                await asyncio.sleep(0)
            writer.write(b"x: " + b"y" * 2000)
            answer = await reader.read()
            writer.close()
            return answer

    assert answered(asyncio.run(scenario())) == (413, "too_large")


def test_a_timer_is_set_again_only_where_it_would_ring_too_late() -> None:
    async def scenario() -> list[str]:
        said: list[str] = []
        ended = asyncio.Event()
        patience = Patience(asyncio.get_running_loop(), ended.set)
        patience.wait(60)
        patience.rest()
        patience.look()  # as if it had rung: nothing is waited for
        said.append(f"{ended.is_set()} {patience.waits}")
        patience.wait(60)
        patience.look()  # too early
        said.append(f"{ended.is_set()} {patience.waits}")
        patience.wait(0.01)  # earlier than the timer
        await asyncio.wait_for(ended.wait(), 30)
        said.append(f"{ended.is_set()} {patience.waits}")
        ended.clear()
        patience.wait(0.0)
        patience.leave()
        patience.look()
        said.append(f"{ended.is_set()} {patience.waits}")
        return said

    assert asyncio.run(scenario()) == ["False False", "False True", "True False", "False False"]
