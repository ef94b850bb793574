"""The Open Inference Protocol on a real socket: its descriptions, and the runtime's own bits."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.contract.placement import stack
from tests.artifacts import edit, toy
from tests.end_to_end.openinference import (
    HEADER,
    INFER,
    SIGNATURE,
    binary_body,
    json_body,
    own_answer,
    read_binary,
    read_json,
    rows,
)
from tests.end_to_end.server import client, serving

BINARY = {"binary_data_output": True}


def get(http: httpx.Client, path: str) -> Any:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def ask(http: httpx.Client, body: object, path: str = INFER) -> httpx.Response:
    answer = http.post(path, content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_names_itself_and_only_what_it_implements(http: httpx.Client, path: str) -> None:
    said = get(http, path)
    assert (said["name"], said["version"]) == ("gatecast", version("gatecast"))
    assert set(said["extensions"]) == {
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "parameters",
        "statistics",
    }


def test_health_is_answered(http: httpx.Client) -> None:
    assert get(http, "/v2/health/live") == {"live": True}
    assert get(http, "/v2/health/ready") == {"ready": True}


@pytest.mark.parametrize("path", ["/v2/models/tiny", "/v2/models/tiny/versions/1"])
def test_a_model_describes_its_tensors(http: httpx.Client, path: str) -> None:
    assert get(http, path) == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "context", "datatype": "FP32", "shape": [-1, -1]},
            {"name": "lengths", "datatype": "INT64", "shape": [-1, 1]},
        ],
        "outputs": [{"name": "quantiles", "datatype": "FP32", "shape": [-1, 6, 9]}],
    }
    assert get(http, f"{path}/ready") == {"name": "tiny", "ready": True}


def test_the_configuration_is_one_that_tools_can_read(http: httpx.Client) -> None:
    said = get(http, "/v2/models/tiny/config")
    assert said == get(http, "/v2/models/tiny/versions/1/config")
    assert said["name"] == "tiny"
    assert said["max_batch_size"] >= 1
    assert said["dynamic_batching"] == {}
    assert said["input"] == [
        {"name": "context", "data_type": "TYPE_FP32", "dims": [-1]},
        {"name": "lengths", "data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}},
    ]
    assert said["output"] == [{"name": "quantiles", "data_type": "TYPE_FP32", "dims": [6, 9]}]
    levels = json.loads(said["parameters"]["quantile_levels"]["string_value"])
    assert levels == [*SIGNATURE.quantile_levels]


def test_the_statistics_have_every_member_and_count_requests(http: httpx.Client) -> None:
    def read() -> Any:
        return get(http, "/v2/models/tiny/stats")["model_stats"][0]

    before = read()
    ask(http, json_body(rows(5, 9)))
    after = read()
    assert after["inference_stats"].keys() == {
        *("success", "fail", "queue", "cache_hit", "cache_miss"),
        *("compute_input", "compute_infer", "compute_output"),
    }
    for spent in after["inference_stats"].values():
        assert spent.keys() == {"count", "ns"}
    grown = {
        name: after["inference_stats"][name]["count"] - before["inference_stats"][name]["count"]
        for name in ("success", "fail")
    }
    assert grown == {"success": 1, "fail": 0}
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["last_inference"] >= max(before["last_inference"], 1)
    assert after["batch_stats"]
    assert get(http, "/v2/models/stats")["model_stats"][0]["name"] == "tiny"


def test_the_index_lists_every_model(http: httpx.Client) -> None:
    for body in (b"", b"{}", b'{"ready": true}', b'{"ready": false}'):
        answer = http.post("/v2/repository/index", content=body)
        assert answer.json() == [
            {"name": "tiny", "version": "1", "state": "READY", "reason": ""},
        ]


@pytest.mark.parametrize("tensors", [rows(24), rows(1, 24, 7, 24), rows(40, 3, padded=50)])
@pytest.mark.parametrize("asked", ["json", "binary"])
@pytest.mark.parametrize("sent", ["json", "nested", "binary"])
def test_the_answer_is_the_runtimes_own_to_the_bit(
    http: httpx.Client, tensors: dict[str, Any], asked: str, sent: str
) -> None:
    parameters = BINARY if asked == "binary" else {}
    if sent == "binary":
        content, headers = binary_body(tensors, parameters=parameters)
    else:
        body = json_body(tensors, parameters=parameters)
        if sent == "nested":
            context = body["inputs"][0]
            width = context["shape"][1]
            flat = context["data"]
            context["data"] = [flat[at : at + width] for at in range(0, len(flat), width)]
        content, headers = json.dumps(body).encode(), {}
    answer = http.post(INFER, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    if asked == "binary":
        assert answer.headers["content-type"] == "application/octet-stream"
        got = read_binary(answer.content, answer.headers[HEADER])
    else:
        assert answer.headers["content-type"] == "application/json"
        assert HEADER not in answer.headers
        got = read_json(answer.json())
    np.testing.assert_array_equal(got, own_answer(tensors))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60), min_size=1, max_size=70), st.integers(0, 9))
def test_rows_get_the_same_bits_among_any_others(
    http: httpx.Client, lengths: list[int], seed: int
) -> None:
    tensors = rows(*lengths, seed=seed)
    content, headers = binary_body(tensors, parameters=BINARY)
    answer = http.post(INFER, content=content, headers=headers)
    got = read_binary(answer.content, answer.headers[HEADER])
    np.testing.assert_array_equal(got, own_answer(tensors))


def test_json_has_the_shortest_digits_and_a_flat_row_major_list(http: httpx.Client) -> None:
    answer = ask(http, json_body(rows(24)))
    (output,) = answer.json()["outputs"]
    assert output["shape"] == [1, 6, 9]
    text = answer.text.partition('"data":[')[2].partition("]")[0]
    assert text.split(",") == [str(value) for value in own_answer(rows(24)).ravel()]


def test_a_large_request_is_answered_the_same_in_json(http: httpx.Client) -> None:
    tensors = rows(*[24] * 1000)
    assert len(json.dumps(json_body(tensors))) > 1 << 17
    expected = own_answer(tensors)
    np.testing.assert_array_equal(read_json(ask(http, json_body(tensors)).json()), expected)
    body = json_body(tensors)
    body["inputs"][0]["data"] = [
        [None if value != value else value for value in row] for row in tensors["context"].tolist()
    ]
    np.testing.assert_array_equal(read_json(ask(http, body).json()), expected)


def test_the_documented_request_is_answered(http: httpx.Client) -> None:
    text = (Path(__file__).parents[2] / "docs/openinference.md").read_text()
    (documented,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    patient = json.loads(documented) | {"parameters": {"timeout": 30_000_000}}
    assert ask(http, patient).json()["id"] == "7"


def test_inputs_may_come_in_any_order_and_each_in_its_own_way(http: httpx.Client) -> None:
    tensors = rows(24, 3)
    body = json_body(tensors)
    raw = tensors["context"].tobytes()
    del body["inputs"][0]["data"]
    body["inputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    body["inputs"].reverse()
    head = json.dumps(body).encode()
    answer = http.post(INFER, content=head + raw, headers={HEADER: str(len(head))})
    np.testing.assert_array_equal(read_json(answer.json()), own_answer(tensors))


def test_the_header_may_say_that_all_is_json(http: httpx.Client) -> None:
    content = json.dumps(json_body(rows(3)))
    answer = http.post(INFER, content=content, headers={HEADER: str(len(content))})
    np.testing.assert_array_equal(read_json(answer.json()), own_answer(rows(3)))


def test_integers_are_numbers_and_null_is_missing(http: httpx.Client) -> None:
    body = json_body({"context": np.ones((1, 4), "f4"), "lengths": np.array([4])})
    body["inputs"][0]["data"] = [1, None, 3, 4.5]
    tensors = {
        "context": np.array([[1, np.nan, 3, 4.5]], np.float32),
        "lengths": np.array([4]),
    }
    np.testing.assert_array_equal(read_json(ask(http, body).json()), own_answer(tensors))


@pytest.mark.parametrize(
    ("fields", "binary"),
    [
        ({}, False),
        ({"outputs": []}, False),
        ({"outputs": [{"name": "quantiles"}]}, False),
        ({"outputs": [{"name": "quantiles", "parameters": {"binary_data": True}}]}, True),
        ({"parameters": BINARY}, True),
        ({"parameters": BINARY, "outputs": [{"name": "quantiles"}]}, True),
        (
            {
                "parameters": BINARY,
                "outputs": [{"name": "quantiles", "parameters": {"binary_data": False}}],
            },
            False,
        ),
    ],
)
def test_an_outputs_own_word_goes_before_the_requests(
    http: httpx.Client, fields: dict[str, Any], binary: bool
) -> None:
    answer = ask(http, json_body(rows(3), **fields))
    assert (HEADER in answer.headers) == binary
    assert (answer.headers["content-type"] == "application/octet-stream") == binary


def test_the_id_comes_back_and_is_absent_where_none_was_sent(http: httpx.Client) -> None:
    for identifier in ("7", "", 'żółw \U0001f422 " \\ \x00'):
        assert ask(http, json_body(rows(3), id=identifier)).json()["id"] == identifier
    assert "id" not in ask(http, json_body(rows(3))).json()
    assert "id" not in ask(http, json_body(rows(3), id=None)).json()


def test_the_answer_names_the_model_and_where_the_time_went(http: httpx.Client) -> None:
    answer = ask(http, json_body(rows(3)), "/v2/models/tiny/versions/1/infer")
    said = answer.json()
    assert (said["model_name"], said["model_version"]) == ("tiny", "1")
    assert answer.headers["gatecast-model"] == "tiny@1"
    assert answer.headers["server-timing"].startswith("queue;dur=")


def test_what_the_caller_adds_of_its_own_is_ignored(http: httpx.Client) -> None:
    own = {"parameters": {"mine": {"deep": [1]}, "priority": 0, "sequence_id": 0}, "x": [1]}
    ask(http, json_body(rows(3), **own))


def test_no_content_type_is_needed_and_none_is_looked_at(http: httpx.Client) -> None:
    for kind in ("text/plain", "application/octet-stream", ""):
        content = json.dumps(json_body(rows(3)))
        answer = http.post(INFER, content=content, headers={"content-type": kind})
        assert answer.status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_header_counts_the_json_before_it_was_packed(http: httpx.Client, encoding: str) -> None:
    content, headers = binary_body(rows(24, 7), parameters=BINARY)
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    answer = http.post(
        INFER, content=pack(content), headers=headers | {"content-encoding": encoding}
    )
    got = read_binary(answer.content, answer.headers[HEADER])
    np.testing.assert_array_equal(got, own_answer(rows(24, 7)))


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, GZIP;q=0.5, *;q=0", "gzip"),
        ("gzip;q=0.1,deflate;q=0.2", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("br", None),
        ("identity", None),
        ("", None),
        (";,;q=,", None),
    ],
)
def test_a_large_answer_is_packed_as_the_caller_accepts_it(
    http: httpx.Client, accepted: str, encoding: str | None
) -> None:
    tensors = rows(*[24] * 30)
    content, headers = binary_body(tensors, parameters=BINARY)
    answer = http.post(INFER, content=content, headers=headers | {"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    got = read_binary(answer.content, answer.headers[HEADER])
    np.testing.assert_array_equal(got, own_answer(tensors))


def test_an_answer_of_thousands_of_rows_is_packed_too(http: httpx.Client) -> None:
    tensors = rows(*[5] * 3000)
    content = json.dumps(json_body(tensors))
    answer = http.post(INFER, content=content, headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    np.testing.assert_array_equal(read_json(answer.json()), own_answer(tensors))


def test_a_small_answer_is_not_packed(http: httpx.Client) -> None:
    content = json.dumps(json_body(rows(3)))
    answer = http.post(INFER, content=content, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of the toy, which wants everything, and of a model that was refused."""
    models = tmp_path_factory.mktemp("models")
    toy.write(models)
    damaged = edit.copy(models, "damaged")
    (damaged / "model.onnx").write_bytes(b"no model")
    with serving(models) as running, client(running) as opened:
        yield opened


