"""Leaving with a lead: not ready at once, and everyone who still comes is served."""

import asyncio
import json
import signal
from typing import Any

import pytest

from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import eventually
from tests.end_to_end.rpc_client import channel, infer, message, triton_client
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_promises import _until_gone, random_series, request
from tests.end_to_end.test_startup import REQUEST

WORKERS = pytest.mark.parametrize("count", [1, 2])
LONG_S = 600.0  # that no test waits for


def answer_of(server: ServerProcess, path: str, body: Any = None) -> tuple[int, bool]:
    """The status over a new connection, and whether it is to be closed."""
    with client(server) as http:
        answer = http.get(path) if body is None else http.post(path, json=body)
    return answer.status_code, answer.headers.get("connection") == "close"


def is_unready(server: ServerProcess) -> bool:
    """Whether every worker says so: new connections go to them in turn."""
    return all(answer_of(server, "/health/ready") == (503, False) for _ in range(4))


@WORKERS
def test_from_sigterm_on_it_is_unready_and_serves_who_comes_until_a_second_signal(
    count: int,
) -> None:
    with serving(ARTIFACTS, workers=count, drain_lead_s=LONG_S) as server:
        assert answer_of(server, "/health/ready") == (200, False)
        server.terminate()
        assert eventually(lambda: is_unready(server))
        for _ in range(4):
            assert answer_of(server, "/v1/forecast", REQUEST) == (200, False)
            assert answer_of(server, "/v2/health/ready") == (503, False)
            assert answer_of(server, "/health/live") == (200, False)
        server.terminate()
        assert server.wait() == 0, server.log
        assert "Traceback" not in server.log


def test_over_grpc_it_is_unready_and_serves_who_comes() -> None:
    with serving(ARTIFACTS, grpc_port=0, drain_lead_s=LONG_S) as server:
        with triton_client(server) as triton:
            assert triton.is_server_ready()
            server.terminate()
            assert eventually(lambda: not triton.is_server_ready())
            assert triton.is_server_live()
        with channel(server) as opened:
            assert infer(opened)(message(), timeout=60).model_name == "tiny"
        server.terminate()
        assert server.wait() == 0, server.log


@WORKERS
def test_a_lead_ends_by_itself_and_no_request_is_lost(count: int) -> None:
    body = json.dumps(request(*random_series(2))).encode()
    with serving(ARTIFACTS, workers=count, drain_lead_s=0.5) as server:
        answered, lost = asyncio.run(_until_gone(server, body))
        assert server.wait() == 0, server.log
    assert answered > 500
    assert lost == []


@WORKERS
def test_whoever_presses_ctrl_c_does_not_wait_for_the_lead(count: int) -> None:
    with serving(ARTIFACTS, workers=count, drain_lead_s=LONG_S) as server:
        assert answer_of(server, "/health/ready") == (200, False)
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0, server.log
