"""Heads that came before: what is known of them is what the parser says."""

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.api.ways import (
    BODY,
    CLOSE,
    PLAIN,
    ask,
    chunked,
    connected,
    get,
    listening,
    request,
)

ECHO = request(b"/d/echo")
# What may follow each other on one connection, each with the number of its answers.
PARTS = {
    ECHO: 1,
    request(b"/d/echo", body=b"another"): 1,
    request(b"/d/echo", body=b"\r\n\r\nPOST"): 1,
    request(b"/d/echo", body=b""): 1,
    chunked(b"/d/echo", b"in ", b"chunks"): 1,
    get(b"/d/names/a?b=c"): 1,
    get(b"/d/names/b", b"x-request-id: mine"): 1,
    PLAIN: 1,
    b"\r\n": 0,
    b"\r\n\r\n": 0,
    request(b"/d/echo", line=b"\r\nPOST %b HTTP/1.1"): 1,
}


class NoParser:
    """Fails whoever needs a parser."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the parser was asked for {name}")


def test_a_head_that_came_before_is_not_parsed_again() -> None:
    async def scenario() -> list[bytes]:
        async with listening() as (service, port):
            assert (await ask(port, ECHO + get(b"/d/names/a", CLOSE))).endswith(b"}]")
            first, writer = await connected(service, port)
            connection = service.connection
            connection.data_received(ECHO)
            await first.readuntil(BODY)
            connection.parser = cast(Any, NoParser())
            for body in (b"b body", b"c body"):
                connection.data_received(request(b"/d/echo", body=body))
                await first.readuntil(body)
            writer.close()
            return service.called

    assert asyncio.run(scenario()) == [BODY, BODY, b"b body", b"c body"]


async def answers(parts: list[bytes], cuts: list[int], *, known: bool) -> bytes:
    """What a connection says to these bytes, which come in pieces, before it hangs up."""
    stream = b"".join(parts) + get(b"/d/names/last", CLOSE)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    async with listening() as (service, port):
        if known:
            for part in parts:
                await ask(port, part, get(b"/d/names/last", CLOSE))
        reader, writer = await connected(service, port)
        connection = service.connection
        if not known:
            connection._heads = None
        for start, end in pairwise(ends):
            connection.data_received(stream[start:end])
            await asyncio.sleep(0)
        said = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return said


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(list(PARTS)), max_size=6), st.data())
def test_answers_are_those_of_the_parser_however_requests_follow_and_arrive(
    parts: list[bytes], data: st.DataObject
) -> None:
    starts = [len(b"".join(parts[:at])) for at in range(len(parts) + 1)]
    anywhere = st.integers(0, starts[-1])
    cuts = data.draw(st.lists(st.sampled_from(starts) | anywhere, max_size=8))
    parsed = asyncio.run(answers(parts, cuts, known=False))
    assert asyncio.run(answers(parts, cuts, known=True)) == parsed
    assert parsed.count(b"HTTP/1.1 200") == sum(PARTS[part] for part in parts) + 1


@pytest.mark.parametrize(
    "sent",
    [
        request(b"/d/echo", CLOSE),
        request(b"/d/echo", b"expect: 100-continue"),
        request(b"/d/echo", b"connection: upgrade", b"upgrade: x", body=b""),
        request(b"/d/echo", line=b"POST %b HTTP/1.0"),
        chunked(b"/d/echo", b"chunk"),
        get(b"/d/names/" + b"a" * 3000),
        ECHO + ECHO,
        b"\r\n\r\n" + ECHO,
        PLAIN,
    ],
)
def test_what_only_the_parser_understands_is_left_to_it(sent: bytes) -> None:
    async def scenario() -> bool:
        async with listening() as (service, port):
            _, writer = await connected(service, port)
            service.connection.data_received(sent)
            writer.close()
            return service.front.heads.find(sent) is None

    assert asyncio.run(scenario())


def test_heads_without_end_do_not_fill_the_memory() -> None:
    async def scenario() -> int:
        async with listening() as (service, port):
            _, writer = await connected(service, port)
            asked = [get(b"/d/names/%d" % number) for number in range(3000)]
            for one in asked:
                service.connection.data_received(one)
                await asyncio.sleep(0)
            writer.close()
            return sum(service.front.heads.find(one) is not None for one in asked)

    assert 0 < asyncio.run(scenario()) <= 1024
