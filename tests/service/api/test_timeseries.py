"""KServe's schema: inputs as series, or one error that names the field of the request."""

import asyncio
import json
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.json_body import JsonBody
from service.api.timeseries.inputs import InputBody, read_inputs
from service.api.timeseries.routes import write_error
from service.contract.forecast import ForecastSignature
from service.contract.frequency import Frequency
from service.errors import Malformed, NotFound, ServiceError, Unservable
from service.forecasting.inquiry import Series
from tests.artifacts import toy

PLAIN = ForecastSignature(
    freq="D",
    seasonality=7,
    context_length=20,
    minimum_context=1,
    horizon=3,
    quantile_levels=(0.1, 0.5, 0.9),
)
GOOD: dict[str, Any] = {
    "type": "univariate_time_series",
    "name": "a",
    "series": [1, 2.5, None],
    "frequency": "day",
    "start_timestamp": "2024-01-01T00:00:00Z",
}


class Inputs(msgspec.Struct):
    """A body of inputs alone."""

    inputs: list[msgspec.Raw]


def read(
    *inputs: object, signature: ForecastSignature = PLAIN
) -> tuple[list[InputBody], list[Series]]:
    body = JsonBody(json.dumps({"inputs": inputs}).encode())
    raws = body.struct(msgspec.json.Decoder(Inputs)).inputs
    return asyncio.run(read_inputs(body, raws, signature))


def refusal(*inputs: object, signature: ForecastSignature = PLAIN) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        read(*inputs, signature=signature)
    return caught.value


def test_an_input_is_a_series() -> None:
    _, (series,) = read(GOOD)
    np.testing.assert_array_equal(series.target, [1, 2.5, np.nan])
    assert series.item_id == "a"
    assert series.start.value == pd.Timestamp("2024-01-01").to_numpy()
    assert series.start.zone == "Z"


@settings(deadline=None)
@given(st.lists(st.none() | st.floats(-1e6, 1e6)))
def test_numbers_come_out_as_they_went_in(values: list[float | None]) -> None:
    _, (series,) = read(GOOD | {"series": values})
    np.testing.assert_array_equal(series.target, np.array(values, np.float64))


def test_covariates_are_extra_fields_under_their_native_names() -> None:
    extra = {
        "past_covariates": {"price": [1, None, 3], "stock": [4, 5, 6]},
        "known_covariates": {"promo": [1, 2, 3, 4, 5, None]},
        "static_features": {"size": 7.5, "region": "south"},
        "colour": {"any": ["thing"]},
    }
    _, (series,) = read(GOOD | extra, signature=toy.SIGNATURE)
    np.testing.assert_array_equal(series.past_covariates["price"], [1, np.nan, 3])
    np.testing.assert_array_equal(series.known_covariates["promo"], [1, 2, 3, 4, 5, np.nan])
    assert series.static_features == {"size": 7.5, "region": "south"}


def test_names_may_repeat() -> None:
    inputs, series = read(GOOD, GOOD)
    assert [one.name for one in inputs] == ["a", "a"]
    assert [one.item_id for one in series] == ["0", "1"]


@pytest.mark.parametrize(
    ("word", "freq"),
    [
        ("second", "s"),
        ("S", "s"),
        ("minute", "min"),
        ("T", "min"),
        ("hour", "h"),
        ("H", "h"),
        ("day", "D"),
        ("D", "D"),
        ("week", "W"),
        ("W", "W"),
        ("month", "MS"),
        ("month", "ME"),
        ("M", "MS"),
        ("M", "ME"),
        ("quarter", "QS"),
        ("Q", "QE"),
        ("year", "YS"),
        ("Y", "YE"),
        ("4h", "4h"),
        ("15min", "15min"),
        ("MS", "MS"),
        ("3MS", "QS"),
        ("W-WED", "W"),
    ],
)
def test_a_frequency_is_the_model_s(word: str, freq: str) -> None:
    given = {key: GOOD[key] for key in GOOD if key != "start_timestamp"} | {"frequency": word}
    _, (series,) = read(given, signature=PLAIN.model_copy(update={"freq": freq}))
    Frequency.parse(freq).check(series.start.value)  # where nobody says when it starts


