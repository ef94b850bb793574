"""gRPC from the start to the end of a service: its port, its workers, and leaving in peace."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import tritonclient.grpc as triton
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conftest import ARTIFACTS
from tests.end_to_end.rpc_client import channel, infer, message, quantiles
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import eventually, gatecast, workers

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def test_without_a_port_there_is_no_grpc_and_its_library_is_not_loaded() -> None:
    with serving(ARTIFACTS) as running:
        maps = Path(f"/proc/{running.process.pid}/maps").read_text()
        assert "onnxruntime" in maps
        assert "cygrpc" not in maps
        assert "gRPC on" not in running.log


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_port_in_use_ends_the_service_with_the_name_of_the_flag(count: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = gatecast("serve", "--grpc-port", port, "--workers", count, "--port", "0")
    assert ended.returncode > 0
    assert ended.stderr.endswith(f"--grpc-port {port}: Address already in use\n")
    assert "Traceback" not in ended.stderr


def test_a_second_service_does_not_share_the_port_of_the_first() -> None:
    with serving(ARTIFACTS, grpc_port=0) as first:
        port = first.rpc.partition(":")[2]
        second = gatecast("serve", "--grpc-port", port, "--port", "0")
        assert second.returncode > 0
        assert second.stderr.endswith(f"--grpc-port {port}: Address already in use\n")


def sockets(pid: int) -> int:
    """How many a process has open."""
    count = 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += str(handle.readlink()).startswith("socket:")
        except FileNotFoundError:  # closed since
            continue
    return count


def test_two_workers_share_one_port_and_a_killed_one_is_replaced() -> None:
    with serving(ARTIFACTS, "--workers", "2", grpc_port=0) as running:
        assert eventually(lambda: _ready(running) and running.log.count("gRPC on") == 2)
        assert len({line for line in running.lines if line.startswith("gRPC on")}) == 1
        pids = sorted(workers(running))
        before = [sockets(pid) for pid in pids]
        _ask_on_many_connections(running, lambda: [sockets(pid) for pid in pids], before)
        os.kill(pids[0], signal.SIGKILL)
        assert eventually(lambda: _ready(running) and running.log.count("gRPC on") == 3)
        _ask_on_many_connections(running, list, [])
        running.terminate()
        assert running.wait() == 0, running.log


def _ready(running: ServerProcess) -> bool:
    """Asked on a connection of its own, because that of a killed worker is broken."""
    try:
        with client(running) as http:
            return http.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _ask_on_many_connections(
    running: ServerProcess, look: Callable[[], list[int]], before: list[int]
) -> None:
    """64 clients, each with a connection of its own: all are answered, by all workers."""
    with ExitStack() as stack:
        for _ in range(64):
            opened = stack.enter_context(channel(running))
            assert infer(opened)(message(), wait_for_ready=True).model_name == "tiny"
        assert all(now > then for now, then in zip(look(), before, strict=True))


def test_leaving_is_announced_while_calls_are_still_answered() -> None:
    with serving(ARTIFACTS, grpc_port=0, drain_grace_s=3) as running, channel(running) as opened:
        health = health_pb2_grpc.HealthStub(opened)
        watched = health.Watch(health_pb2.HealthCheckRequest(service="tiny"))
        assert next(watched).status == SERVING
        running.terminate()
        assert next(watched).status == NOT_SERVING
        assert health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(opened)
        assert stub.ServerLive(triton.service_pb2.ServerLiveRequest()).live
        assert not stub.ServerReady(triton.service_pb2.ServerReadyRequest()).ready
        asked = triton.service_pb2.ModelReadyRequest(name="tiny")
        assert not stub.ModelReady(asked).ready
        assert quantiles(infer(opened)(message())).shape == (5, 6, 9)
        with pytest.raises(grpc.RpcError) as caught:
            next(watched)
        assert caught.value.code() == StatusCode.UNAVAILABLE
        assert running.wait() == 0
        assert "Traceback" not in running.log


def test_an_open_http_connection_announces_it_too() -> None:
    with (
        serving(ARTIFACTS, grpc_port=0, drain_grace_s=1) as running,
        channel(running) as opened,
        client(running) as http,
    ):
        assert http.get("/health/ready").status_code == 200
        watched = health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == SERVING
        running.terminate()
        assert next(watched).status == NOT_SERVING
        assert running.wait() == 0, running.log


def test_a_stream_that_stays_open_does_not_keep_the_service() -> None:
    with (
        serving(ARTIFACTS, grpc_port=0, drain_grace_s=0) as running,
        channel(running) as opened,
    ):
        done = threading.Event()
        body = message().SerializeToString()

        def ask() -> Any:
            yield body
            done.wait()

        answers = opened.stream_stream(STREAM)(ask())
        next(answers)
        running.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        done.set()
        assert caught.value.code() == StatusCode.UNAVAILABLE
        assert running.wait() == 0, running.log
        assert "Traceback" not in running.log


def test_no_call_is_lost_when_the_service_leaves_under_load() -> None:
    """Each is answered, or refused with the one status that tells a client to ask elsewhere."""
    outcomes: list[StatusCode] = []
    enough = threading.Event()
    body = message().SerializeToString()
    with serving(ARTIFACTS, grpc_port=0, drain_grace_s=0.2) as running:

        def ask_until_refused() -> None:
            with channel(running) as opened:
                code = StatusCode.OK
                while code == StatusCode.OK:
                    code = infer(opened).future(body).code()
                    outcomes.append(code)
                    if len(outcomes) > 500:
                        enough.set()

        clients = [threading.Thread(target=ask_until_refused) for _ in range(8)]
        for one in clients:
            one.start()
        assert enough.wait(60)
        running.terminate()
        for one in clients:
            one.join(60)
        assert running.wait() == 0, running.log
        assert "Traceback" not in running.log
    assert set(outcomes) == {StatusCode.OK, StatusCode.UNAVAILABLE}
    assert outcomes.count(StatusCode.UNAVAILABLE) == len(clients)
