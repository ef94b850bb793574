"""The promises of a served model over the socket: batch invariance, and no request lost."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import httpx
import numpy as np

from tests.conftest import ARTIFACTS
from tests.end_to_end.server import ServerProcess, client, serving

CLIENTS = 64


def random_series(count: int) -> list[dict[str, Any]]:
    """Series of random length and magnitude with missing values, one valid value at least."""
    random = np.random.default_rng(0)
    many = []
    for number in range(count):
        length = int(random.integers(1, 41))
        values = 10.0 ** random.integers(-6, 10) * (random.normal(size=length).cumsum() + 3)
        target: list[float | None] = [float(np.float32(value)) for value in values]
        for at in np.flatnonzero(random.random(length) < random.uniform(0, 0.6)):
            target[at] = None
        target[-1] = float(values[-1])
        many.append({"item_id": str(number), "start": "2024-01-01", "target": target})
    return many


def request(*series: dict[str, Any]) -> dict[str, Any]:
    return {"model": "tiny", "series": list(series)}


def test_a_series_gets_the_same_bits_alone_in_bulk_and_under_load(server: ServerProcess) -> None:
    many = random_series(500)
    with client(server) as http:
        alone = [http.post("/v1/forecast", json=request(one)).json()["series"][0] for one in many]
        bulk = http.post("/v1/forecast", json=request(*many)).json()["series"]
        reverse = http.post("/v1/forecast", json=request(*many[::-1])).json()["series"]
    assert bulk == alone
    assert reverse[::-1] == alone
    assert asyncio.run(_under_load(server.url, many)) == alone


async def _under_load(url: str, many: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every series once, from 64 clients at a time."""
    answers: dict[str, dict[str, Any]] = {}
    waiting = iter(many)

    async def one_client() -> None:
        async with aiohttp.ClientSession(url) as http:
            for one in waiting:
                async with http.post("/v1/forecast", json=request(one)) as answer:
                    (answers[one["item_id"]],) = (await answer.json())["series"]

    await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return [answers[one["item_id"]] for one in many]


def test_ten_thousand_requests_at_a_small_queue_all_end_as_200_or_429() -> None:
    bulk = json.dumps(request(*random_series(8))).encode()
    single = json.dumps(request(random_series(1)[0])).encode()
    with serving(ARTIFACTS, max_queue_rows=16, lanes=1, log_level="info") as small:
        statuses = asyncio.run(_storm(small.url, [bulk, single], 10_000))
        with client(small) as http:
            metrics = http.get("/metrics").text
            assert http.post("/v1/forecast", content=bulk).status_code == 200
    assert sum(statuses.values()) == 10_000
    assert set(statuses) <= {200, 429}, statuses
    assert statuses[200] > 0
    counted = re.search(r'gatecast_refused_total{reason="overloaded"} (\S+)', metrics)
    assert (float(counted[1]) if counted else 0) == statuses.get(429, 0)


async def _storm(url: str, bodies: list[bytes], total: int) -> dict[int, int]:
    statuses: dict[int, int] = {}
    numbers = iter(range(total))

    async def one_client() -> None:
        async with aiohttp.ClientSession(url) as http:
            for number in numbers:
                async with http.post("/v1/forecast", data=bodies[number % len(bodies)]) as answer:
                    await answer.read()
                    statuses[answer.status] = statuses.get(answer.status, 0) + 1
                    if answer.status == 429:
                        assert int(answer.headers["retry-after"]) >= 1

    await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return statuses


def test_sigterm_under_load_loses_no_accepted_request_and_ends_with_0() -> None:
    body = json.dumps(request(*random_series(20))).encode()
    with serving(ARTIFACTS) as leaving:
        answered, lost = asyncio.run(_until_gone(leaving, body))
        assert leaving.wait() == 0, leaving.log
    assert answered > 500
    assert lost == []


async def _until_gone(server: ServerProcess, body: bytes) -> tuple[int, list[str]]:
    """Load, SIGTERM in the middle: how many were answered, and who was connected for nothing."""
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    answered = 0
    lost: list[str] = []
    enough = asyncio.Event()

    async def one_client() -> None:
        nonlocal answered
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            return
        while True:
            writer.write(head + body)
            try:
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                lost.append(repr(error))
                return
            assert answer.startswith(b"HTTP/1.1 200")
            answered += 1
            if answered > 500:
                enough.set()
            if b"connection: close" in answer.lower():
                writer.close()
                return

    clients = [asyncio.ensure_future(one_client()) for _ in range(CLIENTS)]
    await asyncio.wait_for(enough.wait(), 60)
    server.terminate()
    await asyncio.wait_for(asyncio.gather(*clients), 60)
    return answered, lost


def test_readiness_turns_503_while_requests_in_flight_still_finish() -> None:
    with serving(ARTIFACTS, drain_grace_s=5) as leaving, client(leaving) as http:
        assert http.get("/health/ready").status_code == 200
        leaving.terminate()
        statuses = set()
        for _ in range(10_000):  # on the connection that is already open
            answer = http.get("/health/ready")
            statuses.add(answer.status_code)
            if answer.status_code == 503:
                break
        assert answer.status_code == 503
        assert answer.json()["status"] == "draining"
        assert answer.headers["connection"] == "close"
        assert leaving.wait() == 0


def test_a_caller_who_hangs_up_is_dropped_and_counted(server: ServerProcess) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps(request(*random_series(400))).encode()

    async def hang_up() -> None:
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    with client(server) as http:
        before = _cancelled(http)
        for _ in range(20):
            asyncio.run(hang_up())
        assert http.post("/v1/forecast", json=request(random_series(1)[0])).status_code == 200
        assert _cancelled(http) > before
        waiting = (http.get("/metrics").text for _ in range(10_000))
        assert any("gatecast_queue_rows 0.0" in metrics for metrics in waiting)


def _cancelled(http: httpx.Client) -> float:
    found = re.search(r"^gatecast_cancelled_total (\S+)", http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0
