"""Regressions on a real socket: the runtime's own bits, and every wrong cell named."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contract.regression import RegressionSignature
from tests.artifacts import edit, ledger
from tests.end_to_end.rpc_client import inputs, triton_client
from tests.end_to_end.server import ServerProcess, client, serving

Features = NDArray[np.float32]
NAMES = ledger.SIGNATURE.features
GOOD = {"area": 80.0, "rooms": 3.0, "age": 12.0}
LIMIT = 2000  # rows of one request


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of a regression and of a forecaster."""
    models = tmp_path_factory.mktemp("models")
    ledger.write(models)
    edit.copy(models)
    with serving(models, grpc_port=0, workers=2, max_queue_rows=LIMIT) as opened:
        yield opened


@pytest.fixture
def asked(running: ServerProcess) -> Iterator[httpx.Client]:
    """A client of that server."""
    with client(running) as opened:
        yield opened


def ask(http: httpx.Client, body: object) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    return http.post("/v1/regress", content=content)


def as_rows(features: Features) -> list[dict[str, float]]:
    """Rows by name; a float32 is written with the digits of its float64."""
    return [dict(zip(NAMES, row, strict=True)) for row in features.tolist()]


def predictions(http: httpx.Client, features: Features) -> NDArray[np.float32]:
    answer = ask(http, {"model": "ledger", "rows": as_rows(features)})
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["predictions"], np.float64).astype(np.float32)


def test_a_request_is_answered_with_the_headers_of_every_dialect(asked: httpx.Client) -> None:
    answer = ask(asked, {"model": "ledger@1", "rows": [GOOD, GOOD | {"age": 0}]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["gatecast-model"] == "ledger@1"
    assert answer.headers["server-timing"].startswith("queue;dur=")
    assert answer.json() == {"model": "ledger", "version": 1, "predictions": [274.5, 238.5]}


def test_the_documented_request_is_answered(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/dialects.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (documented,) = [block for block in blocks if '"rows"' in block]
    columns = RegressionSignature(features=("crim", "rm", "age"), target="medv")
    ledger.write(tmp_path, "housing", columns)
    table = [[row[name] for name in columns.features] for row in json.loads(documented)["rows"]]
    with serving(tmp_path) as alone, client(alone) as http:
        answer = ask(http, documented.encode())
    assert answer.json()["predictions"] == pytest.approx(
        ledger.answer(np.array(table, np.float32)).tolist()
    )


def test_predictions_have_the_shortest_digits_of_their_float32(asked: httpx.Client) -> None:
    features = ledger.features(50)
    text = ask(asked, {"model": "ledger", "rows": as_rows(features)}).text
    digits = re.findall(r"\[(.*)\]", text)[0].split(",")
    assert digits == [str(value) for value in ledger.answer(features)]


CELLS = st.floats(-1e9, 1e9, width=32)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=40))
def test_every_way_gives_the_same_bits_alone_and_in_bulk(
    running: ServerProcess, table: list[tuple[float, float, float]]
) -> None:
    """All at once, so that who shares a batch with whom is chance."""
    features = np.array(table, np.float32)
    expected = ledger.answer(features)

    def native(rows: Features) -> NDArray[np.float32]:
        with client(running) as http:
            return predictions(http, rows)

    def rest(rows: Features) -> NDArray[np.float32]:
        body = {"inputs": [_input(rows)], "parameters": {"binary_data_output": True}}
        with client(running) as http:
            answer = http.post("/v2/models/ledger/infer", json=body)
        assert answer.status_code == 200, answer.text
        return np.frombuffer(
            answer.content[int(answer.headers["inference-header-content-length"]) :], "<f4"
        )

    def rpc(rows: Features) -> NDArray[np.float32]:
        with triton_client(running) as opened:
            found: NDArray[np.float32] = opened.infer(
                "ledger", inputs({"features": rows})
            ).as_numpy("prediction")
        return found

    with ThreadPoolExecutor(8) as crowd:
        alone = [crowd.submit(native, row[np.newaxis]) for row in features[:8]]
        together = [crowd.submit(way, features) for way in (native, rest, rpc)]
        for one, want in zip(alone, expected, strict=False):
            assert one.result().tobytes() == want.tobytes()
        for way in together:
            assert way.result().tobytes() == expected.tobytes()


def _input(features: Features) -> dict[str, Any]:
    data = features.ravel().tolist()
    return {"name": "features", "datatype": "FP32", "shape": [*features.shape], "data": data}


def test_many_callers_at_once_get_their_own_predictions(running: ServerProcess) -> None:
    questions = [ledger.features(1 + seed % 7, seed) for seed in range(200)]
    with client(running) as http, ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(lambda rows: predictions(http, rows), questions))
    for rows, answer in zip(questions, answers, strict=True):
        assert answer.tobytes() == ledger.answer(rows).tobytes()


