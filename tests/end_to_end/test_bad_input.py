"""Whatever a client sends wrong gets a status, a type and the field; nothing hangs or leaks."""

import json
import re
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import ServerProcess, client, serving

GOOD: dict[str, Any] = {"item_id": "a", "start": "2024-01-01", "freq": "4h", "target": [1.0, 2.0]}


def ask(http: httpx.Client, body: object) -> httpx.Response:
    content = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return http.post("/v1/forecast", content=content)


def request(**changes: object) -> dict[str, object]:
    return {"model": "tiny", "series": [GOOD]} | changes


def one_series(**changes: object) -> dict[str, object]:
    return request(series=[GOOD | changes])


def without(field: str) -> dict[str, object]:
    return request(series=[{k: v for k, v in GOOD.items() if k != field}])


def test_the_request_that_all_others_break_is_answered(http: httpx.Client) -> None:
    assert ask(http, request()).status_code == 200


RAW = '{"model": "tiny", "series": [{"item_id": "a", "start": "2024-01-01", "target": %s}]}'
WRONG: dict[str, tuple[object, int, str | None, str]] = {
    # not the documented request: 400
    "no body": (b"", 400, None, "not JSON"),
    "not JSON": (b"context=1,2,3", 400, None, "not JSON"),
    "truncated JSON": (b'{"model": "tiny", "series": [', 400, None, "not JSON"),
    "invalid UTF-8": (b'{"model": "\xff\xfe"}', 400, None, "not JSON"),
    "deep nesting": (b"[" * 100_000, 400, None, "nested 100000 deep"),
    "nested target": (RAW % ("[" * 5000 + "]" * 5000), 400, None, "."),
    "a list": ([], 400, None, "the body"),
    "a null": ("null", 400, None, "the body"),
    "no model": ({"series": [GOOD]}, 400, "model", "missing"),
    "no series": ({"model": "tiny"}, 400, "series", "missing"),
    "model a number": (request(model=5), 400, "model", "string"),
    "model empty": (request(model=""), 400, "model", "name, name@version or name@alias"),
    "model with a bad version": (request(model="tiny@0.5"), 400, "model", "name@version"),
    "series an object": (request(series=GOOD), 400, "series", "array"),
    "target missing": (without("target"), 400, "series[0].target", "missing"),
    "item_id missing": (without("item_id"), 400, "series[0].item_id", "missing"),
    "start missing": (without("start"), 400, "series[0].start", "missing"),
    "target a text": (one_series(target="1,2"), 400, "series[0].target", "array"),
    "text in target": (one_series(target=[1, "2"]), 400, "series[0].target[1]", "number.*'2'"),
    "bool in target": (one_series(target=[1, True]), 400, "series[0].target[1]", "number"),
    "list in target": (one_series(target=[[1]]), 400, "series[0].target[0]", "number"),
    "NaN literal": (RAW % "[1, NaN]", 400, "series[0].target[1]", "finite.*null"),
    "Infinity literal": (RAW % "[-Infinity]", 400, "series[0].target[0]", "finite.*null"),
    "1e999": (RAW % "[1e999]", 400, "series[0].target[0]", "finite.*null"),
    "an integer of 400 digits": (RAW % f"[1{'0' * 400}]", 400, "series[0].target[0]", "."),
    "unknown field": (request(horizons=3), 400, "horizons", "not a field"),
    "unknown field of a series": (one_series(y=[1]), 400, "series[0].y", "not a field"),
    "horizon a text": (request(horizon="3"), 400, "horizon", "integer"),
    "horizon a fraction": (request(horizon=2.5), 400, "horizon", "integer"),
    "level a text": (request(quantile_levels=["0.1"]), 400, "quantile_levels[0]", "number"),
    # understood, but not to be had: 404
    "unknown model": (request(model="nope"), 404, "model", "not served.*tiny"),
    "a path as model": (request(model="../tiny"), 400, "model", "name@version"),
    "unknown alias": (request(model="tiny@x"), 404, "model", "no alias 'x'"),
    "unknown version": (request(model="tiny@7"), 404, "model", "version 1, not 7"),
    # well-formed, but not servable: 422
    "empty series": (request(series=[]), 422, "series", "empty"),
    "empty target": (one_series(target=[]), 422, "series[0].target", "0 values.*at least 1"),
    "all missing": (one_series(target=[None] * 5), 422, "series[0].target", "no observed value"),
    "newest part missing": (
        one_series(target=[1.0] + [None] * 24),
        422,
        "series[0].target",
        "no observed value in its newest 24",
    ),
    "too large a value": (one_series(target=[1, 2e36]), 422, "series[0].target[1]", "1e.36"),
    "too large for float32": (one_series(target=[1, -1e300]), 422, "series[0].target[1]", "e.36"),
    "horizon 0": (request(horizon=0), 422, "horizon", "0.*1 to 6"),
    "horizon negative": (request(horizon=-3), 422, "horizon", "-3.*1 to 6"),
    "horizon too long": (request(horizon=7), 422, "horizon", "7.*1 to 6"),
    "horizon huge": (request(horizon=10**18), 422, "horizon", "1 to 6"),
    "no levels": (request(quantile_levels=[]), 422, "quantile_levels", "empty"),
    "level 0": (request(quantile_levels=[0.5, 0]), 422, "quantile_levels[1]", "0.*0.1, 0.2"),
    "level 1.5": (request(quantile_levels=[1.5]), 422, "quantile_levels[0]", "1.5"),
    "level not the model's": (request(quantile_levels=[0.25]), 422, "quantile_levels[0]", "0.25"),
    "level twice": (request(quantile_levels=[0.5, 0.5]), 422, "quantile_levels[1]", "twice"),
    "item_id twice": (request(series=[GOOD, GOOD]), 422, "series[1].item_id", "'a'.*0 and 1"),
    "bad date": (one_series(start="yesterday"), 422, "series[0].start", "ISO 8601"),
    "no such day": (one_series(start="2024-02-30"), 422, "series[0].start", "does not exist"),
    "an offset": (one_series(start="2024-01-01T00:00+02:00"), 422, "series[0].start", "UTC"),
    "bad freq": (one_series(freq="fortnightly"), 422, "series[0].freq", "fortnightly"),
    "another freq": (one_series(freq="D"), 422, "series[0].freq", "'D'.*'4h'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused_with_its_reason(http: httpx.Client, case: str) -> None:
    body, status, field, message = WRONG[case]
    answer = ask(http, body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    kinds = {400: "malformed", 404: "not_found", 422: "unservable"}
    assert error["type"] == kinds[status]
    assert error.get("field") == field
    assert re.search(message, error["message"]), error["message"]
    assert "Traceback" not in answer.text
    assert len(answer.text) < 1000
    assert answer.headers["content-type"] == "application/json"


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "body",
    [
        request(model=LONG),
        request(model=f"{LONG}@"),
        request(**{LONG: 1}),
        json.dumps(request())[:-1] + f', "horizon": {"1" * 4000}}}',
        one_series(start=LONG),
        one_series(freq=LONG),
    ],
    ids=["model", "malformed model", "field", "horizon", "start", "freq"],
)
def test_an_error_quotes_what_came_and_does_not_send_it_back(
    http: httpx.Client, body: object
) -> None:
    answer = ask(http, body)
    assert answer.status_code in (400, 404, 422)
    assert len(answer.content) < 1500


def test_a_million_mistakes_are_one_error(http: httpx.Client) -> None:
    answer = ask(http, request(**{str(k): 0 for k in range(1_000_000)}))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "the body is wrong in 1000000 places; see /docs"


def test_a_level_that_is_no_number_is_not_taken_for_a_missing_value(http: httpx.Client) -> None:
    raw = json.dumps(request())[:-1] + ', "quantile_levels": [NaN]}'
    error = ask(http, raw).json()["error"]
    assert error["field"] == "quantile_levels[0]"
    assert "null" not in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/forecast", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health/ready", 405),
        ("GET", "/", 404),
        ("GET", "/v1/models/nope", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("POST", "/v1/forecast/", 404),
        ("GET", "/v3", 404),
    ],
)
def test_an_unknown_route_or_method_gets_the_same_kind_of_error(
    http: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) >= {"type", "message"}
    if status == 405:
        assert answer.headers["allow"]


