"""NVIDIA's own client against a real server: whatever it sends by default is answered."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from tests.end_to_end.openinference import DATATYPES, own_answer, rows
from tests.end_to_end.server import ServerProcess

Tensors = dict[str, NDArray[Any]]


@pytest.fixture
def client(server: ServerProcess) -> Iterator[triton.InferenceServerClient]:
    """A client of the shared server."""
    with triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=4) as opened:
        yield opened


def inputs(tensors: Tensors, *, binary: bool = True) -> list[triton.InferInput]:
    made = []
    for name, values in tensors.items():
        tensor = triton.InferInput(name, [*values.shape], DATATYPES[values.dtype.name])
        tensor.set_data_from_numpy(values, binary_data=binary)
        made.append(tensor)
    return made


def full() -> Tensors:
    """Tensors without a missing value: the client would write NaN into its JSON."""
    tensors = rows(24, 24)
    tensors["context"] = np.nan_to_num(tensors["context"], nan=21.5)
    return tensors


def test_the_default_request_gets_the_runtimes_own_bits(
    client: triton.InferenceServerClient,
) -> None:
    tensors = rows(24, 7, 1)
    answer = client.infer("tiny", inputs(tensors), request_id="abc", timeout=5_000_000)
    np.testing.assert_array_equal(answer.as_numpy("quantiles"), own_answer(tensors))
    said = answer.get_response()
    assert (said["id"], said["model_name"], said["model_version"]) == ("abc", "tiny", "1")


@pytest.mark.parametrize("binary", [True, False])
def test_lengths_may_be_a_column_as_in_tritons_tools(
    client: triton.InferenceServerClient, binary: bool
) -> None:
    tensors = full()
    column = {**tensors, "lengths": tensors["lengths"].reshape(-1, 1)}
    answer = client.infer("tiny", inputs(column, binary=binary))
    np.testing.assert_array_equal(answer.as_numpy("quantiles"), own_answer(tensors))
    two = {**tensors, "lengths": np.repeat(column["lengths"], 2, axis=1)}
    with pytest.raises(InferenceServerException, match="unexpected shape for input 'lengths'"):
        client.infer("tiny", inputs(two, binary=binary))


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_json_and_binary_give_the_same_bits(
    client: triton.InferenceServerClient, sent: bool, asked: bool
) -> None:
    tensors = full()
    outputs = [triton.InferRequestedOutput("quantiles", binary_data=asked)]
    answer = client.infer("tiny", inputs(tensors, binary=sent), "1", outputs)
    np.testing.assert_array_equal(answer.as_numpy("quantiles"), own_answer(tensors))


@pytest.mark.parametrize("asked", ["gzip", "deflate", None])
@pytest.mark.parametrize("sent", ["gzip", "deflate", None])
def test_packed_both_ways(
    client: triton.InferenceServerClient, sent: str | None, asked: str | None
) -> None:
    tensors = rows(*[24] * 40)
    answer = client.infer(
        "tiny",
        inputs(tensors),
        request_compression_algorithm=sent,
        response_compression_algorithm=asked,
    )
    np.testing.assert_array_equal(answer.as_numpy("quantiles"), own_answer(tensors))


def test_many_at_once(client: triton.InferenceServerClient) -> None:
    questions = [rows(n, seed=n) for n in range(1, 25)]
    waiting = [client.async_infer("tiny", inputs(tensors)) for tensors in questions]
    for tensors, pending in zip(questions, waiting, strict=True):
        got = pending.get_result().as_numpy("quantiles")
        np.testing.assert_array_equal(got, own_answer(tensors))


def test_parts_that_the_client_packs_and_unpacks_by_itself(server: ServerProcess) -> None:
    tensors = rows(24)
    content, length = triton.InferenceServerClient.generate_request_body(inputs(tensors))
    answer = httpx.post(
        f"{server.url}/v2/models/tiny/infer",
        content=content,
        headers={"Inference-Header-Content-Length": str(length)},
        trust_env=False,
    )
    got = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"])
    )
    np.testing.assert_array_equal(got.as_numpy("quantiles"), own_answer(tensors))


def test_health_and_descriptions(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("unknown")
    assert client.get_server_metadata()["name"] == "gatecast"
    assert client.get_model_metadata("tiny", "1")["name"] == "tiny"
    assert client.get_model_config("tiny")["backend"] == "onnxruntime"
    assert [entry["name"] for entry in client.get_model_repository_index()] == ["tiny"]


def test_statistics_count_what_was_asked(client: triton.InferenceServerClient) -> None:
    client.infer("tiny", inputs(rows(5)))
    (one,) = client.get_inference_statistics("tiny")["model_stats"]
    (every,) = client.get_inference_statistics()["model_stats"]
    for said in (one, every):
        assert (said["name"], said["version"]) == ("tiny", "1")
        assert said["inference_stats"]["success"]["count"] >= 1


def test_an_error_reaches_the_caller_in_words(client: triton.InferenceServerClient) -> None:
    for call, message in (
        (lambda: client.infer("unknown", inputs(rows(5))), "'unknown' is not served"),
        (lambda: client.infer("tiny", inputs(rows(5)), "7"), "version 1, not 7"),
        (lambda: client.infer("tiny", inputs(rows(5))[:1]), "'lengths' is missing"),
        (lambda: client.infer("tiny", inputs(rows(5), binary=False)), "JSON has no NaN"),
        (lambda: client.infer("tiny", inputs(rows(5)), sequence_id=5), "'sequence_id'"),
        (lambda: client.infer("tiny", inputs(rows(5)), priority=1), "'priority'"),
        (lambda: client.get_model_metadata("unknown"), "'unknown' is not served"),
        (lambda: client.get_inference_statistics("unknown"), "'unknown' is not served"),
        (lambda: client.load_model("unknown"), "'unknown'"),
        (lambda: client.unload_model("unknown"), "'unknown'"),
        (client.get_trace_settings, "no route /v2/trace/setting"),
        (client.get_system_shared_memory_status, "no route"),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert message in caught.value.message(), caught.value.message()


def test_a_deadline_of_the_client_is_kept(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("tiny", inputs(rows(5)), timeout=1)
    assert caught.value.status() in ("429", "504")
