"""The short way from the parser to a handler: what it says is what ASGI would have said."""

import asyncio
import gzip
import json
import logging
import re

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.connection import Connection
from service.api.front import Front
from service.processes.worker import configuration
from service.settings import Settings
from service.telemetry.tally import tally
from tests.service.api.ways import (
    ASGI,
    BODY,
    CLOSE,
    DIRECT,
    LIMIT,
    PLAIN,
    Service,
    ask,
    chunked,
    get,
    listening,
    one_answer,
    request,
)

PACKED = gzip.compress(BODY)
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


def nameless(answer: bytes) -> bytes:
    """Without the value of the request's id, which every error has anew."""
    return re.sub(rb"(x-request-id: )[0-9a-f]{32}\r", rb"\1\r", answer)


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
        assert nameless(direct) == nameless(asyncio.run(answers(ASGI)))


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


@pytest.mark.parametrize("protocol", [DIRECT, ASGI])
def test_a_mistake_of_ours_is_logged_with_the_id_that_its_caller_is_told(
    protocol: type[HttpToolsProtocol], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> bytes:
        async with listening(protocol) as (_, port):
            return await ask(port, get(b"/d/mistake", b"x-request-id: r-1", CLOSE))

    with caplog.at_level(logging.ERROR, "gatecast"):
        answer = asyncio.run(scenario())
    assert b"\r\nx-request-id: r-1\r\n" in answer
    (record,) = caplog.records
    assert record.__dict__["request_id"] == "r-1"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("cut", [1000, -1], ids=["in one piece", "its body later"])
def test_a_mistake_of_the_short_way_is_told_as_one_of_a_handler(
    cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    content = request(b"/d/misled", CLOSE)

    async def scenario() -> bytes:
        async with listening() as (_, port):
            return await ask(port, content[:cut], content[cut:])

    with caplog.at_level(logging.ERROR, "gatecast"):
        answer = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"ZeroDivisionError" not in answer
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("cut", [1000, -1], ids=["in one piece", "its body later"])
def test_what_the_short_way_does_not_take_is_handled(cut: int) -> None:
    content = request(b"/d/misled", CLOSE, body=b"other")

    async def scenario() -> bytes:
        async with listening() as (_, port):
            return await ask(port, content[:cut], content[cut:])

    assert asyncio.run(scenario()).endswith(b"\r\n\r\nother")


def test_who_hangs_up_before_the_body_has_come_is_counted_and_let_go() -> None:
    key = ("gatecast_requests_total", "/d/misled", "cancelled")
    before = tally.cells(key)[0]

    async def scenario() -> None:
        async with listening() as (service, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(b"/d/misled")[:-1])
            await writer.drain()
            while not service.drain.held:
                await asyncio.sleep(0)
            writer.transport.abort()
            while service.state.connections:
                await asyncio.sleep(0)
            assert not service.drain.held

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert tally.cells(key)[0] == before + 1
