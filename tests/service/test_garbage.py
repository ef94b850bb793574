"""A request leaves nothing that only the collector finds: a search stops the service for long.

What lives in circles also takes memory that was never touched before instead of what has just been
let go of, so that every request would find cold caches.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from uvicorn.server import ServerState

from service.api.connection import Connection
from service.api.front import Front
from service.processes.worker import configuration
from service.settings import Settings
from tests.artifacts import edit
from tests.end_to_end.openinference import INFER, binary_body, json_body, rows
from tests.service.api.ways import on_loopback, one_answer, request

TIMES = 30  # a search that finds fewer objects than that found none of a request

ONE = {"item_id": "a", "start": "2024-01-01", "target": [1, 2.5, None]}
NATIVE = {"model": "tiny", "series": [ONE]}
MANY = {"model": "tiny", "series": [{**ONE, "item_id": str(n)} for n in range(400)]}
BULK = {"model": "tiny", "y": [1, 2, 3], "sizes": [3], "start": "2024-01-01", "item_ids": ["a"]}
TIMEGPT = {
    "series": {"y": [1.0, 2.0, 3.0], "sizes": [3], "start_datetime": ["2024-01-01"]},
    "model": "tiny",
    "h": 2,
    "freq": "4h",
}
TIMESERIES = {
    "model": "tiny",
    "inputs": [
        {
            "type": "univariate_time_series",
            "name": "a",
            "series": [1.0, 2.5],
            "frequency": "4h",
            "start_timestamp": "2024-01-01T00:00:00Z",
        }
    ],
    "options": {"horizon": 2},
}
BINARY, BINARY_HEADERS = binary_body(rows(5))
Headers = dict[str, str]
Asked = tuple[str, bytes, Headers, int]
NONE: Headers = {}
HANDLER = {"content-encoding": "identity"}  # which the short way leaves to it
AT_ONCE = {"gatecast-timeout-ms": "1"}  # which is not enough
SOON = {"gatecast-timeout-ms": "soon"}


def asked(path: str, body: object, status: int = 200, headers: Headers = NONE) -> Asked:
    return path, json.dumps(body).encode(), headers, status


REQUESTS: dict[str, Asked] = {  # too soon first: later it is known how long so many rows take
    "too soon": asked("/v1/forecast", MANY, 504, AT_ONCE),
    "too soon, by its handler": asked("/v1/forecast", MANY, 504, AT_ONCE | HANDLER),
    "native": asked("/v1/forecast", NATIVE),
    "native, by its handler": asked("/v1/forecast", NATIVE, headers=HANDLER),
    "native, many series": asked("/v1/forecast", MANY),
    "bulk": asked("/v1/forecast/bulk", BULK),
    "infer": asked(INFER, json_body(rows(5))),
    "infer, binary": (INFER, BINARY, BINARY_HEADERS, 200),
    "TimeGPT": asked("/v2/forecast", TIMEGPT),
    "time series": asked("/v1/timeseries/forecast", TIMESERIES),
    "no such model": asked("/v1/forecast", NATIVE | {"model": "nobody"}, 404),
    "no JSON": ("/v1/forecast", b'{"model":', NONE, 400),
    "wrong": asked("/v1/forecast", NATIVE | {"horizon": 0}, 422),
    "no such time": asked("/v1/forecast", NATIVE, 400, SOON),
}


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[int]:
    """The whole application in this process, on a port of the loopback address."""
    config = configuration(settings)
    config.load()
    app, state = cast(Front, config.loaded_app).app, ServerState()
    async with app.router.lifespan_context(app) as shared:

        def protocol() -> asyncio.Protocol:
            return cast(asyncio.Protocol, Connection(config, state, dict(cast(Any, shared))))

        async with on_loopback(protocol, state) as port:
            yield port


async def ask_again_and_again(port: int, question: Asked, times: int) -> None:
    """Over one connection."""
    path, body, headers, status = question
    lines = [f"{name}: {value}".encode() for name, value in headers.items()]
    content = request(path.encode(), *lines, body=body)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(times):
        writer.write(content)
        told = await one_answer(reader)
        assert told.startswith(b"HTTP/1.1 %d " % status), told
    writer.close()
    await writer.wait_closed()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, int]]:
    """The application on a loop of its own, and its port; the interpreter is as it was after it."""
    folder = tmp_path_factory.mktemp("models")
    edit.copy(folder)
    usual, interval = gc.get_threshold(), sys.getswitchinterval()
    with pytest.MonkeyPatch.context() as environment, asyncio.Runner() as runner:
        environment.setenv("GATECAST_MODELS", str(folder))
        environment.setenv("GATECAST_WORKERS", "1")
        application = listening(Settings())
        yield runner, runner.run(application.__aenter__())
        runner.run(application.__aexit__(None, None, None))
    gc.unfreeze()
    gc.set_threshold(*usual)
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_leaves_nothing_to_the_collector(
    running: tuple[asyncio.Runner, int], name: str
) -> None:
    runner, port = running

    async def scenario() -> int:
        await ask_again_and_again(port, REQUESTS[name], 3)
        gc.collect()
        gc.disable()
        await ask_again_and_again(port, REQUESTS[name], TIMES)
        return gc.collect()

    try:
        assert runner.run(scenario()) < TIMES
    finally:
        gc.enable()
