"""KServe's time series API over a real socket: its schema, and errors in its form."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import zstandard

from tests.artifacts import edit, toy
from tests.end_to_end.server import ServerProcess, client, serving

PATH = "/v1/timeseries/forecast"
INPUT: dict[str, Any] = {
    "type": "univariate_time_series",
    "name": "a",
    "series": [1.0, 2.5, None, 4.0],
    "frequency": "4h",
    "start_timestamp": "2024-01-01T00:00:00Z",
}
BODY: dict[str, Any] = {
    "model": "tiny",
    "inputs": [INPUT],
    "options": {"horizon": 2, "quantiles": [0.9, 0.1]},
}
DAY: dict[str, Any] = {
    "type": "univariate_time_series",
    "name": "a",
    "series": [1, 2, None, 4],
    "frequency": "day",
    "start_timestamp": "2024-02-27",
    "past_covariates": {"stock": [20, 21, 22, 23], "price": [10.5, None, 12.5, 13.5]},
    "known_covariates": {"promo": [100, 101, 102, 103, 104, None, 106]},
    "static_features": {"region": "south", "size": 7.5},
}
GOOD = json.dumps(BODY)


@pytest.fixture(scope="module")
def both_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of `tiny` (4h) and of the toy (D), which wants every kind of covariate."""
    models = tmp_path_factory.mktemp("models")
    edit.copy(models)
    toy.write(models)
    with serving(models, max_queue_rows=2000) as running:
        yield running


@pytest.fixture
def both_http(both_server: ServerProcess) -> Iterator[httpx.Client]:
    with client(both_server) as opened:
        yield opened


def ask(http: httpx.Client, body: object) -> Any:
    answer = http.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(http: httpx.Client, content: bytes) -> tuple[int, Any]:
    answer = http.post(PATH, content=content)
    return answer.status_code, answer.json()["error"]


def native(http: httpx.Client, inputs: list[dict[str, Any]]) -> Any:
    """What `/v1/forecast` answers about the same series."""
    series = [
        {"item_id": one["name"], "start": one["start_timestamp"], "target": one["series"]}
        for one in inputs
    ]
    answer = http.post("/v1/forecast", json={"model": "tiny", "series": series})
    assert answer.status_code == 200, answer.text
    return answer.json()["series"]


def panel(count: int) -> list[dict[str, Any]]:
    """Series of different lengths."""
    random = np.random.default_rng(5)
    starts = pd.date_range("2024-01-01", periods=count, freq="4h")
    return [
        INPUT
        | {
            "name": f"series {at}",
            "start_timestamp": start.isoformat(),
            "series": random.normal(size=at % 40 + 1).round(3).tolist(),
        }
        for at, start in enumerate(starts)
    ]


def test_the_answer_has_the_form_of_the_schema(both_http: httpx.Client) -> None:
    response = both_http.post(PATH, json=BODY | {"metadata": {"a": 1}, "colour": "blue"})
    assert response.headers["gatecast-model"] == "tiny@1"
    assert response.headers["server-timing"]
    answer = response.json()
    assert uuid.UUID(answer.pop("id"))
    assert answer.pop("created_at") > 1_700_000_000
    (output,) = answer.pop("outputs")
    assert answer == {
        "status": "completed",
        "error": None,
        "model": "tiny",
        "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
    }
    assert uuid.UUID(output.pop("id"))
    (content,) = output.pop("content")
    assert output == {"type": "time_series_forecast", "status": "completed", "error": None}
    (expected,) = native(both_http, [INPUT])
    assert content == {
        "type": "univariate_time_series",
        "name": "a",
        "mean_forecast": expected["median"][:2],
        "frequency": "4h",
        "start_timestamp": "2024-01-01T16:00:00Z",
        "quantiles": {level: expected["quantiles"][level][:2] for level in ("0.9", "0.1")},
    }


def test_hundreds_of_inputs_get_the_bits_of_the_native_dialect(both_http: httpx.Client) -> None:
    inputs = panel(300)
    options = {"horizon": 6, "quantiles": [0.1, 0.5]}
    answer = ask(both_http, BODY | {"inputs": inputs, "options": options})
    assert answer["usage"]["prompt_tokens"] == sum(len(one["series"]) for one in inputs)
    outputs = [output["content"][0] for output in answer["outputs"]]
    for one, got, expected in zip(inputs, outputs, native(both_http, inputs), strict=True):
        assert got["name"] == one["name"]
        assert got["mean_forecast"] == expected["median"]
        assert got["quantiles"] == {key: expected["quantiles"][key] for key in ("0.1", "0.5")}
        assert got["start_timestamp"] == expected["timestamps"][0]


