"""Bodies: the fast reader and the judge agree on every body, and the judge has the last word."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.api.body import BodyReader
from service.api.native import ForecastBody
from service.errors import Malformed

READER = BodyReader(ForecastBody)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
NUMBERS = st.lists(st.none() | st.integers(-(10**6), 10**6) | st.floats(-1e9, 1e9), max_size=4)
SERIES = st.fixed_dictionaries(
    {"item_id": st.text(max_size=5), "start": st.just("2024-01-01"), "target": NUMBERS},
    optional={
        "freq": st.just("D") | st.none(),
        "past_covariates": st.dictionaries(st.text(max_size=3), NUMBERS, max_size=2),
        "static_features": st.dictionaries(
            st.text(max_size=3), st.none() | st.floats(-9, 9) | st.text(max_size=3), max_size=2
        ),
    },
)
BODIES = st.fixed_dictionaries(
    {"model": st.text(max_size=5), "series": st.lists(SERIES, max_size=3)},
    optional={
        "horizon": st.integers(-3, 99) | st.none(),
        "quantile_levels": st.lists(st.floats(0, 1), max_size=3) | st.none(),
    },
)


def read(content: bytes) -> Any:
    """What the reader makes of a body, in plain types; None where it is refused."""
    try:
        body = READER.read(content)
    except Malformed:
        return None
    return {
        name: [plain(one) for one in body.series] if name == "series" else getattr(body, name)
        for name in ForecastBody.model_fields
    }


def plain(series: Any) -> dict[str, Any]:
    fields = ("item_id", "start", "freq", "target", "past_covariates")
    more = ("known_covariates", "static_features")
    return {name: getattr(series, name) for name in fields + more}


def judged(content: bytes) -> Any:
    try:
        return ForecastBody.model_validate_json(content).model_dump()
    except ValidationError:
        return None


@settings(deadline=None)
@given(BODIES)
def test_a_right_body_is_what_the_model_says_it_is(body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    assert read(content) == judged(content) is not None


@settings(deadline=None, max_examples=300)
@given(body=BODIES, put=ANYTHING, place=st.sampled_from(["model", "series", "horizon", "new"]))
def test_a_wrong_body_is_refused_by_both(body: dict[str, Any], put: Any, place: str) -> None:
    content = json.dumps(body | {place: put}).encode()
    assert read(content) == judged(content)


@settings(deadline=None, max_examples=300)
@given(
    body=BODIES,
    put=ANYTHING,
    place=st.sampled_from(["item_id", "start", "target", "freq", "static_features", "new"]),
)
def test_a_wrong_series_is_refused_by_both(body: dict[str, Any], put: Any, place: str) -> None:
    good = {"item_id": "a", "start": "2024-01-01", "target": [1.0]}
    content = json.dumps(body | {"series": [good | {place: put}]}).encode()
    assert read(content) == judged(content)


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (b'{"model": "a"}', "series", "series is missing"),
        (b'{"model": "a", "series": [], "horizons": 3}', "horizons", "not a field"),
        (b'{"model": "a", "series": [{}]}', "series[0].item_id", "missing"),
        (b'{"model": 1, "series": []}', "model", "string.*got 1"),
        (b'{"model": "a", "series": [], "horizon": 1.5}', "horizon", "integer.*1.5"),
        (b"{", None, "not JSON"),
        (b"\xff", None, "not JSON"),
    ],
)
def test_the_judge_names_the_field_and_what_came(
    text: bytes, field: str | None, message: str
) -> None:
    with pytest.raises(Malformed, match=message) as refusal:
        READER.read(text)
    assert refusal.value.field == field


def test_an_item_id_that_is_too_long_is_refused() -> None:
    series = {"item_id": "x" * 257, "start": "2024-01-01", "target": [1]}
    with pytest.raises(Malformed, match="256"):
        READER.read(json.dumps({"model": "a", "series": [series]}).encode())
