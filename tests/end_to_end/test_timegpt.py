"""Nixtla's own client against a real server: it works unchanged, or says in words why not."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pandas as pd
import polars as pl
import pytest
import zstandard
from nixtla import NixtlaClient
from nixtla.nixtla_client import ApiError

from tests.artifacts import edit, toy
from tests.end_to_end.server import ServerProcess, client, serving

HORIZON = 6  # of tiny
BODY: dict[str, Any] = {
    "series": {"y": [1.0, 2.0, 3.0], "sizes": [3], "start_datetime": ["2024-01-01"]},
    "model": "tiny",
    "h": 2,
    "freq": "4h",
}
# By level of the toy, which shows what it was given, see test_covariates.
FEATURES = pd.DataFrame(
    {
        "unique_id": "a",
        "ds": pd.date_range("2024-02-27", periods=4),
        "y": [1.0, 2.0, np.nan, 4.0],
        "promo": [100.0, 101.0, 102.0, 103.0],
        "price": [10.5, np.nan, 12.5, 13.5],
        "stock": [20.0, 21.0, 22.0, 23.0],
        "size": 7.5,
        "region": "south",
    }
)
AHEAD = pd.DataFrame(
    {
        "unique_id": "a",
        "ds": pd.date_range("2024-03-02", periods=3),
        "promo": [104.0, np.nan, 106.0],
    }
)
DAYS = [(day - pd.Timestamp(0)).days for day in pd.date_range("2024-02-27", periods=7)]
SHOWN = {
    "TimeGPT": [104, -1, 106],
    "TimeGPT-lo-80": [4, 4, 4],
    "TimeGPT-lo-60": [13.5, 13.5, 13.5],
    "TimeGPT-lo-40": [23, 23, 23],
    "TimeGPT-lo-20": [103, 103, 103],
    "TimeGPT-hi-20": [DAYS[3]] * 3,
    "TimeGPT-hi-40": DAYS[4:],
    "TimeGPT-hi-60": [7.5, 7.5, 7.5],
    "TimeGPT-hi-80": [2, 2, 2],
}


@pytest.fixture(scope="module")
def both_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of `tiny` (4h) and of the toy (D), which wants every kind of covariate."""
    models = tmp_path_factory.mktemp("models")
    edit.copy(models)
    toy.write(models)
    with serving(models, max_queue_rows=5000) as running:
        yield running


@pytest.fixture
def both_http(both_server: ServerProcess) -> Iterator[httpx.Client]:
    with client(both_server) as opened:
        yield opened


