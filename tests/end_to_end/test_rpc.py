"""gRPC as Triton's own client speaks it, and the same bits as everywhere else."""

import asyncio
import queue
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from service.contract.forecast import ForecastMetadata
from service.contract.placement import History, place
from service.repository.live import LiveModel, narrow, open_version
from tests.artifacts import toy
from tests.conftest import ARTIFACTS
from tests.end_to_end.rpc_client import (
    channel,
    infer,
    inputs,
    lengths_of,
    message,
    quantiles,
    tensors,
    triton_client,
)
from tests.end_to_end.server import ServerProcess, client, serving

Tensors = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def rpc() -> Iterator[ServerProcess]:
    """A server of `tiny` that speaks gRPC too, shared by the tests that leave it as it was."""
    with serving(ARTIFACTS, grpc_port=0) as running:
        yield running


@pytest.fixture
def asked(rpc: ServerProcess) -> Iterator[Any]:
    """Triton's client of that server."""
    with triton_client(rpc) as opened:
        yield opened


def own_answer(named: Tensors) -> NDArray[np.float32]:
    """What the runtime says to the rows, by itself."""
    live = _tiny()
    rows = [History(row[:n]) for row, n in zip(named["context"], lengths_of(named), strict=True)]
    answers = np.empty((len(rows), 6, 9), np.float32)
    for block in place(rows, live.metadata.signature):
        answers[block.rows] = live.runtime.run(*block.inputs)
    return answers


@cache
def _tiny() -> LiveModel[ForecastMetadata]:
    return narrow(open_version(ARTIFACTS, "tiny", 1, "cpu"), ForecastMetadata)


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_an_answer_is_the_runtimes_own_to_the_bit(asked: Any, rows: int) -> None:
    named = tensors(rows)
    answer = asked.infer("tiny", inputs(named), request_id="mine")
    assert answer.as_numpy("quantiles").tobytes() == own_answer(named).tobytes()
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("tiny", "1", "mine")


def test_an_answer_over_http_has_the_same_numbers(rpc: ServerProcess, asked: Any) -> None:
    named = tensors(3)
    answer = asked.infer("tiny", inputs(named)).as_numpy("quantiles")
    rows = [
        {"item_id": str(n), "start": "2024-01-01", "target": _json(row[:n])}
        for row, n in zip(named["context"], lengths_of(named), strict=True)
    ]
    with client(rpc) as http:
        reply = http.post("/v1/forecast", json={"model": "tiny", "series": rows}).json()
    for one, row in zip(reply["series"], answer, strict=True):
        for at, level in enumerate(one["quantiles"].values()):
            np.testing.assert_array_equal(np.float32(level), row[:, at])


def _json(row: NDArray[np.float32]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in row]


def test_tensors_sent_number_by_number_get_the_same_answer(rpc: ServerProcess) -> None:
    named = tensors(7)
    made = message(named)
    del made.raw_input_contents[:]
    made.inputs[0].contents.fp32_contents.extend(named["context"].ravel().tolist())
    made.inputs[1].contents.int64_contents.extend(named["lengths"].tolist())
    with channel(rpc) as opened:
        assert quantiles(infer(opened)(made)).tobytes() == own_answer(named).tobytes()


def test_the_output_may_be_asked_by_name_and_the_model_by_version(asked: Any) -> None:
    named = tensors(2)
    wanted = [triton.InferRequestedOutput("quantiles")]
    answer = asked.infer("tiny", inputs(named), outputs=wanted, model_version="1")
    assert answer.as_numpy("quantiles").tobytes() == own_answer(named).tobytes()


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_a_packed_message_gets_the_same_answer(asked: Any, packed: str) -> None:
    named = tensors(20)
    answer = asked.infer("tiny", inputs(named), compression_algorithm=packed)
    assert answer.as_numpy("quantiles").tobytes() == own_answer(named).tobytes()


def test_where_the_time_went_is_told_behind_the_answer(rpc: ServerProcess) -> None:
    with channel(rpc) as opened:
        _, call = infer(opened).with_call(message())
    trailers = dict(call.trailing_metadata())
    assert trailers["gatecast-model"] == "tiny@1"
    assert [part.split(";")[0] for part in trailers["server-timing"].split(", ")] == [
        "queue",
        "compute",
        "total",
    ]