def test_covariates_reach_the_model(both_http: httpx.Client) -> None:
    levels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 0.9]
    options = {"horizon": 3, "quantiles": levels}
    answer = ask(both_http, {"model": "toy@1", "inputs": [DAY], "options": options})
    content = answer["outputs"][0]["content"][0]
    shown = {"0.1": 4, "0.2": 13.5, "0.3": 23, "0.4": 103, "0.8": 7.5, "0.9": 2}
    expected = {level: [value] * 3 for level, value in shown.items()} | {"0.5": [104, -1, 106]}
    assert content["quantiles"] == expected
    assert content["mean_forecast"] == [104, -1, 106]
    assert content["start_timestamp"] == "2024-03-02T00:00:00"


def test_quantiles_are_given_when_asked(both_http: httpx.Client) -> None:
    for options in ({"horizon": 2}, {"horizon": 2, "quantiles": None}):
        answer = ask(both_http, BODY | {"options": options})
        assert answer["outputs"][0]["content"][0]["quantiles"] is None


def test_no_start_in_no_start_out(both_http: httpx.Client) -> None:
    without = {key: value for key, value in INPUT.items() if key != "start_timestamp"}
    content = ask(both_http, BODY | {"inputs": [without]})["outputs"][0]["content"][0]
    expected = ask(both_http, BODY)["outputs"][0]["content"][0]
    assert content == expected | {"start_timestamp": None}


def test_the_models_are_listed(both_http: httpx.Client) -> None:
    assert both_http.get("/v1/timeseries/models").json() == ["tiny", "toy"]


@pytest.mark.parametrize(
    ("old", "new", "status", "param"),
    [
        ('"tiny"', '"nobody"', 404, "model"),
        ('"tiny"', '"tiny@2"', 404, "model"),
        ('"tiny"', '"@"', 400, "model"),
        ('"tiny"', "7", 400, "model"),
        ('"horizon": 2', '"horizon": 7', 422, "options.horizon"),
        ('"horizon": 2', '"horizon": 0', 422, "options.horizon"),
        ('"horizon": 2', '"horizon": 2.5', 400, "options.horizon"),
        ('"horizon": 2', '"h": 2', 400, "options.horizon"),
        ("0.1]", "0.95]", 422, "options.quantiles[1]"),
        ("0.1]", "0.9]", 422, "options.quantiles[1]"),
        ('"4h"', '"hour"', 422, "inputs[0].frequency"),
        ('"univariate', '"multivariate', 422, "inputs[0].type"),
        ("[1.0, 2.5, null, 4.0]", "[]", 422, "inputs[0].series"),
        ("[1.0, 2.5, null, 4.0]", "[null]", 422, "inputs[0].series"),
        ("4.0", "4e36", 422, "inputs[0].series[3]"),
        ("4.0", '"4"', 400, "inputs[0].series[3]"),
        ("4.0", "NaN", 400, None),
        ("4.0", "-Infinity", 400, None),
        ("2024-01-01T", "2024-02-30T", 422, "inputs[0].start_timestamp"),
        ("2024-01-01T00", "2261-12-31T20", 422, "inputs[0].start_timestamp"),
        ('"a"', '"\xff"', 400, "inputs[0]"),
        (GOOD, "", 400, None),
        (GOOD, "[]", 400, None),
        (GOOD, GOOD[:-3], 400, None),
        (json.dumps([INPUT]), "[]", 400, "inputs"),
        (json.dumps([INPUT]), '["a"]', 400, "inputs[0]"),
        (json.dumps([INPUT]), "[" * 100_000, 400, None),
    ],
)
def test_a_bad_body_is_refused_in_the_form_of_the_schema(
    both_http: httpx.Client, old: str, new: str, status: int, param: str | None
) -> None:
    assert old in GOOD
    came, error = refusal(both_http, GOOD.replace(old, new).encode("latin-1"))
    assert came == status, error
    assert set(error) == {"code", "message", "param", "type"}
    assert error["code"] == str(status)
    assert error["message"]
    if param is not None:
        assert error["param"] == param


def test_a_fault_in_a_later_chunk_names_its_input(both_http: httpx.Client) -> None:
    inputs = panel(200)
    inputs[150] = inputs[150] | {"series": [1, 1e37]}
    status, error = refusal(both_http, json.dumps(BODY | {"inputs": inputs}).encode())
    assert (status, error["param"]) == (422, "inputs[150].series[1]")
    assert "'series 150'" in error["message"]


def test_more_inputs_than_may_wait_are_too_large(both_http: httpx.Client) -> None:
    content = json.dumps(BODY | {"inputs": [INPUT] * 2001}).encode()
    status, error = refusal(both_http, content)
    assert (status, error["param"]) == (413, "inputs")


def test_a_zstd_bomb_is_not_unpacked(both_http: httpx.Client) -> None:
    bomb = zstandard.ZstdCompressor().compress(b" " * (1 << 28))
    answer = both_http.post(PATH, content=bomb, headers={"content-encoding": "zstd"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "413")


def test_other_methods_and_paths_below_are_refused_in_this_dialect(
    both_http: httpx.Client,
) -> None:
    wrong = both_http.get(PATH)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["code"] == "405"
    assert both_http.get("/v1/timeseries/nothing").json()["error"]["code"] == "404"