def test_a_million_values_are_served_from_the_newest(http: httpx.Client) -> None:
    long = [float(k % 7) for k in range(1_000_000)]
    answer = ask(http, one_series(target=long, start="1700-01-01"))
    assert answer.status_code == 200
    newest = ask(http, one_series(target=long[-24:], start="1700-01-01"))
    ours, theirs = answer.json()["series"][0], newest.json()["series"][0]
    assert ours["quantiles"] == theirs["quantiles"]
    assert ours["timestamps"] != theirs["timestamps"]


def test_a_million_texts_are_refused_at_the_first(http: httpx.Client) -> None:
    answer = ask(http, one_series(target=["x"] * 1_000_000))
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "series[0].target[0]"


def test_no_content_type_and_a_wrong_one_are_read_as_json(http: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"content-type": kind}
        answer = http.post("/v1/forecast", content=json.dumps(request()), headers=headers)
        assert answer.status_code == 200


def test_a_body_over_the_limit_is_refused_whether_announced_or_not(
    server: ServerProcess,
) -> None:
    def pieces() -> Any:  # without a length: chunked
        for _ in range(100):
            yield b" " * 1000

    with serving(server.models, max_body_bytes=5000) as limited, client(limited) as http:
        for content in (b" " * 5001, pieces()):
            answer = http.post("/v1/forecast", content=content)
            assert answer.status_code == 413
            assert answer.json()["error"]["type"] == "too_large"
            assert "5000" in answer.json()["error"]["message"]
        assert ask(http, request()).status_code == 200


def test_too_many_series_are_refused_before_they_are_read(server: ServerProcess) -> None:
    many = [GOOD | {"item_id": str(k), "start": "never"} for k in range(9)]
    with serving(server.models, max_queue_rows=8) as limited, client(limited) as http:
        assert ask(http, request(series=many)).status_code == 413


def test_more_series_than_the_queue_can_ever_hold_are_refused(server: ServerProcess) -> None:
    many = [GOOD | {"item_id": str(k)} for k in range(9)]
    with serving(server.models, max_queue_rows=8) as limited, client(limited) as http:
        answer = ask(http, request(series=many))
        assert answer.status_code == 413
        assert answer.json()["error"]["field"] == "series"
        assert ask(http, request(series=many[:8])).status_code == 200
