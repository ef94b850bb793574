"""The short way from the parser to a handler: what it says is what ASGI would have said."""

import asyncio
import gc
import gzip
import json
import logging
import socket
import traceback
import weakref

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.connection import Connection
from service.api.dialect import Front
from service.errors import NotFound
from service.processes.worker import configuration
from service.settings import Settings
from service.tally import tally
from tests.service.api.ways import ASGI, DIRECT, LIMIT, Service, ask, listening

BODY = b"a body"
CLOSE = b"connection: close"
PLAIN = b"GET /plain HTTP/1.1\r\nhost: x\r\n\r\n"
PACKED = gzip.compress(BODY)


def request(
    path: bytes, *headers: bytes, body: bytes = BODY, line: bytes = b"POST %b HTTP/1.1"
) -> bytes:
    """A request with a body of known length."""
    lines = [line % path, b"host: x", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"host: x", *headers]) + b"\r\n\r\n"


def chunked(path: bytes, *chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    head = [b"POST %b HTTP/1.1" % path, b"host: x", b"transfer-encoding: chunked"]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


LAST = get(b"/d/names/last", CLOSE)

REQUESTS = {
    "known length": (200, request(b"/d/echo", CLOSE)),
    "chunks": (200, chunked(b"/d/echo", b"a ", b"body") + LAST),
    "no body": (200, request(b"/d/echo", CLOSE, body=b"")),
    "packed": (200, request(b"/d/echo", CLOSE, b"content-encoding: gzip", body=PACKED)),
    "HTTP/1.0": (200, request(b"/d/echo", line=b"POST %b HTTP/1.0")),
    "HTTP/1.0 kept": (
        200,
        request(b"/d/echo", b"connection: keep-alive", line=b"POST %b HTTP/1.0"),
    ),
    "asks first": (200, request(b"/d/echo", CLOSE, b"expect: 100-continue")),
    "path and query": (200, get(b"/d/names/a%20b?c=d&e=%C3%A9", CLOSE)),
    "parts": (200, get(b"/d/parts", CLOSE)),
    "only parts": (200, get(b"/d/only-parts", CLOSE)),
    "HEAD": (405, get(b"/d/names/a", CLOSE, method=b"HEAD")),
    "another method": (405, get(b"/d/echo", CLOSE)),
    "no such route": (404, get(b"/d/nothing", CLOSE)),
    "a mistake": (500, get(b"/d/mistake", CLOSE)),
    "announced too large": (413, request(b"/d/echo", body=bytes(LIMIT + 1)) + LAST),
    "too large in chunks": (413, chunked(b"/d/echo", *[bytes(100_000)] * 30) + LAST),
    "no timeout": (400, request(b"/d/echo", CLOSE, b"gatecast-timeout-ms: soon")),
    "unknown packing": (415, request(b"/d/echo", CLOSE, b"content-encoding: x")),
    "FastAPI's": (200, get(b"/plain", CLOSE)),
    "not HTTP": (400, b"hello\r\n\r\n"),
}


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
def test_an_answer_is_the_one_that_asgi_gives(sent: tuple[int, bytes]) -> None:
    status, content = sent

    async def answers(protocol: type[HttpToolsProtocol]) -> bytes:
        async with listening(protocol) as (_, port):
            return await ask(port, content)

    direct = asyncio.run(answers(DIRECT))
    final = direct.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert final.startswith(b"HTTP/1.1 %d " % status)
    if content != REQUESTS["not HTTP"][1]:  # which uvicorn answers in its own words
        assert direct == asyncio.run(answers(ASGI))


@pytest.mark.parametrize("protocol", [DIRECT, ASGI])
def test_whom_there_is_no_room_for_is_told_so_before_its_body_is_read(
    protocol: type[HttpToolsProtocol],
) -> None:
    async def scenario() -> tuple[bytes, Service]:
        async with listening(protocol) as (service, port):
            service.is_full = True
            content = request(b"/d/echo", CLOSE, b"expect: 100-continue", body=b"")
            return await ask(port, content.replace(b"length: 0", b"length: 99")), service

    answer, service = asyncio.run(scenario())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nretry-after: 7" in head
    assert json.loads(body)["error"]["type"] == "overloaded"
    assert service.called == []


def test_after_a_refusal_the_rest_of_the_body_is_let_go_and_the_next_request_answered() -> None:
    async def scenario() -> tuple[list[bytes], bytes]:
        async with listening() as (service, port):
            service.is_full = True
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            refused = request(b"/d/echo", body=bytes(300_000))
            writer.write(refused[:1000])
            assert (await one_answer(reader)).startswith(b"HTTP/1.1 429")
            service.is_full = False
            writer.write(refused[1000:] + request(b"/d/echo"))
            answer = await one_answer(reader)
            writer.close()
            return service.called, answer

    called, answer = asyncio.run(scenario())
    assert called == [BODY]
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(BODY)


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    """The next answer of a known length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await asyncio.wait_for(reader.readexactly(length), 30)


def test_the_service_is_run_so_that_its_dialects_take_the_short_way() -> None:
    config = configuration(Settings())
    config.load()
    assert isinstance(config.loaded_app, Front)
    assert config.http_protocol_class is Connection


def test_a_refusal_is_counted_by_route_and_by_reason() -> None:
    keys = [
        ("gatecast_requests_total", "/d/echo", "429"),
        ("gatecast_refused_total", "overloaded"),
    ]

    async def scenario() -> None:
        async with listening() as (service, port):
            service.is_full = True
            await ask(port, request(b"/d/echo", CLOSE))

    before = [tally.cells(key)[0] for key in keys]
    asyncio.run(scenario())
    assert [tally.cells(key)[0] for key in keys] == [count + 1 for count in before]


def test_answers_come_in_the_order_of_the_requests_whichever_way_they_take() -> None:
    many = [request(b"/d/echo", body=b"%d" % at) + PLAIN for at in range(20)]
    last = request(b"/d/echo", CLOSE, body=b"end")

    async def scenario() -> bytes:
        async with listening() as (_, port):
            return await ask(port, b"".join(many) + last)

    answer = asyncio.run(scenario())
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    expected = [body for at in range(20) for body in (b"%d" % at, b'"plain"')]
    assert bodies == [*expected, b"end"]


def test_a_thousand_requests_at_once_do_not_pile_up_on_the_stack() -> None:
    async def scenario() -> bytes:
        async with listening() as (service, port):
            service.is_full = True
            return await ask(port, request(b"/d/echo") * 3000, request(b"/d/echo", CLOSE))

    assert asyncio.run(scenario()).count(b"HTTP/1.1 429") == 3001


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
            service.connection.timeout_keep_alive_handler()  # rings for the first request
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
        errors = [one for one in gc.get_objects() if isinstance(one, NotFound)]
        return max(len(list(traceback.walk_tb(error.__traceback__))) for error in errors)

    assert asyncio.run(scenario()) < 20


def test_an_answer_that_breaks_off_does_not_look_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> bytes:
        async with listening() as (_, port):
            return await ask(port, get(b"/d/broken-parts"))

    with caplog.at_level(logging.ERROR):
        answer = asyncio.run(scenario())
    assert answer.endswith(b"6\r\npart 0\r\n")
    assert "ZeroDivisionError" in caplog.text


def test_parts_for_http_1_0_end_with_the_connection() -> None:
    async def scenario() -> bytes:
        async with listening() as (_, port):
            return await ask(port, get(b"/d/parts").replace(b"HTTP/1.1", b"HTTP/1.0"))

    head, _, body = asyncio.run(scenario()).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == b"first" + b"".join(b"part %d" % number for number in range(5))


def test_the_date_is_that_of_the_server_and_is_renewed() -> None:
    async def scenario() -> list[bytes]:
        answers = []
        async with listening() as (service, port):
            for date in (b"today", b"tomorrow"):
                service.state.default_headers = [(b"date", date)]
                answers.append(await ask(port, request(b"/d/echo", CLOSE)))
        return answers

    today, tomorrow = asyncio.run(scenario())
    assert today.startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\n")
    assert tomorrow.startswith(b"HTTP/1.1 200 OK\r\ndate: tomorrow\r\n")
