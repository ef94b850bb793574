"""Servers and generators as processes of their own: start, wait until they answer, memory, end."""

import http.client
import multiprocessing
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from benchmarks.load import LoadFailed, Question

PATIENCE_S = 120.0  # for a server to answer its first question
LAST_WORDS = 2000  # characters of a failed server's log

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    pid: int
    host: str
    port: int
    ready_after: float  # seconds from the start of the process to the first answer

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://{self.host}:{self.port}"

    def ask(self, question: Question, timeout: float = 60) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of one answer, over a connection of its own.

        Raises:
            LoadFailed: no answer, or half of one.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            body = question.body or None
            connection.request(question.method, question.path, body, question.headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise LoadFailed(f"{question.path} got no answer: {error!r}") from error
        finally:
            connection.close()

    def memory_mib(self) -> float:
        """Memory of the process and its descendants; what they share counts once."""
        return sum(map(_own_kib, descendants(self.pid))) / 1024


@contextmanager
def server(
    command: list[str], probe: Question, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Start a server, wait until it answers the probe with 200, end it by pid.

    Args:
        command: must log the address that it listens on.
        environment: variables beside those of this process.

    Raises:
        RuntimeError: it ended or was silent for too long; with the end of its log.
    """
    with tempfile.NamedTemporaryFile("ab") as log:  # a full pipe would stop the server
        variables = {**os.environ, **(environment or {})}
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        try:
            yield _answering(process, Path(log.name), probe, begun)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a function that runs in a fresh process, so that no lock is shared with it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def free_port() -> int:
    """A port that nobody listens on, for a server that cannot say which one it took."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def descendants(pid: int) -> list[int]:
    """The process and all that came from it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(path.parent.name)] = int(after_name[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _answering(
    process: "subprocess.Popen[bytes]", log: Path, probe: Question, begun: float
) -> Server:
    while time.perf_counter() < begun + PATIENCE_S and process.poll() is None:
        time.sleep(0.02)
        found = re.search(r"http://(127\.0\.0\.1):(\d+)", log.read_text())
        if not found:
            continue
        asked = Server(process.pid, found[1], int(found[2]), 0)
        with suppress(LoadFailed):
            if asked.ask(probe)[0] == 200:
                return replace(asked, ready_after=time.perf_counter() - begun)
    raise RuntimeError(f"{process.args!r} gave no answer:\n{log.read_text()[-LAST_WORDS:]}")


def _own_kib(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0  # it ended meanwhile
    return int(rollup.split("\nPss:")[1].split()[0])
