"""The gRPC server of one worker, on the event loop that the HTTP server runs on.

One event loop per process: with several, gRPC's asyncio layer wakes all of them for each event and
logs a BlockingIOError for all but one.
"""

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


class RpcServer:
    """A started server."""

    def __init__(self, server: grpc.aio.Server, departure: Departure, address: str) -> None:
        self._server = server
        self._departure = departure
        self.address = address

    async def stop(self, grace_s: float) -> None:
        """Say that the service leaves, let nobody in, and wait for calls in progress.

        Args:
            grace_s: after which those are cut off.
        """
        await self._departure.complete()
        await self._server.stop(grace_s)


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
    server = grpc.aio.server(interceptors=[gate], options=_options(settings))
    server.add_generic_rpc_handlers(
        (inference_methods(answers, gate, house), health_methods(health, house))
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = _listen(server, f"{host}:{settings.grpc_port}", settings)
    except RuntimeError as error:  # gRPC's text names no cause
        where = f"{host}:{settings.grpc_port}"
        message = f"gRPC cannot listen on {where}; is the port in use? Choose another --grpc-port"
        raise OSError(message) from error
    await server.start()
    logs.say(settings, f"gRPC on {host}:{port}")
    return RpcServer(server, departure, f"{host}:{port}")


def _listen(server: grpc.aio.Server, address: str, settings: Settings) -> int:
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