@pytest.fixture
def nixtla(both_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> NixtlaClient:
    """The client as a user makes it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(logging.getLogger("nixtla.nixtla_client"), "level", logging.ERROR)
    return NixtlaClient(base_url=both_server.url, api_key="any")


def panel(*lengths: int) -> pd.DataFrame:
    """Series of these lengths, every fifth value of which is missing."""
    random = np.random.default_rng(3)
    frames = []
    for at, length in enumerate(lengths):
        y = 10 * (at + 1) + random.normal(size=length).cumsum()
        y[4::5] = np.nan
        ds = pd.date_range(f"2024-01-{at % 28 + 1:02}", periods=length, freq="4h")
        frames.append(pd.DataFrame({"unique_id": f"s{at:04}", "ds": ds, "y": y}))
    return pd.concat(frames, ignore_index=True)


def native(http: httpx.Client, frame: pd.DataFrame, **asked: object) -> dict[str, Any]:
    """What `/v1/forecast` answers about the same frame, by item_id."""
    series = [
        {
            "item_id": name,
            "start": one["ds"].iloc[0].isoformat(),
            "target": [None if np.isnan(value) else value for value in one["y"]],
        }
        for name, one in frame.groupby("unique_id")
    ]
    answer = http.post("/v1/forecast", json={"model": "tiny", "series": series, **asked})
    assert answer.status_code == 200, answer.text
    return {one["item_id"]: one for one in answer.json()["series"]}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_client_gets_the_forecasts_of_the_native_dialect(
    nixtla: NixtlaClient, both_http: httpx.Client, library: str
) -> None:
    frame = panel(1, 5, 24, 90)
    given: Any = frame if library == "pandas" else pl.from_pandas(frame)
    answer = nixtla.forecast(given, h=HORIZON, freq="4h", level=[80])
    got = answer if library == "pandas" else answer.to_pandas()
    expected = native(both_http, frame)
    assert len(got) == 4 * HORIZON
    for name, one in got.groupby("unique_id"):
        quantiles = expected[str(name)]["quantiles"]
        times = [time.isoformat() for time in one["ds"]]
        assert times == expected[str(name)]["timestamps"]
        assert one["TimeGPT"].tolist() == quantiles["0.5"]
        assert one["TimeGPT-lo-80"].tolist() == quantiles["0.1"]
        assert one["TimeGPT-hi-80"].tolist() == quantiles["0.9"]


def test_quantiles_and_a_shorter_horizon(nixtla: NixtlaClient, both_http: httpx.Client) -> None:
    frame = panel(30, 7)
    got = nixtla.forecast(frame, h=2, freq="4h", quantiles=[0.1, 0.5, 0.9], model="tiny@1")
    expected = native(both_http, frame, horizon=2)
    for name, one in got.groupby("unique_id"):
        quantiles = expected[str(name)]["quantiles"]
        for column, level in (("10", "0.1"), ("50", "0.5"), ("90", "0.9")):
            assert one[f"TimeGPT-q-{column}"].tolist() == quantiles[level]


def test_partitions_are_answered_like_the_whole(nixtla: NixtlaClient) -> None:
    frame = panel(30, 7, 12)
    whole = nixtla.forecast(frame, h=3, freq="4h", level=[60])
    parts = nixtla.forecast(frame, h=3, freq="4h", level=[60], num_partitions=2)
    pd.testing.assert_frame_equal(whole, parts)


def test_thousands_of_series_travel_packed_in_zstd(
    nixtla: NixtlaClient, both_http: httpx.Client
) -> None:
    frame = panel(*[80] * 3000)
    got = nixtla.forecast(frame, h=HORIZON, freq="4h", level=[80])  # 2 MB of JSON
    assert len(got) == 3000 * HORIZON
    some = frame[frame["unique_id"].isin(["s0000", "s1234", "s2999"])]
    for name, expected in native(both_http, some).items():
        one = got[got["unique_id"] == name]
        assert one["TimeGPT"].tolist() == expected["median"]
        assert one["TimeGPT-hi-80"].tolist() == expected["quantiles"]["0.9"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_exogenous_columns_reach_the_model_by_their_order(
    nixtla: NixtlaClient, library: str
) -> None:
    given: tuple[Any, Any] = (FEATURES, AHEAD)
    if library == "polars":
        given = pl.from_pandas(FEATURES), pl.from_pandas(AHEAD)
    answer = nixtla.forecast(
        given[0],
        X_df=given[1],
        h=3,
        freq="D" if library == "pandas" else "1d",
        level=[80, 60, 40, 20],
        hist_exog_list=["price", "stock", "size"],
        categorical_exog_list=["region"],
    )
    got = answer if library == "pandas" else answer.to_pandas()
    assert {name: got[name].tolist() for name in SHOWN} == SHOWN


def test_a_forgotten_column_is_named(nixtla: NixtlaClient) -> None:
    with pytest.raises(ApiError) as caught:
        nixtla.forecast(FEATURES, X_df=AHEAD, h=3, freq="D", hist_exog_list=["price"])
    assert caught.value.status_code == 422
    assert "price, stock in hist_exog_list" in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"h": 7}, 422, "h is 7; model 'tiny' forecasts 1 to 6 steps"),
        ({"h": 2, "level": [95]}, 422, "level 95 is not one of model 'tiny', which has 0, 20, 40"),
        ({"h": 2, "model": "nobody"}, 404, "model 'nobody' is not served here; served: tiny, toy"),
        ({"h": 2, "finetune_steps": 5}, 422, "finetune_steps is not supported"),
        ({"h": 2, "multivariate": True}, 422, "multivariate is not supported"),
        ({"h": 2, "add_history": True}, 422, "no add_history in forecast()"),
        ({"h": 2, "model": "toy"}, 422, "freq is '4h', model 'toy' was trained on 'D'"),
    ],
)
def test_the_client_is_told_what_is_not_served(
    nixtla: NixtlaClient, asked: dict[str, Any], status: int, said: str
) -> None:
    with pytest.raises(ApiError) as caught:
        nixtla.forecast(panel(30), freq="4h", **asked)
    assert caught.value.status_code == status
    assert said in str(caught.value)


def test_a_freq_that_no_model_has_lists_those_there_are(nixtla: NixtlaClient) -> None:
    months = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=9, freq="MS"), "y": 1.0})
    with pytest.raises(ApiError, match=r"no model of freq 'MS' .* tiny \(4h\), toy \(D\)"):
        nixtla.forecast(months, h=2)


def test_any_key_is_accepted_and_the_models_are_listed(nixtla: NixtlaClient) -> None:
    assert nixtla.validate_api_key()
    assert nixtla.list_models() == ["tiny", "toy"]


def test_limits_of_a_model_are_told(both_http: httpx.Client) -> None:
    answer = both_http.get("/model_params", params={"model": "timegpt-1", "freq": "4h"})
    assert answer.json() == {"detail": {"input_size": 24, "horizon": 6}}
    answer = both_http.get("/model_params", params={"model": "tiny"})
    assert answer.status_code == 400
    assert answer.json()["field"] == "freq"


def test_an_answer_says_who_gave_it_and_counts_values(both_http: httpx.Client) -> None:
    answer = both_http.post("/v2/forecast", json=BODY)
    assert answer.headers["gatecast-model"] == "tiny@1"
    assert answer.headers["server-timing"]
    body = answer.json()
    assert set(body) == {
        "mean",
        "intervals",
        "weights_x",
        "feature_contributions",
        "input_tokens",
        "output_tokens",
        "finetune_tokens",
    }
    assert (len(body["mean"]), body["intervals"], body["weights_x"]) == (2, None, None)
    assert (body["input_tokens"], body["output_tokens"]) == (3, 2)


GOOD = json.dumps(BODY)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (GOOD[:-5].encode(), 400),
        (b"\xff\xfe\x00", 400),
        (GOOD.encode("utf-16"), 400),
        (GOOD.replace("tiny", "\xff").encode("latin-1"), 400),
        (GOOD.replace("2.0", "NaN").encode(), 400),
        (GOOD.replace("2.0", "Infinity").encode(), 400),
        (GOOD.replace("2.0", '"2"').encode(), 400),
        (GOOD.replace("[3]", "[4]").encode(), 400),
        (GOOD.replace("[3]", "[-3]").encode(), 400),
        (GOOD.replace("[3]", "[3, 0]").encode(), 400),
        (GOOD.replace("[1.0, 2.0, 3.0]", "[]").replace("[3]", "[]").encode(), 400),
        (GOOD.replace('"h": 2', '"h": 2.5').encode(), 400),
        (GOOD.replace("[1.0, 2.0, 3.0]", "[null, null, null]").encode(), 422),
        (GOOD.replace("2.0", "1e37").encode(), 422),
        (GOOD.replace("4h", "h").encode(), 422),
        (GOOD.replace('["2024-01-01"]', '["2261-12-31T20:00"]').encode(), 422),
        (GOOD.replace("tiny", "nobody").encode(), 404),
        (b"[" * 100_000, 400),
    ],
)
def test_a_bad_body_is_refused_in_one_sentence(
    both_http: httpx.Client, content: bytes, status: int
) -> None:
    answer = both_http.post("/v2/forecast", content=content)
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["detail"], str)


def test_a_zstd_bomb_is_not_unpacked(both_server: ServerProcess, both_http: httpx.Client) -> None:
    bomb = zstandard.ZstdCompressor().compress(b"[" + b" " * (1 << 28))
    before = both_server.memory()
    answer = both_http.post("/v2/forecast", content=bomb, headers={"content-encoding": "zstd"})
    assert answer.status_code == 413
    assert "split the request" in answer.json()["detail"]
    assert both_server.memory() < before + (128 << 20)


@pytest.mark.parametrize("cut", [4, 20, -1])
def test_a_broken_zstd_body_is_malformed(both_http: httpx.Client, cut: int) -> None:
    packed = zstandard.ZstdCompressor().compress(GOOD.encode())[:cut]
    answer = both_http.post("/v2/forecast", content=packed, headers={"content-encoding": "zstd"})
    assert answer.status_code == 400


def test_a_timeout_that_is_no_number_is_malformed(both_http: httpx.Client) -> None:
    answer = both_http.post("/v2/forecast", json=BODY, headers={"gatecast-timeout-ms": "soon"})
    assert (answer.status_code, answer.json()["field"]) == (400, "gatecast-timeout-ms")


def test_more_series_than_may_wait_are_too_large(both_http: httpx.Client) -> None:
    count = 5001
    series = {"y": [1.0] * count, "sizes": [1] * count}
    answer = both_http.post("/v2/forecast", content=orjson.dumps(BODY | {"series": series}))
    assert answer.status_code == 413
    assert f"{count} series" in answer.json()["detail"]


def test_other_methods_and_paths_below_are_refused_in_this_dialect(
    both_http: httpx.Client,
) -> None:
    wrong = both_http.get("/v2/forecast")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["detail"]
    assert both_http.post("/v2/forecast/nothing").json()["detail"]
    for path in ("/v2/anomaly_detection", "/v2/finetune", "/v2/forecast/async", "/v2/simulate"):
        answer = both_http.post(path, json={})
        assert (answer.status_code, path in answer.json()["detail"]) == (422, True)
