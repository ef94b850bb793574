"""Leaving: nobody is let in any more, nobody waits for nothing, and the log stays readable."""

import json
import signal
import socket

import pytest

from tests.conftest import ARTIFACTS
from tests.end_to_end.server import client, serving
from tests.end_to_end.test_startup import eventually, patient, two_workers


def test_an_address_is_free_while_the_workers_still_drain() -> None:
    with two_workers() as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as busy:
            busy.sendall(b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1")
            with client(server) as http:  # so that a worker has the one before
                assert http.get("/health/live").status_code == 200
            server.terminate()
            assert eventually(lambda: not _lets_in(host, int(port)))
            assert server.process.poll() is None
            busy.sendall(b"2345678 ")
            assert busy.recv(1000).startswith(b"HTTP/1.1 400")  # 9 digits are no request


def _lets_in(host: str, port: int) -> bool:
    """Whether a client who comes now is let in, and, if so, once it was answered or sent away."""
    try:
        with socket.create_connection((host, port), timeout=60) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            connection.recv(1000)
    except ConnectionRefusedError:
        return False
    except ConnectionError:
        pass
    return True


def test_a_request_cut_off_by_the_shutdown_is_told_so_without_a_traceback() -> None:
    with serving(ARTIFACTS, shutdown_timeout_s=1, drain_grace_s=0) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1")
            with client(server) as http:
                assert http.get("/health/live").status_code == 200
            server.terminate()
            answer = b""
            while received := slow.recv(65536):
                answer += received
        assert server.wait() == 0
    assert answer.startswith(b"HTTP/1.1 503")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["type"] == "unavailable"
    assert "Traceback" not in server.log


def test_ctrl_c_ends_the_service_without_a_traceback() -> None:
    with serving(ARTIFACTS) as server:
        server.process.send_signal(signal.SIGINT)
        server.wait()
        assert "Traceback" not in server.log


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_second_sigterm_ends_the_service_without_an_error(count: str) -> None:
    with serving(ARTIFACTS, "--workers", count) as server:
        with patient(server) as http:
            assert http.get("/health/ready").status_code == 200
        server.terminate()
        server.terminate()
        assert server.wait() == 0, server.log
        assert "Traceback" not in server.log
