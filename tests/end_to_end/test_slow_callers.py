"""A thousand callers who do not go on, and the others meanwhile."""

import json
import resource
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import eventually, held, two_workers
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import GATECAST, REQUEST, counted

CALLERS = 1000
HALVES = [
    b"",
    b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\n",
    b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{",
]


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Each caller is an open file of the test, too."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < CALLERS + 500:
        pytest.skip("too few open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def callers(server: ServerProcess, stack: ExitStack) -> list[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    found = []
    for number in range(CALLERS):
        one = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        one.sendall(HALVES[number % len(HALVES)])
        found.append(one)
    return found


def rest(one: socket.socket) -> bytes:
    """What it is told until its end; nothing where it had sent what nobody read."""
    answer = b""
    with suppress(ConnectionResetError):
        while received := one.recv(65536):
            answer += received
    return answer


def test_who_does_not_go_on_is_sent_away_and_hinders_nobody() -> None:
    with ExitStack() as stack, two_workers(head_timeout_s=3, body_timeout_s=3) as server:
        waiting = callers(server, stack)
        with client(server) as http:
            for _ in range(20):
                assert http.post("/v1/forecast", json=REQUEST).status_code == 200
        answers = [rest(one) for one in waiting]
        assert eventually(lambda: not any(held(server).values()))
        with client(server) as http:
            assert http.post("/v1/forecast", json=REQUEST).status_code == 200
            assert counted(http, 'gatecast_refused_total{reason="too_slow"}') == sum(
                map(bool, answers)
            )
    said = Counter(answer[9:12] for answer in answers)
    assert said == Counter(
        {b"": len(answers[::3]), b"408": len(answers[1::3]) + len(answers[2::3])}
    )
    for answer in filter(None, answers):
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "too_slow"


def test_beyond_the_most_connections_the_rest_is_told_to_come_again() -> None:
    with (
        ExitStack() as stack,
        serving(ARTIFACTS, max_connections=100, head_timeout_s=60) as server,
        client(server) as http,
    ):
        assert http.get("/health/live").status_code == 200
        waiting = callers(server, stack)
        refused = [rest(one) for one in waiting[99:]]  # in order: one process accepts in order
        assert http.post("/v1/forecast", json=REQUEST).status_code == 200
        for one in waiting[:99]:
            one.close()

        def is_served() -> bool:
            with client(server) as another:
                return another.get("/health/live").status_code == 200

        assert eventually(is_served)
    assert all(answer[9:12] in (b"503", b"") for answer in refused)
    assert any(answer[9:12] == b"503" for answer in refused)


def test_fewer_open_files_than_connections_are_said() -> None:
    with socket.socket() as taken:  # so that the service ends
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = f"{GATECAST} serve --models {ARTIFACTS} --port {taken.getsockname()[1]}"
        limited = ["bash", "-c", f"ulimit -n 300 && exec {command} --workers 1"]
        ended = subprocess.run(limited, capture_output=True, text=True, timeout=60)
    assert ended.returncode > 0
    assert "needs 16584 open files, a process may have 300 here" in ended.stderr