def test_many_calls_at_once_get_their_own_answers(asked: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for rows in range(1, 65):
        asked.async_infer(
            "tiny",
            inputs(tensors(rows)),
            request_id=str(rows),
            callback=lambda result, error: answers.put((result, error)),
        )
    for _ in range(64):
        result, error = answers.get(timeout=60)
        assert error is None
        named = tensors(int(result.get_response().id))
        assert result.as_numpy("quantiles").tobytes() == own_answer(named).tobytes()


def test_the_asyncio_client_is_answered_too(rpc: ServerProcess) -> None:
    async def ask() -> NDArray[np.float32]:
        async with triton_aio.InferenceServerClient(rpc.rpc) as opened:
            assert await opened.is_server_ready()
            answer = await opened.infer("tiny", inputs(tensors(4)))
            found: NDArray[np.float32] = answer.as_numpy("quantiles")
            return found

    assert asyncio.run(ask()).tobytes() == own_answer(tensors(4)).tobytes()


def test_a_stream_answers_in_order_and_goes_on_after_an_error(asked: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    asked.start_stream(lambda result, error: answers.put((result, error)))
    models = ["tiny", "tiny", "nope", "tiny"] * 50
    for at, model in enumerate(models):
        asked.async_stream_infer(model, inputs(tensors(1 + at % 40)), request_id=str(at))
    for at, model in enumerate(models):
        result, error = answers.get(timeout=60)
        if model == "nope":
            assert result is None
            assert "'nope' is not served here; served: tiny" in str(error)
            continue
        assert error is None
        assert result.get_response().id == str(at)
        expected = own_answer(tensors(1 + at % 40))
        assert result.as_numpy("quantiles").tobytes() == expected.tobytes()
    asked.stop_stream()


@pytest.mark.parametrize("wanted", [False, True])
def test_who_wants_to_know_which_answer_of_a_stream_is_the_last_is_told(
    asked: Any, wanted: bool
) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    asked.start_stream(lambda result, error: answers.put((result, error)))
    named = inputs(tensors(1))
    asked.async_stream_infer("tiny", named, enable_empty_final_response=wanted)
    result, error = answers.get(timeout=60)
    asked.stop_stream()
    assert error is None
    said = result.get_response().parameters
    assert ("triton_final_response" in said) is wanted
    assert said["triton_final_response"].bool_param is wanted


def test_lengths_may_be_a_column_as_in_tritons_tools(asked: Any) -> None:
    named = tensors(5)
    column = {**named, "lengths": named["lengths"].reshape(-1, 1)}
    answer = asked.infer("tiny", inputs(column))
    assert answer.as_numpy("quantiles").tobytes() == own_answer(named).tobytes()
    two = {**named, "lengths": np.repeat(column["lengths"], 2, axis=1)}
    with pytest.raises(
        triton.InferenceServerException, match="unexpected shape for input 'lengths'"
    ):
        asked.infer("tiny", inputs(two))


def test_a_stream_tells_which_request_an_error_belongs_to(rpc: ServerProcess) -> None:
    with channel(rpc) as opened:
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(opened)
        asked = [message(id="a"), message(id="b", model_name="nope"), message(id="c")]
        answers = [*stub.ModelStreamInfer(iter(asked))]
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "c"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]


def test_the_server_and_the_model_say_the_same_as_over_http(rpc: ServerProcess, asked: Any) -> None:
    model = asked.get_model_metadata("tiny", as_json=True)
    for tensor in (*model["inputs"], *model["outputs"]):
        tensor["shape"] = [int(size) for size in tensor["shape"]]  # 64 bits are text in this JSON
    with client(rpc) as http:
        assert http.get("/v2").json() == asked.get_server_metadata(as_json=True)
        assert http.get("/v2/models/tiny").json() == model


def test_the_configuration_is_one_that_tritons_tools_can_read(asked: Any) -> None:
    config = asked.get_model_config("tiny").config
    assert (config.name, config.backend) == ("tiny", "onnxruntime")
    assert config.max_batch_size > 0
    assert config.HasField("dynamic_batching")
    assert [(one.name, one.data_type, [*one.dims]) for one in config.input] == [
        ("context", triton.model_config_pb2.TYPE_FP32, [-1]),
        ("lengths", triton.model_config_pb2.TYPE_INT64, [1]),
    ]
    assert [(one.name, [*one.dims]) for one in config.output] == [("quantiles", [6, 9])]
    assert config.parameters["horizon"].string_value == "6"


def test_statistics_count_rows_and_requests_and_nothing_is_left_out() -> None:
    with serving(ARTIFACTS, grpc_port=0) as fresh, triton_client(fresh) as asked:
        (before,) = asked.get_inference_statistics().model_stats
        asked.infer("tiny", inputs(tensors(5)))
        asked.infer("tiny", inputs(tensors(7)))
        (after,) = asked.get_inference_statistics("tiny", "1").model_stats
        assert (before.inference_count, after.inference_count) == (0, 12)
        assert after.inference_stats.success.count == 2
        assert after.inference_stats.success.ns > after.inference_stats.compute_infer.ns > 0
        assert after.inference_stats.HasField("cache_miss")
        assert after.last_inference > 1_600_000_000_000
        assert sum(one.compute_infer.count for one in after.batch_stats) == after.execution_count


def test_the_index_names_every_model_and_why_one_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "tiny").symlink_to(ARTIFACTS / "tiny")
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "metadata.json").write_text("{")
    with serving(tmp_path, grpc_port=0) as running, triton_client(running) as asked:
        found = {one.name: one for one in asked.get_model_repository_index().models}
        assert {name: one.state for name, one in found.items()} == {
            "broken": "UNAVAILABLE",
            "tiny": "READY",
        }
        assert "metadata.json" in found["broken"].reason
        assert not asked.is_model_ready("broken")
        with pytest.raises(triton.InferenceServerException, match="'broken' does not answer") as at:
            asked.load_model("broken")
        assert at.value.status() == "StatusCode.FAILED_PRECONDITION"
        with channel(running) as opened:
            stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(opened)
            only = stub.RepositoryIndex(triton.service_pb2.RepositoryIndexRequest(ready=True))
            assert [one.name for one in only.models] == ["tiny"]
            health = health_pb2_grpc.HealthStub(opened)
            refused = health.Check(health_pb2.HealthCheckRequest(service="broken"))
            assert refused.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_model_with_covariates_and_a_calendar_is_asked_in_all_its_tensors(
    tmp_path: Path,
) -> None:
    toy.write(tmp_path)
    random = np.random.default_rng(0)
    steps = [1, 5, 20]
    seen = [toy.history(n, random) for n in steps]
    (block,) = place(seen, toy.SIGNATURE.model_copy(update={"context_length": 20}))[-1:]
    names = [spec.name for spec in toy.SIGNATURE.inputs]
    with serving(tmp_path, grpc_port=0) as running, triton_client(running) as asked:
        answer = asked.infer("toy", inputs(dict(zip(names, block.inputs, strict=True))))
    expected = np.stack([toy.answer(seen[row]) for row in block.rows])
    np.testing.assert_array_equal(answer.as_numpy("quantiles"), expected)


def test_readiness_and_the_standard_health_check_agree(rpc: ServerProcess, asked: Any) -> None:
    assert asked.is_server_live()
    assert asked.is_server_ready()
    assert asked.is_model_ready("tiny")
    assert asked.is_model_ready("tiny", "1")
    assert not asked.is_model_ready("tiny", "2")
    assert not asked.is_model_ready("nope")
    with channel(rpc) as opened:
        health = health_pb2_grpc.HealthStub(opened)
        for name in ("", "tiny", "inference.GRPCInferenceService"):
            found = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="nope"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        watched = health.Watch(health_pb2.HealthCheckRequest(service="nope"))
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watched.cancel()


def test_the_log_of_a_service_that_was_asked_a_lot_is_short(rpc: ServerProcess) -> None:
    """Above all no BlockingIOError of gRPC's poller, on the event loop that HTTP shares."""
    with channel(rpc) as opened:
        calls = [infer(opened).future(message()) for _ in range(500)]
        assert all(len(call.result().outputs) == 1 for call in calls)
    assert "Error" not in rpc.log
    assert "Traceback" not in rpc.log
