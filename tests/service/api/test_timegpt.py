"""TimeGPT's words: a body is packed series, or one error that names what is wrong."""

import asyncio
import json
from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pytest
import utilsforecast.processing as ufp
from hypothesis import given, settings
from hypothesis import strategies as st
from nixtla._preprocessing import _standardize_freq

from service.api.timegpt.question import Question, read_question
from service.api.timegpt.vocabulary import find_model, read_freq, read_levels
from service.contract.forecast import ForecastMetadata, ForecastSignature
from service.contract.frequency import Frequency
from service.errors import Malformed, NotFound, ServiceError, Unservable
from service.repository.live import AnyModel, LiveModel, Repository
from service.runtime import Runtime
from tests.artifacts import toy
from tests.artifacts.edit import TINY

METADATA = ForecastMetadata.model_validate_json((TINY / "metadata.json").read_bytes())
SIGNATURE = METADATA.signature

GOOD: dict[str, Any] = {
    "series": {
        "y": [1, 2.5, None, 4, 5, 6],
        "sizes": [4, 2],
        "X": None,
        "X_future": None,
        "start_datetime": ["2024-01-01", "2024-01-01T04:00"],
    },
    "model": "timegpt-2.1",
    "h": 3,
    "freq": "4h",
    "clean_ex_first": True,
    "level": [80, 0],
    "finetune_steps": 0,
    "finetune_depth": 1,
    "finetune_loss": "default",
    "finetuned_model_id": None,
    "feature_contributions": False,
    "multivariate": False,
}
FEATURES: dict[str, Any] = {
    "y": [1, 2, None, 4, 5],
    "sizes": [4, 1],
    "X": [
        [100, 101, 102, 103, 110],
        [10.5, None, 12.5, 13.5, 14.5],
        [20, 21, 22, 23, 24],
        [7.5, 7.5, 7.5, 7.5, None],
        ["south", "south", "south", "south", None],
    ],
    "X_future": [[104, None, 111, 112]],
    "start_datetime": ["2024-02-27", "2024-03-01"],
    "categorical_exog": [4],
}


def served(**signatures: ForecastSignature | str) -> Repository:
    """Models by name that are never run; a text is the frequency of one like `tiny`."""
    live: dict[str, AnyModel] = {}
    for name, signature in signatures.items():
        if isinstance(signature, str):
            signature = SIGNATURE.model_copy(update={"freq": signature})
        metadata = METADATA.model_copy(update={"name": name, "signature": signature})
        live[name] = LiveModel(metadata, cast(Runtime, None))
    return Repository(live, {})


TINY_ONLY = served(tiny="4h")
TOY_ONLY = served(toy=toy.SIGNATURE)


def read(body: object, repository: Repository = TINY_ONLY) -> Question:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(read_question(content, repository, None))


def refusal(body: object, repository: Repository = TINY_ONLY) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        read(body, repository)
    return caught.value


def features(**changes: object) -> dict[str, Any]:
    return GOOD | {"freq": "D", "h": 2, "series": FEATURES | changes}


def test_a_body_is_packed_series_of_the_only_model_of_its_freq() -> None:
    question = read(GOOD)
    packed = question.packed
    assert (packed.model, packed.version, packed.horizon) == ("tiny", 1, 3)
    np.testing.assert_array_equal(packed.y, [1, 2.5, np.nan, 4, 5, 6])
    np.testing.assert_array_equal(packed.sizes, [4, 2])
    expected = pd.DatetimeIndex(["2024-01-01T00:00", "2024-01-01T04:00"]).to_numpy()
    np.testing.assert_array_equal(packed.starts, expected)
    assert packed.quantile_levels == (0.1, 0.5, 0.9)
    assert question.intervals == {"80": (0.1, 0.9), "0": (0.5, 0.5)}


@settings(deadline=None)
@given(st.lists(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1), min_size=1))
def test_each_series_comes_out_as_it_went_in(many: list[list[float | None]]) -> None:
    y = [value for one in many for value in one]
    sizes = [len(one) for one in many]
    packed = read(GOOD | {"series": {"y": y, "sizes": sizes}}).packed
    for one, series in zip(many, packed.series(0, len(many), 6), strict=True):
        np.testing.assert_array_equal(series.target, np.array(one, np.float64))


