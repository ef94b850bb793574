"""How inputs reach a service, and what became of each: a word that is counted."""

import asyncio
import http.client
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from typing import Any, NamedTuple

import grpc

from benchmarks.load import Question
from benchmarks.serving.rpc import METHOD

PATIENCE_S = 30.0  # far beyond every limit of the service: after it an input hangs
AT_ONCE = 64
_STATUS = re.compile(rb"(?:^|\n|})HTTP/1\.1 (\d\d\d) ")
_OURS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"}


class Outcome(NamedTuple):
    """What became of an input."""

    sent: bytes
    word: str  # a status, or how a connection ended
    fault: bool  # it must never be so


def as_bodies(
    address: tuple[str, int], question: Question, inputs: Iterable[bytes]
) -> Iterator[Outcome]:
    """Each as the body of a request, one after the other on a connection that stays open."""
    with closing(http.client.HTTPConnection(*address, timeout=PATIENCE_S)) as connection:
        for body in inputs:
            try:
                connection.request("POST", question.path, body, question.headers)
                answer = connection.getresponse()
                answer.read()
                yield Outcome(body, str(answer.status), answer.status >= 500)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                yield Outcome(body, type(error).__name__, True)


def as_calls(address: str, inputs: Iterable[bytes]) -> Iterator[Outcome]:
    """Each as the message of a call of gRPC, some at once on one connection."""
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(METHOD)
        waiting: deque[tuple[bytes, Any]] = deque()
        for message in inputs:
            waiting.append((message, call.future(message, timeout=PATIENCE_S)))
            if len(waiting) == AT_ONCE:
                yield _called(*waiting.popleft())
        while waiting:
            yield _called(*waiting.popleft())


def _called(message: bytes, future: Any) -> Outcome:
    name = future.code().name  # waits for it
    return Outcome(message, name, name in _OURS)


def as_connections(address: tuple[str, int], inputs: Iterable[bytes]) -> list[Outcome]:
    """Each as all that a connection ever says; the service has to end it, if we do not first."""
    return asyncio.run(_connect_all(address, iter(inputs)))


async def _connect_all(address: tuple[str, int], inputs: Iterator[bytes]) -> list[Outcome]:
    found: list[Outcome] = []

    async def one_after_the_other() -> None:
        found.extend([await _connect(address, sent) for sent in inputs])

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return found


async def _opened(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Patient: where gRPC's own server has ended, another one comes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(ConnectionError):
                return await asyncio.open_connection(*address)
            await asyncio.sleep(0.001)


async def _connect(address: tuple[str, int], sent: bytes) -> Outcome:
    reader, writer = await _opened(address)
    said = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(sent)
            with suppress(ConnectionError):
                while part := await reader.read(1 << 16):
                    said += part
    except TimeoutError:
        return Outcome(sent, "hangs", True)
    finally:
        writer.transport.abort()
    statuses = [int(status) for status in _STATUS.findall(said)]
    word = str(statuses[-1]) if statuses else "closed"
    return Outcome(sent, word, any(status >= 500 for status in statuses))
