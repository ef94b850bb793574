"""Forecasts watched in life by real servers of two workers, over both databases."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.artifacts import edit
from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import eventually
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import counted
from tests.end_to_end.test_versions import Callers
from tests.service.quality.postgres import Postgres, running

HISTORY = [1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 7.0, 8.0]
SCALE = (6.0 + 5.0) / 2  # |7 - 1| and |8 - 3|, a season of six steps apart
RECORDED = 'gatecast_quality_recorded_total{model="tiny",version="1"}'

DONE = 'gatecast_quality_rollbacks_total{model="tiny",outcome="done"}'


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as started:
        yield started


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    if request.param == "sqlite":
        url = str(tmp_path_factory.mktemp("quality") / "quality.db")
    else:
        url = request.getfixturevalue("postgres").url
    with serving(ARTIFACTS, "--workers", "2", quality=url, quality_watch_s=0.2) as started:
        yield started


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with client(server) as opened:
        yield opened


def forecast(http: httpx.Client, item_id: str, model: str = "tiny") -> dict[str, Any]:
    series = {"item_id": item_id, "start": "2024-01-01", "target": HISTORY}
    answer = http.post("/v1/forecast", json={"model": model, "series": [series]})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["series"][0]
    return found


def post(http: httpx.Client, *actuals: dict[str, Any]) -> httpx.Response:
    return http.post("/v1/actuals", json={"actuals": list(actuals)})


def quality(http: httpx.Client, model: str = "tiny") -> list[dict[str, Any]]:
    answer = http.get(f"/v1/models/{model}/quality")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["versions"]
    return found


def test_what_workers_record_and_clients_say_becomes_the_scores_of_all(
    server: ServerProcess, http: httpx.Client
) -> None:
    answers = []
    for number in range(8):  # a connection each: in turn to the workers
        with client(server) as one:
            answers.append(forecast(one, f"item-{number}"))
    assert eventually(lambda: counted(http, RECORDED) >= 8), server.log
    offsets = [0.5, -1.0, 1.5, 0.0, 2.0, -2.5]
    for number, answer in enumerate(answers):
        pairs = zip(answer["timestamps"], answer["median"], offsets, strict=True)
        with client(server) as one:
            said = post(
                one,
                *[
                    {"item_id": f"item-{number}", "timestamp": moment, "value": median + offset}
                    for moment, median, offset in pairs
                ],
            )
        assert said.json() == {"actuals": 6, "met": 6}
    (version,) = quality(http)
    assert (version["version"], version["aliases"]) == (1, ["live"])
    assert version["all"] == version["recent"]
    found = version["all"]
    assert (found["points"], found["forecasts"]) == (48, 8)
    assert found["mase"] == pytest.approx(7.5 / 6 / SCALE, rel=1e-6)
    held = [
        low <= median + offset <= high
        for answer in answers
        for low, median, high, offset in zip(
            answer["quantiles"]["0.1"],
            answer["median"],
            answer["quantiles"]["0.9"],
            offsets,
            strict=True,
        )
    ]
    assert found["coverage"]["0.8"] == pytest.approx(sum(held) / 48)
    assert (found["outside"], found["scale_ratio"]) == (None, None)  # an artifact of before
    gauge = 'gatecast_quality_mase{model="tiny",version="1"}'
    assert eventually(lambda: counted(http, gauge) == pytest.approx(found["mase"]))
    assert counted(http, 'gatecast_quality_coverage{model="tiny",version="1",width="0.8"}') > 0
    assert counted(http, "gatecast_quality_down") == 0


def test_every_dialect_that_names_items_is_recorded_and_no_other(
    server: ServerProcess, http: httpx.Client
) -> None:
    bulk = {"model": "tiny", "y": HISTORY * 2, "sizes": [8, 8], "start": "2024-01-01"}
    named = {"item_ids": ["bulk-0", "bulk-1"]}
    inputs = {
        "type": "univariate_time_series",
        "name": "kserve",
        "series": HISTORY,
        "frequency": "4h",
        "start_timestamp": "2024-01-01",
    }
    unnamed = {k: v for k, v in inputs.items() if k != "start_timestamp"} | {"name": "nobody"}
    few = {"model": "tiny", "options": {"horizon": 2}}
    for path, body in (
        ("/v1/forecast/bulk", bulk),
        ("/v1/forecast/bulk", bulk | named),
        ("/v1/timeseries/forecast", {**few, "inputs": [unnamed]}),
        ("/v1/timeseries/forecast", {**few, "inputs": [inputs]}),
    ):
        answer = http.post(path, json=body)
        assert answer.status_code == 200, answer.text
    moment = forecast(http, "native")["timestamps"][5]  # also where two steps were asked
    expected = {"native": 1, "kserve": 1, "bulk-0": 1, "bulk-1": 1, "nobody": 0, "0": 0}
    for item_id, met in expected.items():  # one connection: what it asked before is written
        answer = post(http, {"item_id": item_id, "timestamp": moment, "value": 1.0})
        assert answer.json()["met"] == met, item_id


@pytest.mark.parametrize(
    ("change", "status", "field", "words"),
    [
        ({"value": "7"}, 400, "actuals[1].value", "expected float"),
        ({"value": None}, 400, "actuals[1].value", "expected float"),
        ({"value": 1e37}, 422, "actuals[1].value", "1e+36"),
        ({"item_id": 7}, 400, "actuals[1].item_id", "expected str"),
        ({"item_id": "a\0"}, 422, "actuals[1].item_id", "NUL"),
        ({"item_id": "a" * 1025}, 422, "actuals[1].item_id", "1024 bytes"),
        ({"timestamp": "yesterday"}, 422, "actuals[1].timestamp", "ISO 8601"),
        ({"timestamp": "2024-01-01T00:00+02:00"}, 422, "actuals[1].timestamp", "UTC"),
        ({"model": "tiny@1"}, 400, "actuals[1].model", "no version"),
        ({"step": 1}, 400, "actuals[1]", "step"),
    ],
)
def test_a_bad_actual_is_refused_by_its_place_and_nothing_is_written(
    http: httpx.Client, change: dict[str, Any], status: int, field: str, words: str
) -> None:
    good = {"item_id": "bad", "timestamp": forecast(http, "bad")["timestamps"][0], "value": 1.0}
    before = counted(http, "gatecast_actuals_total")
    answer = post(http, good, good | change)
    error = answer.json()["error"]
    assert (answer.status_code, error.get("field")) == (status, field), answer.text
    assert words in error["message"]
    assert counted(http, "gatecast_actuals_total") == before


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "not JSON"),
        ('{"actuals": []}', 422, "actuals is empty"),
        ('{"item_id": "a", "timestamp": "2024-01-01"}', 400, "value is missing"),
        ('{"actuals": [], "item_id": "a"}', 400, "send either"),
        ('{"item_id": "a", "timestamp": "2024-01-01", "value": NaN}', 400, "not JSON"),
        ('{"item_id": "a", "timestamp": "2024-01-01", "value": 1e999}', 400, "value"),
    ],
)
def test_a_body_of_another_form_is_refused(
    http: httpx.Client, body: str, status: int, words: str
) -> None:
    answer = http.post("/v1/actuals", content=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_too_many_actuals_are_refused_and_as_many_as_allowed_are_not(http: httpx.Client) -> None:
    one = {"item_id": "many", "timestamp": "2024-01-01", "value": 1.0}
    answer = post(http, *[one] * 5001)
    assert (answer.status_code, answer.json()["error"]["field"]) == (413, "actuals")
    assert post(http, *[one] * 5000).json() == {"actuals": 5000, "met": 0}


def test_a_service_without_a_database_says_how_to_give_it_one(tmp_path: Path) -> None:
    with serving(ARTIFACTS) as server, client(server) as http:
        for answer in (post(http), http.get("/v1/models/tiny/quality")):
            assert answer.status_code == 404
            assert "--quality" in answer.json()["error"]["message"]


def test_the_quality_of_an_unknown_model_is_not_found(http: httpx.Client) -> None:
    answer = http.get("/v1/models/nobody/quality")
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "model")


@pytest.mark.timeout(120)
def test_no_forecast_fails_while_the_database_is_killed_and_it_goes_on(postgres: Postgres) -> None:
    with (
        serving(ARTIFACTS, "--workers", "2", quality=postgres.url, quality_watch_s=0.2) as server,
        client(server) as http,
    ):
        callers = Callers(server)
        with callers.asking():
            forecast(http, "before")
            assert eventually(lambda: counted(http, RECORDED) > 0), server.log
            postgres.kill()
            try:
                assert eventually(lambda: counted(http, "gatecast_quality_down") == 1), server.log
                answer = post(http, {"item_id": "x", "timestamp": "2024-01-01", "value": 1.0})
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) >= 1
                assert http.get("/v1/models/tiny/quality").status_code == 503
                moment = forecast(http, "meanwhile")["timestamps"][0]
                asked = callers.count
                assert eventually(lambda: callers.count > asked + 50)
            finally:
                postgres.start()
            actual = {"item_id": "meanwhile", "timestamp": moment, "value": 1.0}
            assert eventually(lambda: _met(http, actual) == 1), server.log
            assert eventually(lambda: counted(http, "gatecast_quality_down") == 0)
        assert callers.failures == []
        assert server.log.count("is down") <= 2 * 2  # once for each worker, perhaps twice
        server.terminate()
        assert server.wait() == 0


def _met(http: httpx.Client, actual: dict[str, Any]) -> int | None:
    answer = post(http, actual)
    assert answer.status_code in (200, 503), answer.text
    met: int | None = answer.json().get("met")
    return met


def test_a_version_that_got_bad_is_rolled_back_once_and_its_shadow_was_judged_too(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    edit.times(models, 1.0, version=1)
    edit.times(models, 100.0, version=2)
    settings: dict[str, Any] = {
        "quality_rollback_mase": 5,
        "quality_rollback_points": 6,
        "quality_watch_s": 0.1,
    }
    flags = ("--workers", "2", "--quality", str(tmp_path / "q.db"))
    with (
        serving(models, *flags, watch_s=0.1, **settings) as server,
        client(server) as http,
    ):
        for version in (1, 2):  # so that there is one before
            assert http.post("/v1/models/tiny/promote", json={"version": version}).is_success
        shadow = {"version": 1, "alias": "shadow", "share": 100}
        assert http.post("/v1/models/tiny/promote", json=shadow).is_success
        assert eventually(lambda: has_shadow(server))
        moments = forecast(http, "a")["timestamps"]
        said = [{"item_id": "a", "timestamp": moment, "value": 5.0} for moment in moments]
        assert eventually(lambda: post(http, *said[:5]).json()["met"] == 10)
        assert live(http) == 2  # too few points so far
        post(http, *said)
        assert eventually(lambda: live(http) == 1), server.log
        assert eventually(lambda: counted(http, DONE) == 1)
        assert "rolling back to 1" in server.log
        scores = {found["version"]: found["all"] for found in quality(http)}
        assert scores[1]["points"] == scores[2]["points"] == 6
        assert scores[2]["mase"] > 5 > scores[1]["mase"]
        assert http.post("/v1/models/tiny/promote", json={"version": 2}).is_success
        points = 'gatecast_quality_forecasts{model="tiny",version="2"}'
        assert counted(http, points) >= 1
        forecast(http, "b")
        assert eventually(lambda: counted(http, points) >= 2)  # it has looked again
        assert live(http) == 2  # who promotes it again has decided otherwise
        assert counted(http, DONE) == 1


def has_shadow(server: ServerProcess) -> bool:
    """In every worker: a connection each, in turn."""
    found = []
    for _ in range(4):
        with client(server) as http:
            found.append("shadow" in http.get("/v1/models").json()["models"][0]["aliases"])
    return all(found)


def live(http: httpx.Client) -> int:
    (model,) = http.get("/v1/models").json()["models"]
    version: int = model["version"]
    return version