def test_every_tensor_arrives_at_its_place(mixed: httpx.Client) -> None:
    random = np.random.default_rng(3)
    series = [toy.history(n, random) for n in (1, 7, 20)]
    stacked = stack(series, toy.SIGNATURE, 20)
    tensors = dict(zip([spec.name for spec in toy.SIGNATURE.inputs], stacked, strict=True))
    expected = np.stack([toy.answer(one) for one in series])
    got = read_json(ask(mixed, json_body(tensors), "/v2/models/toy/infer").json())
    np.testing.assert_array_equal(got, expected)
    content, headers = binary_body(tensors)
    answer = mixed.post("/v2/models/toy/infer", content=content, headers=headers)
    np.testing.assert_array_equal(read_json(answer.json()), expected)


def test_a_refused_model_is_in_the_index_with_the_reason(mixed: httpx.Client) -> None:
    damaged, good = mixed.post("/v2/repository/index").json()
    assert (damaged["name"], damaged["state"]) == ("damaged", "UNAVAILABLE")
    assert "sha256" in damaged["reason"]
    assert (good["name"], good["state"]) == ("toy", "READY")
    assert mixed.post("/v2/repository/index", json={"ready": True}).json() == [good]
    assert mixed.get("/v2/models/damaged/ready").status_code == 404