@pytest.mark.parametrize(
    ("word", "freq"),
    [
        ("hour", "D"),
        ("month", "D"),
        ("month", "QS"),
        ("quarter", "MS"),
        ("year", "MS"),
        ("D", "B"),
        ("MS", "ME"),
        ("week", "2W"),
        ("fortnight", "2W"),
        ("", "D"),
        ("Day", "D"),
    ],
)
def test_another_frequency_is_refused(word: str, freq: str) -> None:
    signature = PLAIN.model_copy(update={"freq": freq})
    error = refusal(GOOD | {"frequency": word}, signature=signature)
    assert isinstance(error, Unservable)
    assert error.field == "inputs[0].frequency"
    assert repr(word) in error.message


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"type": "multivariate_time_series", "series": [[1]]}, "type", "univariate_time_series"),
        ({"start_timestamp": "noon"}, "start_timestamp", "'noon' is not an ISO 8601"),
        ({"start_timestamp": "2024-01-01T00:00:00+02:00"}, "start_timestamp", "convert it to UTC"),
    ],
)
def test_what_the_models_cannot_do_is_refused(
    changes: dict[str, Any], field: str, said: str
) -> None:
    error = refusal(GOOD, GOOD | changes)
    assert isinstance(error, Unservable)
    assert error.field == f"inputs[1].{field}"
    assert said in error.message


def test_a_calendar_needs_a_start() -> None:
    error = refusal(GOOD | {"start_timestamp": None}, signature=toy.SIGNATURE)
    assert isinstance(error, Unservable)
    assert error.field == "inputs[0].start_timestamp"
    assert "reads the calendar" in error.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "bivariate"}, "inputs[0].type"),
        ({"name": 3}, "inputs[0].name"),
        ({"series": None}, "inputs[0].series"),
        ({"series": [1, "2"]}, "inputs[0].series[1]"),
        ({"series": [[1]]}, "inputs[0].series[0]"),
        ({"frequency": None}, "inputs[0].frequency"),
        ({"start_timestamp": 0}, "inputs[0].start_timestamp"),
        ({"past_covariates": {"price": [True]}}, "inputs[0].past_covariates.price[0]"),
        ({"static_features": {"size": [1]}}, "inputs[0].static_features[...]"),
    ],
)
def test_wrong_types_are_malformed(changes: dict[str, Any], field: str) -> None:
    error = refusal(GOOD | changes)
    assert isinstance(error, Malformed)
    assert error.field == field


@pytest.mark.parametrize("name", ["type", "name", "series", "frequency"])
def test_a_missing_field_is_named(name: str) -> None:
    error = refusal({key: value for key, value in GOOD.items() if key != name})
    assert isinstance(error, Malformed)
    assert error.field == f"inputs[0].{name}"


@pytest.mark.parametrize(
    ("error", "param"),
    [
        (Unservable("no", "horizon"), "options.horizon"),
        (Unservable("no", "quantile_levels[1]"), "options.quantiles[1]"),
        (Unservable("no", "series"), "inputs"),
        (Unservable("no", "inputs[3].series[2]"), "inputs[3].series[2]"),
        (NotFound("no", "model"), "model"),
        (Malformed("no"), None),
    ],
)
def test_an_error_names_the_field_of_the_request(error: ServiceError, param: str | None) -> None:
    body = json.loads(bytes(write_error(error).body))
    code, kind = str(error.status), error.error_type
    assert body == {"error": {"code": code, "message": "no", "param": param, "type": kind}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
) | st.text(max_size=5)


def said_of(one: object) -> ServiceError | None:
    """The error of an input; None where it is read."""
    try:
        read(one, signature=toy.SIGNATURE)
    except ServiceError as error:
        return error
    return None


@settings(deadline=None)
@given(st.sampled_from([*GOOD, "past_covariates", "static_features", "other"]), JSON)
def test_anything_in_any_field_is_read_or_refused_by_name(name: str, put: Any) -> None:
    error = said_of(GOOD | {name: put})
    assert error is None or (error.status in (400, 422) and error.field)