def test_columns_become_covariates_by_their_order() -> None:
    first, second = read(features(), TOY_ONLY).packed.series(0, 2, toy.SIGNATURE.horizon)
    np.testing.assert_array_equal(first.past_covariates["price"], [10.5, np.nan, 12.5, 13.5])
    np.testing.assert_array_equal(first.past_covariates["stock"], [20, 21, 22, 23])
    np.testing.assert_array_equal(second.past_covariates["price"], [14.5])
    # Two steps are asked of a model of three: what is known of the third is missing.
    expected = [100, 101, 102, 103, 104, np.nan, np.nan]
    np.testing.assert_array_equal(first.known_covariates["promo"], expected)
    np.testing.assert_array_equal(second.known_covariates["promo"], [110, 111, 112, np.nan])
    assert first.static_features == {"size": 7.5, "region": "south"}
    assert second.static_features == {"size": None, "region": None}


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"X": None, "X_future": None}, "series.X", "has 0 columns, expected 5"),
        ({"X": FEATURES["X"][:4]}, "series.X", "promo with their future in X_df; then price"),
        ({"X_future": None}, "series.X_future", "has 0 columns, expected 1"),
        ({"X_future": [[1] * 4] * 2}, "series.X_future", "has 2 columns, expected 1"),
        ({"categorical_exog": None}, "series.categorical_exog", "region in categorical_exog_list"),
        ({"categorical_exog": [0, 4]}, "series.categorical_exog", "names the columns [0, 4]"),
        ({"start_datetime": None}, "series.start_datetime", "reads the calendar"),
        (
            {"X": [*FEATURES["X"][:3], [7.5, 7.5, 8, 7.5, 1], FEATURES["X"][4]]},
            "series.X[3][2]",
            "changes within series 0; 'size' has one value",
        ),
        (
            {"X": [*FEATURES["X"][:4], ["south", "north", "south", "south", None]]},
            "series.X[4][1]",
            "changes within series 0; 'region' has one value",
        ),
    ],
)
def test_other_columns_than_the_model_declares_are_refused(
    changes: dict[str, Any], field: str, said: str
) -> None:
    error = refusal(features(**changes), TOY_ONLY)
    assert isinstance(error, Unservable)
    assert error.field == field
    assert said in error.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"X": [*FEATURES["X"][:3], [7.5] * 4, FEATURES["X"][4]]}, "series.X[3]"),
        ({"X": [*FEATURES["X"][:4], ["south"] * 6]}, "series.X[4]"),
        ({"X": [*FEATURES["X"][:4], [1, 1, 1, 1, 1]]}, "series.X[4][0]"),
        ({"X": [FEATURES["X"][0], ["a"] * 5, *FEATURES["X"][2:]]}, "series.X[1][0]"),
        ({"X_future": [[104, None, 111]]}, "series.X_future[0]"),
    ],
)
def test_columns_of_a_wrong_length_or_type_are_malformed(
    changes: dict[str, Any], field: str
) -> None:
    error = refusal(features(**changes), TOY_ONLY)
    assert isinstance(error, Malformed)
    assert error.field == field


def test_a_model_without_covariates_takes_no_columns() -> None:
    series = GOOD["series"] | {"X": [[1, 2, 3, 4, 5, 6]]}
    error = refusal(GOOD | {"series": series})
    assert error.field == "series.X"
    assert "this model takes no exogenous columns" in error.message


@pytest.mark.parametrize("freq", ["4h", "h", "15min", "s", "D", "W", "B", "MS", "ME", "QE", "YS"])
def test_without_timestamps_a_series_starts_where_a_step_can_fall(freq: str) -> None:
    series = {"y": [1, 2, 3], "sizes": [1, 2]}
    packed = read(GOOD | {"freq": freq, "series": series}, served(a=freq)).packed
    assert len(packed.starts) == 2
    for start in packed.starts:
        Frequency.parse(freq).check(start)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"finetune_steps": 10}, "finetune_steps"),
        ({"finetuned_model_id": "mine"}, "finetuned_model_id"),
        ({"feature_contributions": True}, "feature_contributions"),
        ({"multivariate": True}, "multivariate"),
        ({"model_parameters": {"a": 1}}, "model_parameters"),
        ({"quantiles": [0.1]}, "quantiles"),
        ({"h": 0}, "h"),
        ({"h": -1}, "h"),
        ({"h": 7}, "h"),
        ({"level": [80, 95]}, "level[1]"),
        ({"level": [-80]}, "level[0]"),
        ({"level": [1e300]}, "level[0]"),
        ({"level": [10**30]}, "level[0]"),
        ({"freq": "fortnight"}, "freq"),
        ({"model": "tiny", "freq": "h"}, "freq"),
        ({"series": {"y": [1], "sizes": [1], "start_datetime": ["noon"]}}, None),
        ({"series": {"y": [1], "sizes": [1], "start_datetime": ["2024-01-01T00+09:00"]}}, None),
    ],
)
def test_what_the_models_cannot_do_is_refused_by_its_name(
    change: dict[str, Any], field: str | None
) -> None:
    error = refusal(GOOD | change)
    assert isinstance(error, Unservable)
    assert error.field == (field or "series.start_datetime[0]")
    assert (error.field or "").partition("[")[0] in error.message


