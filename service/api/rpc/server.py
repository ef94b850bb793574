"""The gRPC server of one worker, on the event loop that the HTTP server runs on.

One event loop per process: with several, gRPC's asyncio layer wakes all of them for each event and
logs a BlockingIOError for all but one.
"""

from typing import Any

import click
import grpc

from service.api.rpc.departure import Departure
from service.api.rpc.health import Health
from service.api.rpc.inference import Inference
from service.api.rpc.methods import health_methods, inference_methods
from service.drain import Drain
from service.forecaster import Forecaster
from service.keeper import Keeper
from service.settings import Settings


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


async def start_rpc(
    settings: Settings, forecaster: Forecaster, keeper: Keeper, drain: Drain
) -> RpcServer:
    """Serve gRPC on `settings.grpc_port`, which several workers share.

    Raises:
        OSError: the address cannot be listened on.
    """
    departure = Departure(drain)
    inference = Inference(forecaster, keeper, settings.max_queue_rows, departure)
    health = Health(forecaster.repository, departure)
    server = grpc.aio.server(options=_options(settings))
    server.add_generic_rpc_handlers((inference_methods(inference), health_methods(health)))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError as error:  # gRPC's text names no cause
        where = f"{host}:{settings.grpc_port}"
        message = f"gRPC cannot listen on {where}; is the port in use? Choose another --grpc-port"
        raise OSError(message) from error
    await server.start()
    click.echo(f"gRPC on {host}:{port}", err=True)
    return RpcServer(server, departure, f"{host}:{port}")


def _options(settings: Settings) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),  # also when unpacked
        ("grpc.max_send_message_length", -1),  # an answer is as long as it is
        ("grpc.so_reuseport", 1),  # `port.reserved` looks after it
    ]
