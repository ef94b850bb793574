"""The port of gRPC: free for the workers to share, and refused where somebody else listens."""

import contextlib
import os
import socket

import click
import pytest

from service.api.rpc.port import reserve, reserved
from service.settings import Settings


def listening(port: int) -> socket.socket:
    """As a worker does it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    return made


def accepted(worker: socket.socket) -> int:
    """How many clients it was given."""
    worker.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            worker.accept()[0].close()
            count += 1
    return count


def test_several_workers_listen_on_a_kept_port_and_the_keeper_never_answers() -> None:
    with reserve("127.0.0.1", 0) as kept:
        port = kept.getsockname()[1]
        with listening(port) as one, listening(port) as two:
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
            assert accepted(one) + accepted(two) == len(clients)
            for client in clients:
                client.close()


def test_a_port_where_another_service_listens_is_refused_although_it_would_share_it() -> None:
    with reserve("127.0.0.1", 0) as kept:
        port = kept.getsockname()[1]
        with listening(port), pytest.raises(OSError, match="in use"):
            reserve("127.0.0.1", port)


def test_workers_read_a_free_port_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATECAST_GRPC_PORT", "0")
    with reserved(Settings()):
        port = int(os.environ["GATECAST_GRPC_PORT"])
        assert port > 0
        with reserved(Settings(grpc_port=None)):
            assert int(os.environ["GATECAST_GRPC_PORT"]) == port


def test_a_port_in_use_is_refused_by_the_name_of_its_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        keeping = reserved(Settings(grpc_port=port))
        with pytest.raises(click.ClickException, match=f"--grpc-port {port}: Address already"):
            keeping.__enter__()


def test_an_address_that_is_not_of_this_machine_is_refused() -> None:
    keeping = reserved(Settings(host="192.0.2.1", grpc_port=0))
    with pytest.raises(click.ClickException, match="--host 192.0.2.1 --grpc-port 0: Cannot assign"):
        keeping.__enter__()