@pytest.mark.parametrize(
    ("series", "field"),
    [
        ({"sizes": [4, 2]}, "series.y"),
        ({"y": [1, 2]}, "series.sizes"),
        ({"y": [], "sizes": []}, "series.sizes"),
        ({"y": [1, 2], "sizes": []}, "series.sizes"),
        ({"y": [1, 2], "sizes": [1]}, "series.sizes"),
        ({"y": [1, 2], "sizes": [3]}, "series.sizes"),
        ({"y": [1, 2], "sizes": [2, 0]}, "series.sizes[1]"),
        ({"y": [1, 2], "sizes": [3, -1]}, "series.sizes[1]"),
        ({"y": [1, 2], "sizes": [2**70, 2 - 2**70]}, "series.sizes[1]"),
        ({"y": [1, 2], "sizes": [1.5, 0.5]}, "series.sizes[0]"),
        ({"y": [1, 2], "sizes": 2}, "series.sizes"),
        ({"y": [1, "2"], "sizes": [2]}, "series.y[1]"),
        ({"y": [1, True], "sizes": [2]}, "series.y[1]"),
        ({"y": [[1, 2]], "sizes": [2]}, "series.y[0]"),
        ({"y": None, "sizes": [2]}, "series.y"),
        ({"y": [1, 2], "sizes": [2], "start_datetime": []}, "series.start_datetime"),
        ({"y": [1, 2], "sizes": [2], "start_datetime": [1]}, "series.start_datetime[0]"),
        ([], "series"),
    ],
)
def test_lengths_and_types_that_do_not_fit_are_malformed(series: object, field: str) -> None:
    error = refusal(GOOD | {"series": series})
    assert isinstance(error, Malformed)
    assert error.field == field


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        json.dumps(GOOD).encode()[:-9],
        b"not json",
        b"[]",
        b'{"series": NaN}',
        json.dumps(GOOD).replace("2.5", "NaN").encode(),
        json.dumps(GOOD).replace("2.5", "Infinity").encode(),
        json.dumps(GOOD).replace("2.5", "1e999").encode(),
        json.dumps(GOOD).encode("utf-16"),
        json.dumps(GOOD).replace("timegpt", "\xff").encode("latin-1"),
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    assert isinstance(refusal(body), Malformed)


def test_a_body_of_a_newer_client_may_say_more() -> None:
    assert read(GOOD | {"colour": {"any": ["thing"]}}).packed.model == "tiny"


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON document."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        inside = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [path] * bool(path) + [p for key, one in inside for p in places(one, (*path, key))]


def said_by(body: object, repository: Repository) -> ServiceError | None:
    """The error of a body; None where it is read."""
    try:
        read(body, repository)
    except ServiceError as error:
        return error
    return None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(places(features())), JSON)
def test_anything_in_any_place_is_read_or_refused_by_name(path: tuple[Any, ...], put: Any) -> None:
    body = json.loads(json.dumps(features()))
    *way, last = path
    inner = body
    for key in way:
        inner = inner[key]
    inner[last] = put
    error = said_by(body, TOY_ONLY)
    assert error is None or (error.status in (400, 404, 422) and error.field)


@pytest.mark.parametrize("name", ["timegpt-1", "timegpt-1-long-horizon", "timegpt-2.1", "azureai"])
def test_timegpt_s_own_names_are_the_only_model_of_the_freq(name: str) -> None:
    repository = served(hours="h", days="D")
    assert find_model(repository, name, "D").metadata.name == "days"
    assert find_model(repository, name, "60min").metadata.name == "hours"


