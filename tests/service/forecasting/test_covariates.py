"""Covariates of a request: what the model wants arrives in its order, all else is named."""

import asyncio
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract import artifact
from service.contract.forecast import Covariates
from service.contract.timestamp import read_timestamp
from service.engine.batcher import Batcher
from service.errors import Unservable
from service.forecasting.agreement import agree
from service.forecasting.covariates import history
from service.forecasting.forecaster import Forecast, Forecaster
from service.forecasting.inquiry import Inquiry, Series
from service.inference import Inference
from service.repository.live import LiveModel, Repository
from service.runtime import Runtime
from tests.artifacts import toy

NAN = float("nan")
SIGNATURE = toy.SIGNATURE
DAY_0 = pd.Timestamp("1970-01-01")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The toy, which wants everything and answers with what it was given."""
    found = artifact.read(toy.write(tmp_path_factory.mktemp("models")))
    return Repository({"toy": LiveModel(found.metadata, Runtime(found))}, {})


def one(item_id: str = "a", steps: int = 4, **changes: Any) -> Series:
    """A series of the toy that agrees with it."""
    fields: dict[str, Any] = {
        "start": read_timestamp("2024-02-27"),
        "freq": None,
        "target": np.arange(1.0, steps + 1),
        "past_covariates": {"stock": np.full(steps, 20.0), "price": np.arange(10.0, steps + 10)},
        "known_covariates": {"promo": np.arange(100.0, steps + 103)},
        "static_features": {"region": "south", "size": 7.5},
    }
    return Series(item_id, **fields | changes)


def inquiry(*series: Series, **changes: Any) -> Inquiry:
    fields: dict[str, Any] = {
        "model": "toy",
        "version": None,
        "horizon": None,
        "quantile_levels": None,
    }
    return Inquiry(series=series, **fields | changes)


def answer(repository: Repository, asked: Inquiry) -> Forecast:
    async def run() -> Forecast:
        batcher = Batcher(2, 4, 1000)
        batcher.start()
        try:
            return await asyncio.wait_for(
                Forecaster(Inference(repository, batcher)).forecast(asked), 30
            )
        finally:
            await batcher.close()

    return asyncio.run(run())


def test_every_covariate_reaches_the_model_under_its_name(repository: Repository) -> None:
    found = answer(repository, inquiry(one())).quantiles[0]  # [Q, H]
    days = (pd.date_range("2024-02-27", periods=7) - DAY_0).days
    np.testing.assert_array_equal(found[0], [4, 4, 4])  # target
    np.testing.assert_array_equal(found[1], [13, 13, 13])  # price
    np.testing.assert_array_equal(found[2], [20, 20, 20])  # stock
    np.testing.assert_array_equal(found[3], [103, 103, 103])  # promo, at the last value
    np.testing.assert_array_equal(found[4], [104, 105, 106])  # promo, over the horizon
    np.testing.assert_array_equal(found[5], [days[3]] * 3)
    np.testing.assert_array_equal(found[6], days[4:])
    np.testing.assert_array_equal(found[7], [7.5] * 3)  # size
    np.testing.assert_array_equal(found[8], [2, 2, 2])  # region: south


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_many_series_of_any_length_get_their_own_covariates_and_days(
    repository: Repository, data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 45), min_size=1, max_size=20))
    starts = data.draw(
        st.lists(
            st.dates(pd.Timestamp(1970, 1, 1).date(), pd.Timestamp(2200, 1, 1).date()),
            min_size=len(lengths),
            max_size=len(lengths),
        )
    )
    many = []
    for at, (steps, start) in enumerate(zip(lengths, starts, strict=True)):
        random = np.random.default_rng(at)
        past = {name: random.integers(0, 99, steps).astype(float) for name in ("price", "stock")}
        known = {"promo": random.integers(0, 99, steps + 3).astype(float)}
        begin = read_timestamp(start.isoformat())
        many.append(one(str(at), steps, start=begin, past_covariates=past, known_covariates=known))
    found = answer(repository, inquiry(*many))
    for at, (series, start) in enumerate(zip(many, starts, strict=True)):
        n = len(series.target)
        moments = pd.date_range(start, periods=n + 3)
        got = found.quantiles[at]
        assert (got[0] == n).all()
        assert (got[1] == series.past_covariates["price"][-1]).all()
        assert (got[2] == series.past_covariates["stock"][-1]).all()
        assert (got[3] == series.known_covariates["promo"][n - 1]).all()
        np.testing.assert_array_equal(got[4], series.known_covariates["promo"][n:])
        assert (got[5] == (moments[n - 1] - DAY_0).days).all()
        np.testing.assert_array_equal(got[6], (moments[n:] - DAY_0).days)
        assert found.timestamps[at] == [moment.isoformat() for moment in moments[n:]]


def test_a_shorter_horizon_is_asked_with_the_covariates_of_the_whole(
    repository: Repository,
) -> None:
    whole, part = (answer(repository, inquiry(one(), horizon=h)) for h in (None, 2))
    np.testing.assert_array_equal(part.quantiles, whole.quantiles[..., :2])
    assert (
        part.timestamps[0]
        == whole.timestamps[0][:2]
        == [
            "2024-03-02T00:00:00",
            "2024-03-03T00:00:00",
        ]
    )


@pytest.mark.parametrize(("region", "code"), [("north", 1), ("south", 2), ("west", 0), (None, 0)])
def test_a_text_never_seen_in_training_is_unknown_and_not_an_error(
    repository: Repository, region: str | None, code: int
) -> None:
    asked = one(static_features={"region": region, "size": 1.0})
    assert (answer(repository, inquiry(asked)).quantiles[0, 8] == code).all()


def test_null_is_missing_in_every_kind(repository: Repository) -> None:
    missing = one(
        past_covariates={"price": np.full(4, NAN), "stock": np.full(4, NAN)},
        known_covariates={"promo": np.full(7, NAN)},
        static_features={"region": None, "size": None},
    )
    found = answer(repository, inquiry(missing)).quantiles[0]
    for place in (1, 2, 3, 4, 7):
        assert (found[place] == -1).all()
    assert (found[8] == 0).all()


P, K, S = "past_covariates", "known_covariates", "static_features"
STEPS, SPAN = np.zeros(4), np.zeros(7)
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no past": ({P: {}}, P, "past_covariates lacks 'price', 'stock'; send numbers of each, 4, one"),
    "one of two": ({P: {"stock": STEPS}}, P, "lacks 'price'; .*null = missing"),
    "no known": ({K: {}}, K, "lacks 'promo'; send .* 7, 4 beside target and 3 for the model's"),
    "no static": ({S: {}}, S, "static_features lacks 'size', 'region'; send a number or a text"),
    "no category": ({S: {"size": 1.0}}, S, "lacks 'region'"),
    "undeclared past": (
        {P: {"price": STEPS, "stock": STEPS, "rain": STEPS}},
        f"{P}.rain",
        "past_covariates has 'rain', unknown to this model; it knows 'price', 'stock'",
    ),
    "past as known": ({K: {"promo": SPAN, "price": SPAN}}, f"{K}.price", "it knows 'promo'"),
    "undeclared static": (
        {S: {"size": 1.0, "region": "south", "age": 1.0}},
        f"{S}.age",
        "knows 'size', 'region'",
    ),
    "short past": (
        {P: {"price": STEPS, "stock": np.zeros(3)}},
        f"{P}.stock",
        "'stock' has 3 values, expected 4",
    ),
    "long past": ({P: {"price": SPAN, "stock": STEPS}}, f"{P}.price", "has 7 values, expected 4"),
    "known without its horizon": (
        {K: {"promo": STEPS}},
        f"{K}.promo",
        "'promo' has 4 values, expected 7, 4 beside target and 3 for the model's horizon",
    ),
    "long known": ({K: {"promo": np.zeros(8)}}, f"{K}.promo", "has 8 values, expected 7"),
    "empty known": ({K: {"promo": np.zeros(0)}}, f"{K}.promo", "has 0 values, expected 7"),
    "large past": (
        {P: {"price": STEPS, "stock": np.array([0, NAN, -2e36, 0])}},
        f"{P}.stock[2]",
        r"'stock' holds -2e\+36; the largest magnitude is 1e\+36",
    ),
    "infinite known": (
        {K: {"promo": np.array([0, 0, 0, 0, 0, 0, np.inf])}},
        f"{K}.promo[6]",
        "holds inf",
    ),
    "large static": ({S: {"size": 1e300, "region": None}}, f"{S}.size", r"holds 1e\+300"),
    "a text for a number": (
        {S: {"size": "big", "region": None}},
        f"{S}.size",
        "'size' is 'big', expected a number",
    ),
    "a number for a text": (
        {S: {"size": 1.0, "region": 3.0}},
        f"{S}.region",
        r"'region' is 3\.0, expected a text",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_model_did_not_declare_is_refused_with_the_series_and_the_remedy(
    case: str,
) -> None:
    changes, field, message = REFUSED[case]
    with pytest.raises(Unservable, match=message) as caught:
        agree(inquiry(one(), one("b", **changes)), SIGNATURE)
    assert caught.value.message.startswith("series 'b': ")
    assert caught.value.field == f"series[1].{field}"


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_inquiry_never_reaches_the_runtime(repository: Repository, case: str) -> None:
    async def run() -> None:
        batcher = Batcher(1, 4, 100)  # never started: a submit would fail
        with pytest.raises(Unservable):
            await Forecaster(Inference(repository, batcher)).forecast(
                inquiry(one(), one("b", **REFUSED[case][0]))
            )
        assert batcher.waiting_rows == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("field", "sent"), [(P, {"price": STEPS}), (K, {"promo": SPAN}), (S, {"size": None})]
)
def test_a_model_without_covariates_takes_none(field: str, sent: Any) -> None:
    plain = SIGNATURE.model_copy(update={"covariates": Covariates(), "calendar": False})
    bare: dict[str, Any] = {P: {}, K: {}, S: {}}
    agree(inquiry(one(**bare)), plain)
    with pytest.raises(Unservable, match="unknown to this model; it takes none, leave it out"):
        agree(inquiry(one(**bare | {field: sent})), plain)


def test_only_what_the_model_sees_of_a_long_history_is_judged(repository: Repository) -> None:
    steps = SIGNATURE.context_length + 5
    old = np.where(np.arange(steps) < 5, np.inf, 1.0)
    promo = np.where(np.arange(steps + 3) < 5, np.inf, 1.0)
    odd = one(
        steps=steps, past_covariates={"price": old, "stock": old}, known_covariates={"promo": promo}
    )
    found = answer(repository, inquiry(odd)).quantiles[0]
    assert (found[1:5] == 1).all()
    too_new: dict[str, Any] = {P: {"price": np.roll(old, 1), "stock": old}}
    with pytest.raises(Unservable) as caught:
        agree(inquiry(one(steps=steps, **too_new)), SIGNATURE)
    assert caught.value.field == f"series[0].{P}.price[5]"
    too_new = {P: {"price": old, "stock": old}, K: {"promo": np.roll(promo, 1)}}
    with pytest.raises(Unservable) as caught:
        agree(inquiry(one(steps=steps, **too_new)), SIGNATURE)
    assert caught.value.field == f"series[0].{K}.promo[5]"


def test_a_message_names_a_few_of_many_names_and_quotes_none_at_length() -> None:
    many = {f"x{k}": STEPS for k in range(1000)}
    with pytest.raises(Unservable, match="'x0', 'x1', 'x2', 'x3', 'x4' and 995 more, unknown"):
        agree(inquiry(one(past_covariates=many)), SIGNATURE)
    with pytest.raises(Unservable) as caught:
        agree(inquiry(one(static_features={"size": "x" * 10_000, "region": None})), SIGNATURE)
    assert len(caught.value.message) < 200


def test_a_start_of_which_the_whole_horizon_leaves_the_calendar_is_refused_by_its_series(
    repository: Repository,
) -> None:
    late = one("late", start=read_timestamp("2261-12-26"))  # its third step ahead is in 2262
    with pytest.raises(Unservable, match="series 'late': .*1678 to 2261") as caught:
        answer(repository, inquiry(one(), one("b", steps=9), late, horizon=1))
    assert caught.value.field == "series[2].start"


def test_moments_before_1970_and_between_seconds_are_rounded_down() -> None:
    moments = pd.date_range("1969-12-30T23:59:59.5", periods=7).to_numpy("datetime64[us]")
    found = history(one(), moments, SIGNATURE).timestamps
    np.testing.assert_array_equal(found, [86_400 * k - 1 for k in range(-1, 6)])
