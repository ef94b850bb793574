"""A forecast over a real socket: the right numbers, at the right times, for everybody."""

import json
import re
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from service.contract import artifact
from service.contract.placement import History, place
from service.runtime import Runtime
from tests.artifacts import edit
from tests.conftest import ARTIFACTS

LEVELS = [round(0.1 * k, 1) for k in range(1, 10)]
TARGET = [10.0, 12.5, None, 11.0, 9.5, 8.0, 10.5, 12.0]


def series(**changes: object) -> dict[str, Any]:
    return {
        "item_id": "a",
        "start": "2024-01-01T08:00:00",
        "freq": "4h",
        "target": TARGET,
    } | changes


def ask(http: httpx.Client, *many: dict[str, Any], **changes: object) -> dict[str, Any]:
    answer = http.post("/v1/forecast", json={"model": "tiny", "series": list(many)} | changes)
    assert answer.status_code == 200, answer.text
    parsed: dict[str, Any] = answer.json()
    return parsed


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    """The same model opened here, as the judge of what goes over the wire."""
    return Runtime(artifact.read(ARTIFACTS / "tiny/1"))


def test_the_answer_is_the_runtimes_own_to_the_last_bit(
    http: httpx.Client, runtime: Runtime
) -> None:
    answer = ask(http, series())
    (block,) = place([History(np.array(TARGET, float))], edit.forecaster(edit.TINY).signature)
    expected = runtime.run(*block.inputs)[0]  # [H, Q]
    (got,) = answer["series"]
    assert list(got["quantiles"]) == [str(level) for level in LEVELS]
    sent = np.array(list(got["quantiles"].values()), np.float32).T
    np.testing.assert_array_equal(sent, expected)
    np.testing.assert_array_equal(np.array(got["median"], np.float32), expected[:, 4])
    assert (answer["model"], answer["version"]) == ("tiny", 1)


def test_timestamps_continue_those_of_the_target(http: httpx.Client) -> None:
    (got,) = ask(http, series())["series"]
    seen = pd.date_range("2024-01-01T08:00", periods=len(TARGET) + 6, freq="4h")
    assert got["timestamps"] == [stamp.isoformat() for stamp in seen[-6:]]


def test_utc_is_answered_in_utc(http: httpx.Client) -> None:
    (got,) = ask(http, series(start="2024-01-01T08:00:00Z"))["series"]
    assert got["timestamps"][0] == "2024-01-02T16:00:00Z"


def test_horizon_and_levels_select_from_the_full_answer(http: httpx.Client) -> None:
    (full,) = ask(http, series())["series"]
    (part,) = ask(http, series(), horizon=2, quantile_levels=[0.9, 0.1])["series"]
    assert part["timestamps"] == full["timestamps"][:2]
    assert list(part["quantiles"]) == ["0.9", "0.1"]
    assert part["quantiles"]["0.9"] == full["quantiles"]["0.9"][:2]
    assert part["median"] == full["quantiles"]["0.5"][:2]


def test_freq_may_be_left_out_or_spelled_another_way(http: httpx.Client) -> None:
    expected = ask(http, series())
    bare = series()
    del bare["freq"]
    assert ask(http, bare) == expected
    assert ask(http, series(freq="240min")) == expected


def test_the_version_may_be_named(http: httpx.Client) -> None:
    assert ask(http, series(), model="tiny@1") == ask(http, series())


def test_many_series_are_answered_in_the_order_of_the_request(http: httpx.Client) -> None:
    many = [series(item_id=f"s{k}", target=TARGET[: 1 + k % 8] * (1 + k % 5)) for k in range(100)]
    answer = ask(http, *many)
    assert [got["item_id"] for got in answer["series"]] == [one["item_id"] for one in many]
    for k in (0, 7, 42, 99):
        assert answer["series"][k] == ask(http, many[k])["series"][0]


def test_a_single_observation_is_enough(http: httpx.Client) -> None:
    (got,) = ask(http, series(target=[None, 5.0]))["series"]
    assert all(np.isfinite(values).all() for values in got["quantiles"].values())


def test_models_are_listed_with_what_a_client_must_know(http: httpx.Client) -> None:
    listed = http.get("/v1/models").json()
    assert listed == {
        "models": [
            {
                "name": "tiny",
                "version": 1,
                "task": "forecast",
                "freq": "4h",
                "horizon": 6,
                "context_length": 24,
                "quantile_levels": LEVELS,
                "provider": "cpu",
                "aliases": {"live": 1},
                "shares": {},
            }
        ],
        "refused": [],
    }
    metadata = http.get("/v1/models/tiny").json()
    assert metadata == json.loads((ARTIFACTS / "tiny/1/metadata.json").read_text())


def test_health_metrics_and_docs_answer(http: httpx.Client) -> None:
    ask(http, series())
    assert http.get("/health/live").json() == {"status": "live"}
    ready = http.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["models"] == ["tiny"]
    metrics = http.get("/metrics").text
    assert 'gatecast_requests_total{route="/v1/forecast",status="200"}' in metrics
    assert 'gatecast_series_total{model="tiny"}' in metrics
    assert "gatecast_queue_seconds_bucket" in metrics
    page = http.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert all(http.get(address).status_code == 200 for address in loaded)  # none elsewhere
    paths = http.get("/openapi.json").json()["paths"]
    body = paths["/v1/forecast"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"model", "series", "horizon", "quantile_levels"}
