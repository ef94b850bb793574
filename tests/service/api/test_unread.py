"""How long bytes have waited in the kernel."""

import asyncio
import socket
import time
from typing import Any, cast

from service.api.unread import unread_s


class Around(asyncio.BaseTransport):
    """A transport of a socket, as far as it is asked."""

    def __init__(self, connection: socket.socket | None) -> None:
        super().__init__()
        self._connection = connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        assert name == "socket"
        return self._connection


def test_bytes_that_nobody_reads_grow_old() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with caller, ours:
            caller.sendall(b"asked")
            began = time.monotonic()
            ours.recv(1, socket.MSG_PEEK)
            time.sleep(0.05)
            assert 0.04 <= unread_s(Around(ours)) <= time.monotonic() - began + 0.05


class Short:
    """A socket of a kernel that tells less."""

    def getsockopt(self, *_: int) -> bytes:
        return bytes(8)


def test_of_what_is_no_tcp_nothing_is_known() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert unread_s(Around(ours)) == 0.0
    assert unread_s(Around(ours)) == 0.0  # closed
    assert unread_s(Around(None)) == 0.0
    assert unread_s(Around(cast(socket.socket, Short()))) == 0.0
