"""The gRPC server of one worker, on the event loop that the HTTP server runs on.

One event loop per process: with several, gRPC's asyncio layer wakes all of them for each event and
logs a BlockingIOError for all but one.

grpcio ends a whole server for one call whose path is no UTF-8 (its loop decodes it before any
handler or interceptor is asked). Nobody can forbid strangers to send one, so a server that has
ended by itself is followed by another on the same port, in milliseconds, and finishes its calls.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import grpc

from service.api.exchange import House
from service.api.rpc.departure import Departure
from service.api.rpc.gate import Gate
from service.api.rpc.health import Health
from service.api.rpc.inference import InferenceService
from service.api.rpc.methods import health_methods, inference_methods
from service.settings import Settings
from service.telemetry import logs

_SERVING = "_server_main_loop"  # of grpcio
AGAIN_S = 0.5  # after a server that could not be started

log = logging.getLogger("gatecast")

Make = Callable[[], grpc.aio.Server]  # one that listens


class RpcServer:
    """A started server, and those that follow it where it ends by itself."""

    def __init__(
        self, server: grpc.aio.Server, make: Make, departure: Departure, grace_s: float
    ) -> None:
        self._server = server
        self._make = make
        self._departure = departure
        self._grace_s = grace_s  # for calls in progress
        self._finishing: dict[asyncio.Task[None], grpc.aio.Server] = {}  # that ended by themselves
        self._serving: list[asyncio.Task[Any]] = []
        self._staying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Let callers in."""
        self._serving = await _started(self._server)
        self._staying = asyncio.get_running_loop().create_task(self._stay())

    async def stop(self) -> None:
        """Say that the service leaves, let nobody in, and wait for calls in progress."""
        await self._departure.complete()
        if self._staying is not None:
            self._staying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._staying
        await self._server.stop(self._grace_s)
        for ended in [*self._finishing.values()]:
            await ended.stop(0)

    async def _stay(self) -> None:
        while self._serving:
            await asyncio.wait(self._serving)
            for task in self._serving:
                log.error("gRPC ended by itself and begins again: %s", task.exception())
            ended, self._server = self._server, await self._following()
            self._serving = await _started(self._server)
            finishing = asyncio.create_task(ended.stop(self._grace_s))
            self._finishing[finishing] = ended
            finishing.add_done_callback(self._finishing.pop)

    async def _following(self) -> grpc.aio.Server:
        while True:
            try:
                return self._make()
            except OSError as error:
                log.error("%s", error)
                await asyncio.sleep(AGAIN_S)


async def _started(server: grpc.aio.Server) -> list[asyncio.Task[Any]]:
    """The task that lets calls in, which ends when the server does; nothing else tells of it."""
    before = asyncio.all_tasks()
    await server.start()
    new = asyncio.all_tasks() - before
    return [task for task in new if getattr(task.get_coro(), "__name__", "") == _SERVING]


async def start_rpc(house: House) -> RpcServer:
    """Serve gRPC on `settings.grpc_port`, which several workers share.

    Raises:
        OSError: the address cannot be listened on.
    """
    settings, inference = house.settings, house.inference
    departure = Departure(house.drain)
    answers = InferenceService(inference, house.keeper, settings.max_queue_rows, departure)
    gate = Gate(house)
    health = Health(inference.repository, departure, gate)
    handlers = inference_methods(answers, gate, house), health_methods(health, house)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def make(port: int | None) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=[gate], options=_options(settings))
        server.add_generic_rpc_handlers(handlers)
        return server, _listen(server, f"{host}:{port}", settings)

    server, port = make(settings.grpc_port)
    rpc = RpcServer(server, lambda: make(port)[0], departure, settings.shutdown_timeout_s)
    await rpc.start()
    logs.say(settings, f"gRPC on {host}:{port}")
    return rpc


def _listen(server: grpc.aio.Server, address: str, settings: Settings) -> int:
    """Its port.

    Raises:
        OSError: the address cannot be listened on.
    """
    try:
        return _add_port(server, address, settings)
    except RuntimeError as error:  # gRPC's text names no cause
        message = f"gRPC cannot listen on {address}; is the port in use? Choose another --grpc-port"
        raise OSError(message) from error


def _add_port(server: grpc.aio.Server, address: str, settings: Settings) -> int:
    if settings.tls_certificate is None or settings.tls_key is None:
        return server.add_insecure_port(address)
    pair = settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes()
    return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))


def _options(settings: Settings) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),  # also when unpacked
        ("grpc.max_send_message_length", -1),  # an answer is as long as it is
        ("grpc.server_handshake_timeout_ms", int(settings.head_timeout_s * 1000)),
        ("grpc.so_reuseport", 1),  # `port.reserved` looks after it
    ]