def test_as_many_rows_as_may_wait_are_answered_and_one_more_is_refused(
    asked: httpx.Client,
) -> None:
    features = ledger.features(LIMIT)
    assert predictions(asked, features).tobytes() == ledger.answer(features).tobytes()
    rows = as_rows(ledger.features(LIMIT + 1))
    assert_refused(
        ask(asked, {"model": "ledger", "rows": rows}), 413, "rows", "2001 rows.*the limit is 2000"
    )


def rows(*cells: str) -> bytes:
    """A request whose second row has another cell `rooms`, as text."""
    text = ", ".join(f'{{"area": 80, "rooms": {cell}, "age": 12}}' for cell in ("3", *cells))
    return f'{{"model": "ledger", "rows": [{text}]}}'.encode()


WRONG: dict[str, tuple[object, int, str | None, str]] = {
    # not the documented request: 400
    "no body": (b"", 400, None, "not JSON"),
    "not JSON": (b"80,3,12", 400, None, "not JSON"),
    "a list": ([GOOD], 400, None, "the body"),
    "no model": ({"rows": [GOOD]}, 400, "model", "missing"),
    "no rows": ({"model": "ledger"}, 400, "rows", "missing"),
    "a bad version": ({"model": "ledger@x/y", "rows": [GOOD]}, 400, "model", "name@version"),
    "unknown field": ({"model": "ledger", "rows": [GOOD], "n": 1}, 400, "n", "not a field"),
    "rows an object": ({"model": "ledger", "rows": GOOD}, 400, "rows", "array"),
    "a row without names": (
        {"model": "ledger", "rows": [[1, 2, 3]]},
        400,
        "rows[0]",
        "object",
    ),
    "null": (rows("null"), 400, "rows[1].rooms", "valid number, got None"),
    "a text": (rows('"three"'), 400, "rows[1].rooms", "valid number, got 'three'"),
    "a number as text": (rows('"3"'), 400, "rows[1].rooms", "valid number, got '3'"),
    "true": (rows("true"), 400, "rows[1].rooms", "valid number, got True"),
    "a list in a cell": (rows("[3]"), 400, "rows[1].rooms", "valid number"),
    "NaN": (rows("NaN"), 400, "rows[1].rooms", "not a finite number"),
    "Infinity": (rows("-Infinity"), 400, "rows[1].rooms", "not a finite number"),
    "beyond float64": (rows("1e999"), 400, "rows[1].rooms", "not a finite number"),
    # understood, but this model cannot answer: 404, 422
    "unknown model": ({"model": "none", "rows": [GOOD]}, 404, "model", "served: ledger, tiny"),
    "unknown version": ({"model": "ledger@2", "rows": [GOOD]}, 404, "model", "version 1, not 2"),
    "a forecaster": (
        {"model": "tiny", "rows": [GOOD]},
        422,
        "model",
        "'tiny' has the task forecast, but a model of the task regression is needed",
    ),
    "empty": ({"model": "ledger", "rows": []}, 422, "rows", "send at least one row"),
    "missing column": (
        {"model": "ledger", "rows": [GOOD, {"area": 1.0, "rooms": 2.0}]},
        422,
        "rows[1].age",
        r"rows\[1\]: missing column 'age'; this model takes area, rooms, age",
    ),
    "unknown column": (
        {"model": "ledger", "rows": [GOOD | {"price": 1.0}]},
        422,
        "rows[0].price",
        "unknown column 'price'",
    ),
    "beyond float32": (rows("1e39"), 422, "rows[1].rooms", r"rows\[1\].rooms is 1e\+39"),
    "a whole number of 60 digits": (rows("9" * 60), 422, "rows[1].rooms", r"is 1e\+60"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused_with_its_reason(asked: httpx.Client, case: str) -> None:
    body, status, field, message = WRONG[case]
    assert_refused(ask(asked, body), status, field, message)


def assert_refused(answer: httpx.Response, status: int, field: str | None, message: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.get("field") == field
    assert re.search(message, error["message"]), error
    assert len(answer.content) < 1500


def test_a_long_name_is_quoted_and_not_sent_back(asked: httpx.Client) -> None:
    answer = ask(asked, {"model": "ledger", "rows": [GOOD | {"x" * 100_000: 1.0}]})
    assert_refused(answer, 422, f"rows[0].{'x' * 492}...", "unknown column")


def test_what_the_model_cannot_compute_is_an_error_for_its_caller_alone(
    running: ServerProcess,
) -> None:
    """rooms * age is beyond float32; a batch may hold others' rows."""
    huge = {"area": 1.0, "rooms": 1e38, "age": 1e38}

    def question(at: int) -> httpx.Response:
        with client(running) as http:
            return ask(http, {"model": "ledger", "rows": [GOOD if at % 4 else huge]})

    with ThreadPoolExecutor(16) as crowd:
        for at, answer in enumerate(crowd.map(question, range(64))):
            if at % 4:
                assert answer.json()["predictions"] == [274.5]
            else:
                assert answer.status_code == 500
                assert answer.json()["error"]["type"] == "inference_failed"


def test_time_that_does_not_suffice_is_told(asked: httpx.Client) -> None:
    body = json.dumps({"model": "ledger", "rows": as_rows(ledger.features(LIMIT))})
    answer = asked.post("/v1/regress", content=body, headers={"gatecast-timeout-ms": "1"})
    assert answer.status_code in (429, 504)
    wrong = asked.post("/v1/regress", content=body, headers={"gatecast-timeout-ms": "soon"})
    assert_refused(wrong, 400, "gatecast-timeout-ms", "'soon'")


def test_too_large_a_body_is_refused(running: ServerProcess) -> None:
    with serving(running.models, max_body_bytes=1000) as small, client(small) as http:
        assert ask(http, {"model": "ledger", "rows": [GOOD]}).status_code == 200
        answer = ask(http, {"model": "ledger", "rows": [GOOD] * 100})
        assert_refused(answer, 413, None, "the limit is 1000")


def test_requests_are_counted_under_the_model_and_the_route(running: ServerProcess) -> None:
    with serving(running.models) as fresh, client(fresh) as http:
        predictions(http, ledger.features(5))
        ask(http, {"model": "ledger", "rows": []})
        (said,) = http.get("/v2/models/ledger/stats").json()["model_stats"]
        lines = http.get("/metrics").text.splitlines()
    assert (said["inference_count"], said["inference_stats"]["success"]["count"]) == (5, 1)
    counted = [line for line in lines if "/v1/regress" in line and "_total" in line]
    assert any('"200"' in line and line.endswith(" 1.0") for line in counted), counted
    assert any('"422"' in line and line.endswith(" 1.0") for line in counted), counted


def test_models_say_their_task_and_forecasting_dialects_list_forecasters_alone(
    asked: httpx.Client,
) -> None:
    listed = {one["name"]: one for one in asked.get("/v1/models").json()["models"]}
    assert {name: one["task"] for name, one in listed.items()} == {
        "ledger": "regression",
        "tiny": "forecast",
    }
    assert (listed["ledger"]["features"], listed["ledger"]["target"]) == ([*NAMES], "price")
    assert asked.get("/v2/models").json() == {"models": [{"name": "tiny"}]}
    assert asked.get("/v1/timeseries/models").json() == ["tiny"]


def test_a_forecast_of_a_regression_is_refused_in_every_dialect(asked: httpx.Client) -> None:
    series = {"item_id": "a", "start": "2024-01-01", "target": [1.0, 2.0]}
    one = {
        "type": "univariate_time_series",
        "name": "a",
        "series": [1.0, 2.0],
        "frequency": "4h",
    }
    univariate = {"model": "ledger", "inputs": [one], "options": {"horizon": 1}}
    packed = {"model": "ledger", "y": [1.0, 2.0], "sizes": [2], "start": "2024-01-01"}
    gpt = {"y": [1.0, 2.0], "sizes": [2], "start_datetime": ["2024-01-01"]}
    for path, body in (
        ("/v1/forecast", {"model": "ledger", "series": [series]}),
        ("/v1/forecast/bulk", packed),
        ("/v1/timeseries/forecast", univariate),
        ("/v2/forecast", {"model": "ledger", "series": gpt, "h": 1, "freq": "4h"}),
    ):
        answer = asked.post(path, json=body)
        assert answer.status_code == 422, (path, answer.text)
        assert "'ledger' has the task regression, but a model of the task forecast" in answer.text


def test_the_documentation_shows_the_route_with_examples(asked: httpx.Client) -> None:
    described = asked.get("/openapi.json").json()["paths"]["/v1/regress"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["model", "rows"]
    (example,) = schema["properties"]["rows"]["examples"]
    assert all(isinstance(cell, float) for row in example for cell in row.values())
    answered = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert answered["$ref"].endswith("RegressAnswer")
    for method, path, status in (("GET", "/v1/regress", 405), ("POST", "/v1/regress/", 404)):
        assert asked.request(method, path).status_code == status
