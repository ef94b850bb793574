"""A small dialect on a real socket, answered by our protocol or by uvicorn's own through ASGI."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.connection import Connection
from service.api.cors import Cors
from service.api.dialect import Dialect
from service.api.exchange import Exchange
from service.api.front import Front
from service.api.responses import Reply, error_response, json_response
from service.drain import Drain
from service.errors import Overloaded
from service.house import House
from service.settings import Settings

LIMIT = 2_000_000  # bytes of a body
BODY = b"a body"
CLOSE = b"connection: close"
PLAIN = b"GET /plain HTTP/1.1\r\nhost: x\r\n\r\n"
DIRECT: type[HttpToolsProtocol] = Connection
ASGI: type[HttpToolsProtocol] = HttpToolsProtocol


class Service:
    """What a test looks at and decides: who waits, whether there is room, who was called."""

    def __init__(
        self, protocol: type[HttpToolsProtocol], keep_alive_s: float, cors: Cors | None, limits: Any
    ) -> None:
        self._settings = Settings(max_body_bytes=LIMIT, **limits)
        self._cors = cors
        self.is_full = False
        self.called: list[bytes] = []  # bodies that a handler has read
        self.entered = asyncio.Event()  # the slow handler began
        self.gate = asyncio.Event()  # what it waits for
        self.cancelled = asyncio.Event()  # it was
        self.drain = Drain(grace_s=0.0)
        self.state = ServerState()
        self.front = Front(_plain(cors), [_dialect(self)], cors)
        self.front.house = self._house()
        self._config = uvicorn.Config(
            self.front,
            http=protocol,
            ws="none",
            access_log=False,
            proxy_headers=False,
            log_config=None,
        )
        self._config.timeout_keep_alive = cast(int, keep_alive_s)
        self._config.load()

    @property
    def connection(self) -> Connection:
        """The only one that is open."""
        (found,) = self.state.connections
        return cast(Connection, found)

    def protocol(self) -> asyncio.Protocol:
        made: Any = self._config.http_protocol_class
        return cast(asyncio.Protocol, made(self._config, self.state, {"drain": self.drain}))

    def no_room(self, _: float | None) -> Overloaded | None:
        return Overloaded("no room; try again in 7 s", 7) if self.is_full else None

    def _house(self) -> House:
        inference: Any = SimpleNamespace(no_room=self.no_room)
        none = cast(Any, None)
        return House(self._settings, inference, none, none, none, self.drain, None, self._cors)


@asynccontextmanager
async def listening(
    protocol: type[HttpToolsProtocol] = DIRECT,
    keep_alive_s: float = 60,
    cors: Cors | None = None,
    **limits: float,
) -> AsyncIterator[tuple[Service, int]]:
    """The service, and the port of the loopback address on which it answers.

    Args:
        limits: further settings.
    """
    service = Service(protocol, keep_alive_s, cors, limits)
    async with on_loopback(service.protocol, service.state) as port:
        yield service, port


@asynccontextmanager
async def on_loopback(
    protocol: Callable[[], asyncio.Protocol], state: ServerState
) -> AsyncIterator[int]:
    """A port that connections of this protocol answer, which `state` knows; they are cut off."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()


async def connected(
    service: Service, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A caller whose connection the service has taken, and no other."""
    opened = await asyncio.open_connection("127.0.0.1", port)
    while not service.state.connections:
        await asyncio.sleep(0)
    return opened


async def ask(port: int, *parts: bytes) -> bytes:
    """What comes back until the service hangs up, as the last request should tell it to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


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


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    """The next answer of a known length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await asyncio.wait_for(reader.readexactly(length), 30)


def _plain(cors: Cors | None) -> FastAPI:
    app = FastAPI()
    if cors is not None:
        cors.around(app)

    @app.get("/plain")
    async def plain() -> Reply:
        return json_response("plain")

    return app


def _dialect(service: Service) -> Dialect:
    dialect = Dialect(error_response, prefix="/d", tag="d")

    @dialect.post("/d/echo", runs_model=True)
    async def echo(exchange: Exchange) -> Reply:
        body = await exchange.content()
        service.called.append(body)
        return Reply(body, media=b"text/plain")

    @dialect.post("/d/slow")
    async def slow(exchange: Exchange) -> Reply:
        service.entered.set()
        try:
            await service.gate.wait()
        except asyncio.CancelledError:
            service.cancelled.set()
            raise
        return Reply(b"%d" % len(await exchange.content()))

    @dialect.get("/d/names/{name}")
    async def name(exchange: Exchange) -> Reply:
        return json_response([exchange.parameters["name"], dict(exchange.query_params)])

    @dialect.get("/d/parts")
    async def parts(_: Exchange) -> Reply:
        return Reply(b"first", media=b"text/plain", parts=_counted(5))

    @dialect.get("/d/only-parts")
    async def only_parts(_: Exchange) -> Reply:
        return Reply(b"", media=b"text/plain", parts=_counted(2))

    @dialect.get("/d/endless-parts")
    async def endless_parts(_: Exchange) -> Reply:
        return Reply(b"first", media=b"text/plain", parts=_endless(service))

    @dialect.get("/d/broken-parts")
    async def broken_parts(_: Exchange) -> Reply:
        return Reply(b"first", media=b"text/plain", parts=_counted(-1))

    def misled(_: Exchange, body: bytes) -> None:
        if body == BODY:
            raise ZeroDivisionError

    @dialect.post("/d/misled", express=misled)
    async def handled(exchange: Exchange) -> Reply:
        return Reply(await exchange.content())

    @dialect.get("/d/mistake")
    async def mistake(_: Exchange) -> Reply:
        raise ZeroDivisionError

    return dialect


async def _counted(last: int) -> AsyncGenerator[bytes]:
    for number in range(abs(last)):
        yield b"part %d" % number
        yield b""
    if last < 0:
        raise ZeroDivisionError


async def _endless(service: Service) -> AsyncGenerator[bytes]:
    try:
        while True:
            yield b"more"
            await asyncio.sleep(0)
    finally:
        service.cancelled.set()
