"""Who there is no room for: told at once and told the same, whether its head came before or not."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.cors import Cors
from service.telemetry.tally import tally
from tests.service.api.test_direct import nameless
from tests.service.api.ways import ASGI, BODY, DIRECT, Service, listening, one_answer, request

ECHO = request(b"/d/echo")
Ask = Callable[[bytes], Awaitable[bytes]]


def scenario(
    story: Callable[[Service, Ask], Awaitable[None]],
    protocol: type[HttpToolsProtocol] = DIRECT,
    cors: Cors | None = None,
) -> None:
    """Run a story with a caller that keeps its connection."""

    async def run() -> None:
        async with listening(protocol, cors=cors) as (service, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

            async def ask(content: bytes) -> bytes:
                writer.write(content)
                return await one_answer(reader)

            await story(service, ask)
            writer.close()

    asyncio.run(run())


def refusal(
    content: bytes, protocol: type[HttpToolsProtocol] = DIRECT, cors: Cors | None = None
) -> bytes:
    """What is said to a request whose head came before."""
    said: list[bytes] = []

    async def story(service: Service, ask: Ask) -> None:
        await ask(content)
        service.is_full = True
        said.append(await ask(content))
        assert len(service.called) <= 1

    scenario(story, protocol, cors)
    return said[0]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b"x-request-id: mine"],
        [b"x-request-id: not mine"],
        [b"gatecast-timeout-ms: 50"],
        [b"gatecast-timeout-ms: soon"],
        [b"origin: https://here.example"],
    ],
    ids=["nothing else", "id", "no id", "time", "no time", "origin"],
)
@pytest.mark.parametrize("cors", [None, Cors(("https://here.example",))], ids=["", "CORS"])
def test_a_refusal_is_the_one_that_asgi_gives(headers: list[bytes], cors: Cors | None) -> None:
    content = request(b"/d/echo", *headers)
    ours = refusal(content, cors=cors)
    assert ours.startswith(
        b"HTTP/1.1 400" if b"gatecast-timeout-ms: soon" in headers else b"HTTP/1.1 429"
    )
    assert nameless(ours) == nameless(refusal(content, ASGI, cors))


def test_each_refusal_has_a_name_of_its_own() -> None:
    assert refusal(ECHO) != refusal(ECHO)


def test_whoever_comes_again_when_there_is_room_is_answered() -> None:
    async def story(service: Service, ask: Ask) -> None:
        for is_full in (False, True, True, False, True):
            service.is_full = is_full
            answer = await ask(ECHO)
            assert answer.startswith(b"HTTP/1.1 429" if is_full else b"HTTP/1.1 200")
        assert service.called == [BODY] * 2
        assert service.state.total_requests == 5

    scenario(story)


def test_a_refusal_is_counted_once_by_route_and_by_reason() -> None:
    keys = [
        ("gatecast_requests_total", "/d/echo", "429"),
        ("gatecast_refused_total", "overloaded"),
    ]
    before = [tally.cells(key)[0] for key in keys]
    refusal(ECHO)
    assert [tally.cells(key)[0] for key in keys] == [count + 1 for count in before]


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async def story(service: Service, ask: Ask) -> None:
        await ask(ECHO)
        service.is_full = True
        first = asyncio.ensure_future(ask(request(b"/d/slow")))
        await service.entered.wait()
        service.connection.data_received(ECHO)
        service.gate.set()
        assert (await first).endswith(b"\r\n\r\n%d" % len(BODY))
        assert (await ask(b"")).startswith(b"HTTP/1.1 429")

    scenario(story)


def test_a_service_that_leaves_tells_whom_it_refuses_to_go() -> None:
    async def story(service: Service, ask: Ask) -> None:
        await ask(ECHO)
        service.is_full = service.drain.begun = True
        assert b"\r\nconnection: close\r\n" in await ask(ECHO)

    scenario(story)