def test_a_name_and_a_version_are_taken_as_they_are() -> None:
    live = served(one="D", two="D").live
    repository = Repository({**live, "timegpt-1": live["two"]})
    assert find_model(repository, "one", "D").metadata.name == "one"
    assert find_model(repository, "one@1", "D").metadata.name == "one"
    assert find_model(repository, "timegpt-1", "D").metadata.name == "two"


def test_several_models_of_a_freq_are_listed() -> None:
    with pytest.raises(Unservable, match="any model of freq 'D': one, two; name one"):
        find_model(served(two="D", one="D", other="h"), "timegpt-2.1", "D")


def test_no_model_of_a_freq_lists_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"served: one \(D\), two \(4h\)$"):
        find_model(served(two="4h", one="D"), "timegpt-2.1", "MS")
    with pytest.raises(NotFound, match="served: none"):
        find_model(served(), "timegpt-2.1", "MS")


@pytest.mark.parametrize("name", ["nobody", "tiny@2", "tiny@canary", "timegpt2", "TimeGPT-1"])
def test_an_unknown_model_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        find_model(TINY_ONLY, name, "4h")


@pytest.mark.parametrize("name", ["", "tiny@", "tiny@0", "tiny@-", "@1", "a@b@c", "a.b", "a/b"])
def test_what_is_no_name_is_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        find_model(TINY_ONLY, name, "4h")


@pytest.mark.parametrize(
    ("polars", "pandas"),
    [
        ("1s", "s"),
        ("15m", "15min"),
        ("4h", "4h"),
        ("1d", "D"),
        ("1w", "W"),
        ("1mo", "MS"),
        ("3mo", "QS"),
        ("1q", "QS"),
        ("1y", "YS"),
    ],
)
def test_the_freq_of_a_polars_frame_is_understood(polars: str, pandas: str) -> None:
    sent = _standardize_freq(polars, cast(ufp.ProcessedDF, None))  # as the client does
    assert read_freq(sent) == Frequency.parse(pandas)
    start = pl.Series([pd.Timestamp("2024-01-01")])
    steps = [start.dt.offset_by(polars)[0], start.dt.offset_by(polars).dt.offset_by(polars)[0]]
    ours = Frequency.parse(pandas).timestamps(np.datetime64("2024-01-01"), 1, 2)
    np.testing.assert_array_equal(ours, np.array(steps, "datetime64[us]"))


def test_a_polars_month_may_be_one_of_ends() -> None:
    ends = served(ends="ME")
    assert find_model(ends, "timegpt-2.1", "1MS").metadata.name == "ends"
    assert find_model(ends, "ends", "1MS").metadata.name == "ends"
    assert find_model(served(ends="ME", starts="MS"), "timegpt-1", "1MS").metadata.name == "starts"
    with pytest.raises(Unservable):
        find_model(ends, "ends", "MS")  # as pandas says it, and it knows better
    with pytest.raises(Unservable):
        find_model(ends, "ends", "3MS")


def test_a_level_is_the_two_quantiles_around_it() -> None:
    pairs = read_levels([80, 40.0, 0, 80.0], "tiny", SIGNATURE)
    assert pairs == {"80": (0.1, 0.9), "40": (0.3, 0.7), "0": (0.5, 0.5)}


def test_a_level_needs_both_its_quantiles() -> None:
    uneven = SIGNATURE.model_copy(update={"quantile_levels": (0.025, 0.1, 0.5, 0.9)})
    assert read_levels([80], "a", uneven) == {"80": (0.1, 0.9)}
    with pytest.raises(Unservable, match="level 95 is not one of model 'a', which has 0, 80$"):
        read_levels([95], "a", uneven)


@pytest.mark.parametrize("level", [0.025, 0.975, 0.005, 0.35, 0.57, 1 / 3])
def test_levels_meet_quantiles_in_spite_of_rounding(level: float) -> None:
    lower, upper = min(level, 1 - level), max(level, 1 - level)
    signature = SIGNATURE.model_copy(update={"quantile_levels": (lower, 0.5, upper)})
    percent = round(100 * (upper - lower), 6)
    assert read_levels([percent], "a", signature) == {f"{percent:g}": (lower, upper)}
