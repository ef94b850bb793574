"""Packed JSON over a real socket: the same bits as single requests, however series are packed."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.bulk.body import BulkBody
from service.api.bulk.packed import CHUNK
from tests.artifacts import toy
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_covariates import GOOD, SHOWN

LIVE = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
VALUES = st.none() | st.floats(-1e6, 1e6, width=32)
TARGETS = st.lists(VALUES, min_size=1, max_size=40).filter(
    lambda target: any(value is not None for value in target[-24:])
)


def packed(targets: list[list[Any]], **changes: object) -> dict[str, Any]:
    """Series of the model `tiny` with these values."""
    body = {
        "model": "tiny",
        "y": [value for target in targets for value in target],
        "sizes": [len(target) for target in targets],
        "start": "2024-01-01",
        "item_ids": [f"s{at}" for at in range(len(targets))],
    }
    return body | changes


def ask(http: httpx.Client, body: object) -> dict[str, Any]:
    answer = http.post("/v1/forecast/bulk", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def single(http: httpx.Client, target: list[Any], **changes: object) -> dict[str, Any]:
    """The answer of the native dialect about one series."""
    series = {"item_id": "s", "start": "2024-01-01", "target": target}
    answer = http.post("/v1/forecast", json={"model": "tiny", "series": [series]} | changes)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["series"]
    return dict(found)


def unpacked(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """For each series its quantiles by level and its median."""
    steps = answer["horizon"]
    return [
        {
            "quantiles": {k: v[at : at + steps] for k, v in answer["quantiles"].items()},
            "median": answer["median"][at : at + steps],
        }
        for at in range(0, steps * len(answer["item_ids"]), steps)
    ]


@LIVE
@given(targets=st.lists(TARGETS, min_size=1, max_size=5))
def test_series_get_the_bits_that_they_get_alone(
    http: httpx.Client, targets: list[list[Any]]
) -> None:
    together = ask(http, packed(targets))
    alone = [single(http, target) for target in targets]
    assert unpacked(together) == [{k: one[k] for k in ("quantiles", "median")} for one in alone]
    assert together["start"] == [one["timestamps"][0] for one in alone]
    assert together["item_ids"] == [f"s{at}" for at in range(len(targets))]


@LIVE
@given(targets=st.lists(TARGETS, min_size=2, max_size=6), data=st.data())
def test_any_split_into_bodies_gives_the_same(
    http: httpx.Client, targets: list[list[Any]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(targets) - 1))
    parts = [unpacked(ask(http, packed(some))) for some in (targets[:cut], targets[cut:])]
    assert unpacked(ask(http, packed(targets))) == parts[0] + parts[1]


def test_more_series_than_a_chunk_are_answered_in_their_order(http: httpx.Client) -> None:
    random = np.random.default_rng(3)
    targets = [
        random.normal(50, 9, size).tolist() for size in random.integers(1, 40, 3 * CHUNK + 7)
    ]
    answer = ask(http, packed(targets))
    found = unpacked(answer)
    assert len(found) == len(targets)
    for at in (0, CHUNK - 1, CHUNK, 2 * CHUNK, 3 * CHUNK + 6):
        assert found[at]["median"] == single(http, targets[at])["median"]
    long = [at for at, target in enumerate(targets) if len(target) > 24]
    assert answer["shortened"] == long


def test_horizon_and_levels_are_selected(http: httpx.Client) -> None:
    target = [1.0, 2.0, 4.0]
    chosen: dict[str, Any] = {"horizon": 2, "quantile_levels": [0.9, 0.1]}
    answer = ask(http, packed([target, target[1:]], **chosen))
    assert (answer["horizon"], answer["quantile_levels"]) == (2, [0.9, 0.1])
    assert list(answer["quantiles"]) == ["0.9", "0.1"]
    assert unpacked(answer)[0]["quantiles"] == single(http, target, **chosen)["quantiles"]


def test_each_series_may_have_its_own_start_and_none_needs_a_name(http: httpx.Client) -> None:
    body = packed([[1.0, 2.0], [1.0]], start=["2024-01-01T00:00Z", "2024-05-05T04:00:00Z"])
    del body["item_ids"]
    answer = ask(http, body | {"freq": None, "horizon": None})
    assert answer["item_ids"] == ["0", "1"]
    assert answer["start"] == ["2024-01-01T08:00:00Z", "2024-05-05T08:00:00Z"]


def test_the_answer_names_its_model_and_its_time(http: httpx.Client) -> None:
    answer = http.post("/v1/forecast/bulk", content=json.dumps(packed([[1.0]])))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["gatecast-model"] == "tiny@1"
    assert "compute;dur=" in answer.headers["server-timing"]


@pytest.mark.parametrize("media", [None, "application/json; charset=utf-8", "text/plain"])
def test_json_needs_no_content_type(http: httpx.Client, media: str | None) -> None:
    headers = {} if media is None else {"content-type": media}
    content = json.dumps(packed([[1.0]]))
    assert http.post("/v1/forecast/bulk", content=content, headers=headers).status_code == 200


def test_covariates_are_packed_like_the_target(tmp_path: Any) -> None:
    toy.write(tmp_path)
    second = {"past_covariates": {"price": [1.5], "stock": [None]}, "promo": [7, 8, 9, 10]}
    past, known = GOOD["past_covariates"], GOOD["known_covariates"]
    body = {
        "model": "toy",
        "y": [*GOOD["target"], 6.0],
        "sizes": [4, 1],
        "start": [GOOD["start"], "2024-02-27"],
        "past_covariates": {"stock": [*past["stock"], None], "price": [*past["price"], 1.5]},
        "known_covariates": {"promo": [*known["promo"], *second["promo"]]},
        "static_features": {"region": ["south", "nowhere"], "size": [7.5, None]},
    }
    with serving(tmp_path) as server, client(server) as http:
        one, other = unpacked(ask(http, body))
    assert one["quantiles"] == SHOWN
    shown = {level: values[0] for level, values in other["quantiles"].items()}
    assert (shown["0.1"], shown["0.2"], shown["0.3"], shown["0.4"]) == (6, 1.5, -1, 7)
    assert other["quantiles"]["0.5"] == [8, 9, 10]
    assert (shown["0.8"], shown["0.9"]) == (-1, 0)


def test_single_requests_are_answered_while_a_bulk_is(
    http: httpx.Client, server: ServerProcess
) -> None:
    random = np.random.default_rng(5)
    body = packed(random.normal(50, 9, (20_000, 24)).round(2).tolist())
    with client(server) as other, ThreadPoolExecutor(1) as pool:
        bulk = pool.submit(ask, other, body)
        answered = 0
        while not bulk.done():
            single(http, [1.0, 2.0])
            answered += 1
        assert len(bulk.result()["item_ids"]) == 20_000
    assert answered >= 10


def test_whoever_hangs_up_leaves_the_service_as_it_was(server: ServerProcess) -> None:
    content = json.dumps(packed([[1.0] * 24] * 20_000)).encode()
    for part in (len(content) // 2, len(content)):
        address = (str(httpx.URL(server.url).host), int(httpx.URL(server.url).port or 0))
        with socket.create_connection(address) as connection:
            head = f"POST /v1/forecast/bulk HTTP/1.1\r\nhost: a\r\ncontent-length: {len(content)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + content[:part])
    with client(server) as http:
        assert single(http, [1.0, 2.0])["median"]


def test_the_page_of_the_api_knows_every_form(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()["paths"]["/v1/forecast/bulk"]["post"]
    tables = {"application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"}
    forms = tables | {"application/json"}
    assert set(described["requestBody"]["content"]) == forms
    assert set(described["responses"]["200"]["content"]) == forms
    fields = described["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(fields) == set(BulkBody.model_fields)
    assert {one["name"] for one in described["parameters"]} >= {"model", "horizon"}
