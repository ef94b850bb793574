"""Several workers: no death of one process harms the others, and none is left behind."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import (
    ALIVE,
    UNFINISHED,
    address,
    ask,
    connect,
    descendants,
    eventually,
    held,
    is_running,
    two_workers,
)
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_promises import _until_gone, random_series, request
from tests.end_to_end.test_startup import GATECAST, workers


@pytest.fixture
def patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Run code in every Python process before its own."""

    def patch(code: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(code)
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        monkeypatch.setenv("PYTHONPATH", path)

    return patch


def test_a_killed_worker_takes_down_its_own_connections_only() -> None:
    body = json.dumps(request(*random_series(5))).encode()
    with two_workers() as server:
        with client(server) as http:
            expected = http.post("/v1/forecast", content=body).content
        victim = min(workers(server))
        lost, answered_after = asyncio.run(_kill_under_load(server, victim, body, expected))
        assert eventually(lambda: len(workers(server) - {victim}) == 2)
        assert eventually(lambda: len(held(server)) == 2)
        assert lost == 16
        assert answered_after == 16
        new = (workers(server) - {victim}).pop()
        assert is_running(new)
        with ExitStack() as opened:  # a new worker takes its share
            assert eventually(lambda: _opened_until_all_hold_some(server, opened))


def _opened_until_all_hold_some(server: ServerProcess, opened: ExitStack) -> bool:
    opened.enter_context(connect(server))
    return len(held(server)) == 2 and min(held(server).values()) > 0


async def _kill_under_load(
    server: ServerProcess, victim: int, body: bytes, expected: bytes
) -> tuple[int, int]:
    """Clients lost, and clients still answered later, when one of two workers is killed.

    While it is gone, every newcomer must be answered; and every answer that comes whole is right.
    """
    head = f"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    all_answered = asyncio.Event()
    killed = False
    counts: dict[int, int] = {}
    after: set[int] = set()

    async def one_client(number: int) -> bool:
        reader, writer = await asyncio.open_connection(*address(server))
        try:
            for _ in range(100_000):
                writer.write(head + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200")
                length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                assert await reader.readexactly(length) == expected
                counts[number] = counts.get(number, 0) + 1
                if len(counts) == 32:
                    all_answered.set()
                if killed:
                    after.add(number)
                if len(after) >= 16:
                    return True
        except (ConnectionError, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()
        return True

    clients = [asyncio.ensure_future(one_client(number)) for number in range(32)]
    await asyncio.wait_for(all_answered.wait(), 60)
    os.kill(victim, signal.SIGKILL)
    killed = True
    after.clear()
    for _ in range(20):
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(ALIVE)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
    went_on = await asyncio.wait_for(asyncio.gather(*clients), 60)
    return went_on.count(False), went_on.count(True)


def test_connections_under_way_to_a_worker_that_hangs_are_answered_by_another(
    patched: Callable[[str], None],
) -> None:
    patched(
        "import service.processes.supervisor as s\n"
        "s.PATIENCE_S, s.PING_S, s.SLOW_S = 2.0, 0.1, 0.2\n"
    )
    with two_workers() as server, ExitStack() as opened:
        victim = min(workers(server))
        os.kill(victim, signal.SIGSTOP)
        connections = [
            opened.enter_context(socket.create_connection(address(server), timeout=60))
            for _ in range(8)
        ]
        for connection in connections:
            assert ask(connection).startswith(b"HTTP/1.1 200")
        assert not is_running(victim)
        assert "does not answer and is killed" in server.log


def test_a_worker_that_cannot_be_replaced_does_not_end_the_others(
    patched: Callable[[str], None], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    patched(
        "import os, service.repository.intake\n"
        f"if os.path.exists({str(broken)!r}): service.repository.intake.Intake.load = None\n"
    )
    with two_workers() as server:
        stays = max(workers(server))
        broken.touch()
        os.kill(min(workers(server)), signal.SIGKILL)
        assert eventually(lambda: "Application startup failed" in server.log)
        for _ in range(4):
            connect(server).close()
        broken.unlink()
        assert eventually(lambda: len(workers(server)) == 2)
        assert stays in workers(server)


def test_no_worker_outlives_a_killed_parent_but_each_finishes_its_requests() -> None:
    with serving(ARTIFACTS, "--workers", "2") as server:
        family = descendants(server.process.pid)
        assert len(family) >= 3
        with socket.create_connection(address(server), timeout=60) as busy:
            busy.sendall(UNFINISHED)
            connect(server).close()
            connect(server).close()
            server.process.kill()
            server.wait()
            busy.sendall(b"2345678 ")
            assert busy.recv(1000).startswith(b"HTTP/1.1 400")  # 9 digits are no request
        assert eventually(lambda: not any(is_running(pid) for pid in family))


def test_no_worker_outlives_a_parent_killed_before_it_was_ready() -> None:
    command = ["serve", "--models", str(ARTIFACTS), "--port", "0", "--workers", "2"]
    starting = ServerProcess([GATECAST, *command], ARTIFACTS, {})
    assert eventually(lambda: len(workers(starting)) == 2)
    family = descendants(starting.process.pid)
    starting.process.kill()
    starting.process.wait()
    assert eventually(lambda: not any(is_running(pid) for pid in family))
    starting.wait()


def test_two_workers_leave_under_load_without_losing_a_request() -> None:
    body = json.dumps(request(*random_series(20))).encode()
    with serving(ARTIFACTS, "--workers", "2") as leaving:
        answered, lost = asyncio.run(_until_gone(leaving, body))
        assert leaving.wait() == 0, leaving.log
    assert answered > 500
    assert lost == []


def test_a_worker_asked_to_leave_is_replaced_and_loses_no_request() -> None:
    with two_workers(drain_grace_s=60) as server, ExitStack() as opened:
        connections = [opened.enter_context(connect(server)) for _ in range(8)]
        victim = min(workers(server))
        busy = [opened.enter_context(connect(server)) for _ in range(2)]
        for connection in busy:
            connection.sendall(UNFINISHED)
        os.kill(victim, signal.SIGTERM)
        assert eventually(lambda: len(workers(server)) == 3)
        for connection in connections:
            assert ask(connection).startswith(b"HTTP/1.1 200")
        for connection in busy:
            connection.sendall(b"2345678 ")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
        assert eventually(lambda: victim not in workers(server))
        assert len(workers(server)) == 2
        assert server.process.poll() is None


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_off_what_is_in_progress(count: str, sent: signal.Signals) -> None:
    with ExitStack() as opened:
        server = opened.enter_context(
            serving(ARTIFACTS, "--workers", count, shutdown_timeout_s=600)
        )
        slow = opened.enter_context(socket.create_connection(address(server), timeout=60))
        slow.sendall(UNFINISHED)
        connect(server).close()
        connect(server).close()
        server.process.send_signal(sent)
        assert eventually(lambda: _is_closed(server))
        assert server.process.poll() is None
        server.process.send_signal(sent)
        assert server.wait() == 0, server.log
        assert slow.recv(1000).startswith(b"HTTP/1.1 503")
        assert "Traceback" not in server.log


def _is_closed(server: ServerProcess) -> bool:
    try:
        socket.create_connection(address(server), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_ctrl_c_of_a_terminal_reaches_every_process_and_drains_all_the_same() -> None:
    with serving(ARTIFACTS, "--workers", "2") as server:
        with socket.create_connection(address(server), timeout=60) as busy:
            busy.sendall(UNFINISHED)
            connect(server).close()
            connect(server).close()
            for pid in descendants(server.process.pid):
                os.kill(pid, signal.SIGINT)
            assert eventually(lambda: _is_closed(server))
            busy.sendall(b"2345678 ")
            assert busy.recv(1000).startswith(b"HTTP/1.1 400")
        assert server.wait() == 0, server.log
    assert "Traceback" not in server.log


def test_an_address_that_cannot_be_had_is_refused_by_its_flags() -> None:
    command = [
        "serve",
        "--models",
        str(ARTIFACTS),
        "--host",
        "192.0.2.1",
        "--workers",
        "2",
        "--no-auth",
    ]
    refused = ServerProcess([GATECAST, *command], ARTIFACTS, {})
    assert refused.wait() == 1
    assert "Error: --host 192.0.2.1 --port 8080: " in refused.log
    assert "Traceback" not in refused.log


def test_the_workers_answer_on_ipv6_too() -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback address")
    command = ["serve", "--models", str(ARTIFACTS), "--port", "0", "--workers", "2"]
    server = ServerProcess([GATECAST, *command, "--host", "::1"], ARTIFACTS, {})
    try:
        assert eventually(lambda: "running on http://[::1]:" in server.log)
        server.url = f"http://[::1]:{server.log.split('http://[::1]:')[1].split()[0]}"
        with client(server) as http:
            assert http.get("/health/ready").status_code == 200
    finally:
        server.terminate()
        assert server.wait() == 0


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True
