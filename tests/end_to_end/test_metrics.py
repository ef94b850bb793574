"""What a real service counts is what it was asked, over all of its workers, dead ones included."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ARTIFACTS
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import eventually, patient, workers

MODEL = {"model": "tiny", "version": "1"}


def body(rows: int, **changes: object) -> dict[str, object]:
    one = {"start": "2024-01-01", "target": [1.0, 3.0, 2.0]}
    return {"model": "tiny", "series": [one | {"item_id": str(i)} for i in range(rows)]} | changes


def value(http: httpx.Client, name: str, **labels: str) -> float:
    """One sample of /metrics; 0 where it is not there."""
    answer = http.get("/metrics")
    assert answer.status_code == 200
    # Without the kinds, for the parser renames counters whose names lack `_total`.
    text = "\n".join(line for line in answer.text.splitlines() if not line.startswith("#"))
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return next((s.value for s in samples if s.name == name and s.labels == labels), 0.0)


@pytest.fixture
def alone() -> Iterator[httpx.Client]:
    """A client of a service of one worker that nobody else asks."""
    with serving(ARTIFACTS) as server, client(server) as http:
        yield http


@contextmanager
def two_workers() -> Iterator[ServerProcess]:
    """A service of two workers that answer, ended by SIGTERM: a kill would leave the workers."""
    with serving(ARTIFACTS, workers=2) as server:
        try:
            with patient(server) as http:
                assert http.get("/health/ready").status_code == 200
            assert eventually(lambda: len(workers(server)) == 2)
            yield server
        finally:
            server.terminate()
            assert server.wait() == 0


def ask(server: ServerProcess, rows: int) -> None:
    """A forecast over a connection of its own, which either worker may take."""
    with client(server) as http:
        assert http.post("/v1/forecast", json=body(rows)).status_code == 200


def test_a_served_model_is_listed_before_anybody_asks(alone: httpx.Client) -> None:
    text = alone.get("/metrics").text
    assert 'nv_inference_request_success{model="tiny",version="1"} 0.0' in text
    assert 'gatecast_series_total{model="tiny"} 0.0' in text
    assert 'gatecast_models{state="live"} 1.0' in text
    assert "# TYPE nv_inference_count counter" in text


def test_requests_rows_and_runs_are_counted_once_in_every_name(alone: httpx.Client) -> None:
    asked = [random.Random(3).randint(1, 20) for _ in range(30)]
    for rows in asked:
        assert alone.post("/v1/forecast", json=body(rows)).status_code == 200
    done, rows = len(asked), sum(asked)
    route = "/v1/forecast"
    assert value(alone, "gatecast_requests_total", route=route, status="200") == done
    assert value(alone, "gatecast_request_seconds_count", route=route) == done
    assert value(alone, "gatecast_series_total", model="tiny") == rows
    for stay in ("inference", "queue", "compute"):
        assert value(alone, f"gatecast_{stay}_seconds_count", **MODEL) == done
    assert value(alone, "nv_inference_request_success", **MODEL) == done
    assert value(alone, "nv_inference_count", **MODEL) == rows
    assert value(alone, "gatecast_batch_rows_sum", **MODEL) == rows
    runs = value(alone, "nv_inference_exec_count", **MODEL)
    assert done <= runs <= rows
    for histogram in ("batch_rows", "run_seconds", "padded_share"):
        assert value(alone, f"gatecast_{histogram}_count", **MODEL) == runs
    assert value(alone, "gatecast_batch_failures_total", **MODEL) == 0


def test_where_the_time_went_adds_up(alone: httpx.Client) -> None:
    for _ in range(20):
        assert alone.post("/v1/forecast", json=body(1)).status_code == 200
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    spent = [value(alone, f"nv_inference_{part}_duration_us", **MODEL) for part in parts]
    whole = value(alone, "nv_inference_request_duration_us", **MODEL)
    exchanges = value(alone, "gatecast_request_seconds_sum", route="/v1/forecast")
    assert min(spent) > 0
    assert sum(spent) <= whole <= 1e6 * exchanges


@pytest.mark.parametrize(
    ("reason", "status", "asked"),
    [
        ("malformed", "400", {"content": b"{"}),
        ("not_found", "404", {"json": body(1, model="none")}),
        ("too_large", "413", {"content": bytes(2**25 + 1)}),
        ("unservable", "422", {"json": body(1, horizon=99)}),
        ("deadline", "504", {"json": body(5000), "headers": {"gatecast-timeout-ms": "1"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_refusal_is_counted_once_by_its_reason(
    alone: httpx.Client, reason: str, status: str, asked: dict[str, Any]
) -> None:
    assert str(alone.post("/v1/forecast", **asked).status_code) == status
    assert value(alone, "gatecast_refused_total", reason=reason) == 1
    assert value(alone, "gatecast_requests_total", route="/v1/forecast", status=status) == 1
    assert value(alone, "nv_inference_request_success", **MODEL) == 0
    rejected = value(alone, "nv_inference_request_failure", **MODEL, reason="REJECTED")
    assert rejected == (reason == "deadline")


def test_a_request_in_any_dialect_is_counted_once() -> None:
    tensors: dict[str, tuple[str, list[Any]]] = {
        "context": ("FP32", [[1.0, 3.0, 2.0]]),
        "lengths": ("INT64", [3]),
    }
    inputs = [
        {"name": name, "datatype": kind, "shape": list(np.shape(data)), "data": data}
        for name, (kind, data) in tensors.items()
    ]
    frame = {"y": [1.0, 3.0, 2.0], "sizes": [3]}
    bodies = {
        "/v1/forecast": body(1),
        "/v2/models/{name}/infer": {"inputs": inputs},
        "/v2/forecast": {"model": "tiny", "series": frame, "freq": "4h", "h": 2},
    }
    with serving(ARTIFACTS, grpc_port=0) as server, client(server) as http:
        for route, asked in bodies.items():
            answer = http.post(route.replace("{name}", "tiny"), json=asked)
            assert answer.status_code == 200, answer.text
            assert value(http, "gatecast_requests_total", route=route, status="200") == 1
        with tritonclient.grpc.InferenceServerClient(server.rpc) as rpc:
            rpc.infer("tiny", [_tensor(name, *of) for name, of in tensors.items()])
        route = "/inference.GRPCInferenceService/ModelInfer"
        assert value(http, "gatecast_requests_total", route=route, status="OK") == 1
        assert value(http, "nv_inference_request_success", **MODEL) == 4
        assert value(http, "nv_inference_count", **MODEL) == 4
        assert value(http, "nv_inference_exec_count", **MODEL) == 4


def _tensor(name: str, kind: str, data: list[Any]) -> Any:
    tensor = tritonclient.grpc.InferInput(name, list(np.shape(data)), kind)
    tensor.set_data_from_numpy(np.array(data, {"FP32": np.float32, "INT64": np.int64}[kind]))
    return tensor


def test_whichever_worker_is_asked_answers_for_all_at_once() -> None:
    with two_workers() as server:
        for rows in range(1, 31):
            ask(server, rows)
        for _ in range(8):
            with client(server) as http:
                assert value(http, "nv_inference_count", **MODEL) == sum(range(1, 31))
                assert value(http, "nv_inference_request_success", **MODEL) == 30
                assert value(http, "gatecast_queue_seconds_bucket", **MODEL, le="+Inf") == 30
                assert value(http, "gatecast_models", state="live") == 1


def test_a_killed_workers_counts_stay_and_go_on_with_its_successor() -> None:
    with two_workers() as server:
        for _ in range(10):
            ask(server, 2)
        for victim in workers(server):  # one of them has counted something
            _kill(server, victim)
        with patient(server) as http:
            assert http.get("/health/ready").status_code == 200
        for _ in range(10):
            ask(server, 3)
        with client(server) as http:
            assert value(http, "nv_inference_count", **MODEL) == 10 * 2 + 10 * 3
            assert value(http, "nv_inference_request_success", **MODEL) == 20
            assert value(http, "gatecast_models", state="live") == 1
            assert value(http, "gatecast_queue_rows") == 0


def _kill(server: ServerProcess, victim: int) -> None:
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: len(workers(server) - {victim}) == 2)


def test_the_statistics_of_triton_are_the_same_numbers(alone: httpx.Client) -> None:
    for rows in (1, 2, 2, 5):
        assert alone.post("/v1/forecast", json=body(rows)).status_code == 200
    (found,) = alone.get("/v2/models/tiny/stats").json()["model_stats"]
    assert (found["name"], found["version"]) == ("tiny", "1")
    assert found["inference_count"] == value(alone, "nv_inference_count", **MODEL) == 10
    assert found["execution_count"] == value(alone, "nv_inference_exec_count", **MODEL)
    spent = found["inference_stats"]
    assert spent["success"]["count"] == value(alone, "nv_inference_request_success", **MODEL) == 4
    for ours, theirs in (("success", "request"), ("queue", "queue")):
        micros = value(alone, f"nv_inference_{theirs}_duration_us", **MODEL)
        assert spent[ours]["ns"] == round(1000 * micros)
    for part in ("input", "infer", "output"):
        micros = value(alone, f"nv_inference_compute_{part}_duration_us", **MODEL)
        assert spent[f"compute_{part}"]["ns"] == round(1000 * micros)
    sizes = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in found["batch_stats"]}
    assert sum(size * runs for size, runs in sizes.items()) == 10
