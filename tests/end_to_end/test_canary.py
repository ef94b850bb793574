"""Two versions at once: a canary for some items, a shadow that nobody sees."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.artifacts import edit, ledger
from tests.end_to_end.processes import eventually
from tests.end_to_end.server import client, serving
from tests.end_to_end.test_startup import counted
from tests.end_to_end.test_versions import answering, ask, promote

SHADOW = "gatecast_shadow_total"


@pytest.fixture
def http(tmp_path: Path) -> Iterator[httpx.Client]:
    """Of a server with three versions of `tiny`, the first of which answers."""
    for version, factor in ((1, 1.0), (2, 1.5), (3, 1.0)):
        edit.times(tmp_path, factor, version)
    ledger.write(tmp_path)
    with serving(tmp_path, watch_s=0) as server, client(server) as opened:
        assert promote(opened, 1).status_code == 200
        yield opened


def test_a_canary_gets_its_share_of_items_and_an_item_keeps_its_version(
    http: httpx.Client,
) -> None:
    assert promote(http, 2, alias="canary", share=25).json()["shares"] == {"canary": 25.0}
    items = [f"item-{number}" for number in range(400)]
    first = [answering(http, item_id=item) for item in items]
    assert [answering(http, item_id=item) for item in items] == first
    assert set(first) == {1, 2}
    assert 60 <= first.count(2) <= 140  # 100 expected, 4.6 standard deviations either side
    assert counted(http, 'gatecast_canary_share{model="tiny"}') == 25
    wider = promote(http, 2, alias="canary", share=60)
    assert wider.status_code == 200
    second = [answering(http, item_id=item) for item in items]
    assert all(now == 2 for now, before in zip(second, first, strict=True) if before == 2)
    assert second.count(2) > first.count(2)


def test_whoever_names_a_version_or_an_alias_gets_it(http: httpx.Client) -> None:
    assert promote(http, 2, alias="canary", share=100).status_code == 200
    assert answering(http) == 2
    assert answering(http, "tiny@1") == 1
    assert answering(http, "tiny@live") == 1
    assert answering(http, "tiny@canary") == 2
    assert promote(http, 3, alias="idea-7").status_code == 200
    assert answering(http, "tiny@idea-7") == 3
    assert ask(http, "tiny@nobody").status_code == 404
    for wrong in ("tiny@", "tiny@../1", "tiny@1.5", "@1", "tiny@-1", "tiny@1@2"):
        assert ask(http, wrong).status_code == 400, wrong
    assert promote(http, None, alias="canary").json()["shares"] == {}
    assert answering(http) == 1


def test_series_of_one_request_stay_together(http: httpx.Client) -> None:
    assert promote(http, 2, alias="canary", share=50).status_code == 200
    alone = {f"i{n}": answering(http, item_id=f"i{n}") for n in range(20)}
    assert set(alone.values()) == {1, 2}
    for first, version in alone.items():
        others = [name for name in alone if name != first]
        series = [
            {"item_id": name, "start": "2024-01-01", "target": [1.0, 2.0]}
            for name in (first, *others)
        ]
        answer = http.post("/v1/forecast", json={"model": "tiny", "series": series}).json()
        assert (answer["version"], len(answer["series"])) == (version, 20)


@pytest.mark.parametrize("share", [0, 100])
def test_every_dialect_meets_the_canary(http: httpx.Client, share: int) -> None:
    version = 2 if share else 1
    assert promote(http, 2, alias="canary", share=share).status_code == 200
    target = [1.0, 3.0, 2.0]
    asked: dict[str, object] = {
        "/v1/forecast/bulk": {
            "model": "tiny",
            "y": target,
            "sizes": [3],
            "start": "2024-01-01",
            "freq": "4h",
        },
        "/v1/timeseries/forecast": {
            "model": "tiny",
            "inputs": [
                {
                    "type": "univariate_time_series",
                    "name": "a",
                    "series": target,
                    "frequency": "4h",
                    "start_timestamp": "2024-01-01T00:00:00",
                }
            ],
            "options": {"horizon": 6},
        },
        "/v2/forecast": {
            "model": "tiny",
            "h": 6,
            "freq": "4h",
            "series": {"y": target, "sizes": [3]},
        },
        "/v2/models/tiny/infer": {
            "inputs": [
                {"name": "context", "datatype": "FP32", "shape": [1, 3], "data": target},
                {"name": "lengths", "datatype": "INT64", "shape": [1], "data": [3]},
            ]
        },
    }
    for path, body in asked.items():
        answer = http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["gatecast-model"] == f"tiny@{version}", path


def test_a_shadow_is_compared_and_never_answers(http: httpx.Client) -> None:
    before = ask(http).content
    assert promote(http, 2, alias="shadow", share=100).status_code == 200
    compared = f'{SHADOW}{{model="tiny",version="2",outcome="compared"}}'
    for number in range(1, 4):
        assert ask(http).content == before
        assert eventually(lambda number=number: counted(http, compared) == number)  # type: ignore[misc]
    of = '{model="tiny",version="2"}'
    found = counted(http, f"gatecast_shadow_difference_sum{of}") / 3
    quantiles = np.array(list(ask(http).json()["series"][0]["quantiles"].values()))
    unit = np.abs(np.array([1.0, 3.0, 2.0]) - 2.0).mean()
    np.testing.assert_allclose(found, 0.5 * np.abs(quantiles).mean() / unit, rtol=1e-5)
    assert counted(http, 'gatecast_series_total{model="tiny"}') == 5  # and none of the shadow's


def test_a_shadow_with_the_same_answers_differs_by_nothing(http: httpx.Client) -> None:
    assert promote(http, 3, alias="shadow", share=100).status_code == 200
    asked = {
        "inputs": [
            {"name": "context", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 3.0, 2.0]},
            {"name": "lengths", "datatype": "INT64", "shape": [1], "data": [3]},
        ]
    }
    assert http.post("/v2/models/tiny/infer", json=asked).status_code == 200
    zero = 'gatecast_shadow_difference_bucket{model="tiny",version="3",le="0.0"}'
    assert eventually(lambda: counted(http, zero) == 1)


def test_a_shadow_gets_its_share(http: httpx.Client) -> None:
    assert promote(http, 3, alias="shadow", share=30).status_code == 200
    for _ in range(20):
        assert ask(http).status_code == 200
    outcomes = [
        f'{SHADOW}{{model="tiny",version="3",outcome="{o}"}}' for o in ("compared", "dropped")
    ]
    assert eventually(lambda: sum(counted(http, name) for name in outcomes) == 6)
    assert ask(http, "tiny@3").status_code == 200  # asked by name: not compared with itself
    assert sum(counted(http, name) for name in outcomes) == 6
