"""A light HTTP load generator: keep-alive connections that ask one question over and over."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
import uvloop


@dataclass(frozen=True)
class Load:
    """What a load came to."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float


def measure(url: str, path: str, bodies: list[bytes], connections: int, seconds: float) -> Load:
    """Ask from so many connections at once, each sending when it has its answer.

    Raises:
        RuntimeError: an answer other than 200.
    """
    return uvloop.run(_measure(url, path, bodies, connections, seconds))


async def _measure(
    url: str, path: str, bodies: list[bytes], connections: int, seconds: float
) -> Load:
    host, port = url.removeprefix("http://").split(":")
    questions = [
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]
    started = time.perf_counter()
    seen = await asyncio.gather(
        *(
            _connection(host, int(port), questions, at, started + seconds)
            for at in range(connections)
        )
    )
    latencies = np.concatenate([np.array(one) for one in seen])
    elapsed = time.perf_counter() - started
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return Load(len(latencies) / elapsed, float(p50), float(p99))


async def _connection(
    host: str, port: int, questions: list[bytes], turn: int, end: float
) -> list[float]:
    reader, writer = await asyncio.open_connection(host, port, limit=2**24)
    latencies: list[float] = []
    while (sent := time.perf_counter()) < end:
        writer.write(questions[turn % len(questions)])
        turn += 1
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {head.splitlines()[0]!r}")
        _, _, length = head.lower().partition(b"content-length: ")
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        latencies.append(time.perf_counter() - sent)
    writer.close()
    return latencies
