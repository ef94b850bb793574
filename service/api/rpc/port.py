"""The port that the gRPC servers of all workers share, found and kept by their parent.

Each listens with SO_REUSEPORT, and the kernel gives a new connection to one of them. So a free port
must be found once for all; and a port of another program must be refused here, because the kernel
would let another gRPC server share it without a word.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import click

from service.settings import Settings


@contextmanager
def reserved(settings: Settings) -> Iterator[None]:
    """Keep `grpc_port` for the workers, who read it from the environment; None keeps nothing.

    Raises:
        ClickException: the address cannot be had.
    """
    if settings.grpc_port is None:
        yield
        return
    try:
        kept = reserve(settings.host, settings.grpc_port)
    except OSError as error:
        label = f"--host {settings.host} --grpc-port {settings.grpc_port}"
        raise click.ClickException(f"{label}: {error.strerror}") from None
    with kept:
        os.environ["GATECAST_GRPC_PORT"] = str(kept.getsockname()[1])
        yield


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for those who listen with SO_REUSEPORT; itself it never does.

    Args:
        port: 0 takes a free one.

    Raises:
        OSError: the address cannot be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not refused by yesterday's
        alone.bind(address)
        alone.listen()  # what nobody else may do here now
        found = alone.getsockname()
    kept = socket.socket(family, kind, protocol)
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(found)
    except OSError:
        kept.close()
        raise
    return kept