def test_a_model_that_cannot_be_loaded_is_refused_with_the_reason(mixed: httpx.Client) -> None:
    for model, status, message in (
        ("damaged", 409, "does not answer: damaged/1.*sha256"),
        ("unknown", 404, "no model 'unknown'"),
    ):
        answer = mixed.post(f"/v2/repository/models/{model}/load", json={})
        assert answer.status_code == status
        assert_matches(message, answer)


def test_a_model_is_unloaded_and_loaded_again(mixed: httpx.Client) -> None:
    assert mixed.post("/v2/repository/models/toy/unload", json={}).status_code == 200
    assert mixed.get("/v2/models/toy/ready").status_code == 404
    assert mixed.post("/v2/repository/models/toy/load", json={}).status_code == 200
    assert mixed.get("/v2/models/toy/ready").status_code == 200


def assert_matches(message: str, answer: httpx.Response) -> None:
    assert re.search(message, answer.json()["error"]), answer.text


def test_without_a_model_the_server_is_alive_and_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as running, client(running) as http:
        assert http.get("/v2/health/live").status_code == 200
        answer = http.get("/v2/health/ready")
        assert answer.status_code == 503
        assert "no model" in answer.json()["error"]
        assert http.get("/v2/models/stats").json() == {"model_stats": []}
        assert http.post("/v2/repository/index").json() == []


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/tiny/ready"])
def test_from_sigterm_on_it_is_not_ready(artifacts: Path, path: str) -> None:
    with serving(artifacts, drain_grace_s=5) as leaving, client(leaving) as http:
        assert http.get(path).status_code == 200
        leaving.terminate()
        statuses: list[int] = []
        while not statuses or statuses[-1] == 200:  # until the signal has been seen
            statuses.append(http.get(path).status_code)
        assert statuses[-1] == 503
