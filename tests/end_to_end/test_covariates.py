"""Covariates over a real socket, to a model whose answer shows each value that it was given."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.artifacts import toy
from tests.end_to_end.server import ServerProcess, client, serving

GOOD: dict[str, Any] = {
    "item_id": "a",
    "start": "2024-02-27",
    "target": [1, 2, None, 4],
    "past_covariates": {"stock": [20, 21, 22, 23], "price": [10.5, None, 12.5, 13.5]},
    "known_covariates": {"promo": [100, 101, 102, 103, 104, None, 106]},
    "static_features": {"region": "south", "size": 7.5},
}
DAYS = [(day - pd.Timestamp(0)).days for day in pd.date_range("2024-02-27", periods=7)]
# By level: target, price, stock, promo, promo ahead, day, days ahead, size and region.
SHOWN: dict[str, Any] = {
    "0.1": [4, 4, 4],
    "0.2": [13.5, 13.5, 13.5],
    "0.3": [23, 23, 23],
    "0.4": [103, 103, 103],
    "0.5": [104, -1, 106],
    "0.6": [DAYS[3]] * 3,
    "0.7": DAYS[4:],
    "0.8": [7.5, 7.5, 7.5],
    "0.9": [2, 2, 2],
}


@pytest.fixture(scope="module")
def covariate_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of the toy, which wants everything."""
    models = tmp_path_factory.mktemp("models")
    toy.write(models)
    with serving(models) as running:
        yield running


@pytest.fixture
def toy_http(covariate_server: ServerProcess) -> Iterator[httpx.Client]:
    """A client of the toy's server."""
    with client(covariate_server) as opened:
        yield opened


def ask(http: httpx.Client, body: object) -> httpx.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    return http.post("/v1/forecast", content=content)


def request(*series: dict[str, Any], **changes: object) -> dict[str, object]:
    return {"model": "toy", "series": [*series]} | changes


def test_every_value_of_the_request_arrives_at_its_place(toy_http: httpx.Client) -> None:
    answer = ask(toy_http, request(GOOD))
    assert answer.status_code == 200, answer.text
    (got,) = answer.json()["series"]
    assert got["quantiles"] == SHOWN
    assert got["timestamps"] == [f"2024-03-0{day}T00:00:00" for day in (2, 3, 4)]


def test_the_promo_of_the_whole_horizon_is_sent_also_for_a_part_of_it(
    toy_http: httpx.Client,
) -> None:
    (got,) = ask(toy_http, request(GOOD, horizon=2, quantile_levels=[0.7])).json()["series"]
    assert got["quantiles"] == {"0.7": SHOWN["0.7"][:2]}


def test_a_text_that_training_never_saw_is_served_as_unknown(toy_http: httpx.Client) -> None:
    for region in ("west", "", None):
        unknown = GOOD | {"static_features": {"region": region, "size": None}}
        (got,) = ask(toy_http, request(unknown)).json()["series"]
        assert got["quantiles"] == SHOWN | {"0.8": [-1, -1, -1], "0.9": [0, 0, 0]}


def numbered(at: int) -> dict[str, Any]:
    """A series of which every value is its number."""
    steps = 1 + at % 30
    return {
        "item_id": str(at),
        "start": "2000-01-01",
        "target": [at] * steps,
        "past_covariates": {"price": [at] * steps, "stock": [at] * steps},
        "known_covariates": {"promo": [at] * (steps + 3)},
        "static_features": {"size": at, "region": "north"},
    }


def test_nobody_gets_a_neighbours_covariates_under_load(toy_http: httpx.Client) -> None:
    def bulk(first: int) -> httpx.Response:
        return ask(toy_http, request(*(numbered(at) for at in range(first, first + 40))))

    with ThreadPoolExecutor(8) as threads:
        for answer in threads.map(bulk, range(0, 1200, 40)):
            assert answer.status_code == 200, answer.text
            for got in answer.json()["series"]:
                own = [float(got["item_id"])] * 3
                for level in ("0.1", "0.2", "0.3", "0.4", "0.5", "0.8"):
                    assert got["quantiles"][level] == own


