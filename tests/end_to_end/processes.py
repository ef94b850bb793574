"""Looking at the processes of a service from outside: who lives, and who holds which connection."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.conftest import ARTIFACTS
from tests.end_to_end.server import ServerProcess, serving
from tests.end_to_end.test_startup import workers

ALIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
UNFINISHED = b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1"
_ESTABLISHED = "01"


@contextmanager
def two_workers(drain_grace_s: float = 1.0, **settings: Any) -> Iterator[ServerProcess]:
    """A service of two workers, which must have left nothing behind at the end."""
    with serving(ARTIFACTS, "--workers", "2", drain_grace_s=drain_grace_s, **settings) as server:
        family = descendants(server.process.pid)
        yield server
        server.terminate()
        assert server.wait() == 0, server.log
    assert eventually(lambda: not any(is_running(pid) for pid in family))


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it comes true before the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.01)
    return True


def descendants(pid: int) -> set[int]:
    """The process and all below it."""
    found = {pid}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found |= descendants(int(child))
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended, read by its parent or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def address(server: ServerProcess) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def connect(server: ServerProcess) -> socket.socket:
    """A connection that has been answered once, so that a worker has it."""
    connection = socket.create_connection(address(server), timeout=60)
    assert ask(connection).startswith(b"HTTP/1.1 200")
    return connection


def ask(connection: socket.socket) -> bytes:
    connection.sendall(ALIVE)
    answer = b""
    while not answer.endswith(b"}") and (received := connection.recv(1000)):
        answer += received
    return answer


def held(server: ServerProcess) -> dict[int, int]:
    """How many connections of clients each worker holds, as the kernel sees it."""
    local = f"0100007F:{address(server)[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {line[9] for line in lines if line[1] == local and line[3] == _ESTABLISHED}
    return {pid: len(inodes & set(sockets(pid))) for pid in workers(server)}


def sockets(pid: int) -> Iterator[str]:
    """Inodes of the open sockets of a process."""
    with suppress(FileNotFoundError):  # it ended meanwhile
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                target = os.readlink(file)
                if target.startswith("socket:["):
                    yield target[8:-1]