P, K, S = "past_covariates", "known_covariates", "static_features"
RAW = json.dumps(request(GOOD))
WRONG: dict[str, tuple[Any, int, str, str]] = {
    "past a list": (GOOD | {P: [1, 2]}, 400, f".{P}", "object"),
    "past a null": (GOOD | {P: None}, 400, f".{P}", "object"),
    "past of texts": (GOOD | {P: {"price": ["1"]}}, 400, f".{P}.price[0]", "number.*'1'"),
    "past a number": (GOOD | {P: {"price": 3}}, 400, f".{P}.price", "array"),
    "past a bool": (GOOD | {P: {"price": [True]}}, 400, f".{P}.price[0]", "number"),
    "NaN": (RAW.replace("10.5", "NaN"), 400, f".{P}.price[0]", "finite.*null for a missing"),
    "1e999": (RAW.replace("101", "1e999"), 400, f".{K}.promo[1]", "finite.*null for a missing"),
    "feature a list": (
        GOOD | {S: {"size": [1]}},
        400,
        f".{S}.size",
        r"number, a text or null, got",
    ),
    "feature a bool": (GOOD | {S: {"size": True}}, 400, f".{S}.size", "text or null, got True"),
    "feature NaN": (RAW.replace("7.5", "NaN"), 400, f".{S}.size", "finite number, a text or null"),
    "no covariates": (
        {k: v for k, v in GOOD.items() if k not in (P, K, S)},
        422,
        f".{P}",
        "lacks 'price', 'stock'",
    ),
    "no known": (GOOD | {K: {}}, 422, f".{K}", "'a': known_covariates lacks 'promo'; send .* 7, 4"),
    "promo without horizon": (
        GOOD | {K: {"promo": [1, 2, 3, 4]}},
        422,
        f".{K}.promo",
        "4 values, expected 7",
    ),
    "unknown name": (
        GOOD | {S: {"region": "x", "size": 1, "age": 2}},
        422,
        f".{S}.age",
        "knows 'size', 'region'",
    ),
    "too large": (RAW.replace("106", "2e36"), 422, f".{K}.promo[6]", r"1e\+36"),
    "a number for a text": (
        GOOD | {S: {"region": 3, "size": 1}},
        422,
        f".{S}.region",
        "expected a text or null",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_covariate_is_refused_with_its_place(toy_http: httpx.Client, case: str) -> None:
    series, status, field, message = WRONG[case]
    answer = ask(
        toy_http, series if isinstance(series, str) else request(GOOD | {"item_id": "b"}, series)
    )
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["field"] in (f"series[0]{field}", f"series[1]{field}")
    assert re.search(message, error["message"]), error["message"]
    assert ask(toy_http, request(GOOD)).status_code == 200


def test_a_model_without_covariates_refuses_them(http: httpx.Client) -> None:
    sent = GOOD | {"freq": "4h"}
    error = ask(http, request(sent, model="tiny")).json()["error"]
    assert error["type"] == "unservable"
    assert error["field"] == f"series[0].{P}.stock"
    assert "it takes none, leave it out" in error["message"]


LONG = "x" * 1_000_000


@pytest.mark.parametrize("field", [P, K, S])
def test_a_long_name_or_text_is_quoted_and_not_sent_back(
    toy_http: httpx.Client, field: str
) -> None:
    wrongs: list[dict[str, Any]] = [{LONG: []}, {LONG: 1}, {"size": LONG, "region": None}]
    for wrong in wrongs:
        answer = ask(toy_http, request(GOOD | {field: wrong}))
        assert answer.status_code in (400, 422)
        assert len(answer.content) < 1500


def test_a_million_names_are_one_error(toy_http: httpx.Client) -> None:
    many = {str(k): None for k in range(1_000_000)}
    answer = ask(toy_http, request(GOOD | {S: many}))
    assert answer.status_code == 422
    assert "and 999995 more" in answer.json()["error"]["message"]


def test_the_model_says_which_covariates_it_wants(toy_http: httpx.Client) -> None:
    signature = toy_http.get("/v1/models/toy").json()["signature"]
    assert signature["calendar"] is True
    assert signature["covariates"] == {
        "past": ["price", "stock"],
        "known": ["promo"],
        "static": ["size"],
        "categories": [{"name": "region", "values": ["north", "south"]}],
    }


def one_of(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the component of the document that it names."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def test_the_page_of_the_api_shows_each_field_with_an_example(toy_http: httpx.Client) -> None:
    document = toy_http.get("/openapi.json").json()
    asked = document["paths"]["/v1/forecast"]["post"]["requestBody"]["content"]
    body = one_of(document, asked["application/json"]["schema"])
    fields = one_of(document, body["properties"]["series"]["items"])["properties"]
    for name in (P, K, S):
        assert fields[name]["description"]
        assert fields[name]["examples"]
