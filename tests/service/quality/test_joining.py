"""Forecasts and actuals meet in any order, once, and the scores are those of what is known."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sqlalchemy import func, select
from utilsforecast import losses

from service.contract.forecast import ForecastMetadata, Seen
from service.contract.timestamp import read_timestamp
from service.forecasting.inquiry import Series
from service.quality import tables
from service.quality.actual import Actual
from service.quality.address import database_url
from service.quality.given import Row, digest, given
from service.quality.joining import write_actuals, write_forecasts
from service.quality.scores import Scores, read_scores
from service.quality.store import Store
from service.repository.intake import Intake
from tests.conftest import ARTIFACTS

TINY = Intake(ARTIFACTS, "cpu").load().get_for(ForecastMetadata, "tiny").metadata
LEVELS = TINY.signature.quantile_levels
H = TINY.signature.horizon
START = "2024-01-01"
STEP = pd.Timedelta("4h")


def series(item_id: str, target: Sequence[float]) -> Series:
    return Series(item_id, read_timestamp(START), None, np.array(target, np.float64))


def quantiles(seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return np.sort(random.normal(size=(1, H, len(LEVELS))).astype(np.float32) + 5, axis=2)


def rows(
    item_id: str,
    known: int,
    seed: int = 0,
    version: int = 1,
    name: str = "tiny",
    seen: Seen | None = None,
) -> list[Row]:
    """A forecast after so many known values."""
    training = TINY.training.model_copy(update={"seen": seen})
    changes = {"version": version, "name": name, "training": training}
    metadata = TINY.model_copy(update=changes)
    one = given(metadata, [series(item_id, history(known))], quantiles(seed))
    return [row for row in digest([one], 100.0, 1000.0) if row is not None]


def history(known: int) -> list[float]:
    values: list[float] = np.random.default_rng(7).normal(size=known).tolist()
    return values


def seen(known: int) -> list[float]:
    """What the model was shown of it."""
    return history(known)[-TINY.signature.context_length :]


def moment(step: int) -> int:
    """Microseconds of a step counted from the start."""
    return int((pd.Timestamp(START) + step * STEP).value // 1000)


def forecast(store: Store, *made: Row, now: float = 1000.0) -> None:
    with store.writing() as connection:
        write_forecasts(store, connection, made, now)


def happened(store: Store, *many: Actual, now: float = 1000.0) -> int:
    with store.writing() as connection:
        return write_actuals(store, connection, many, now)


def scores(store: Store, since: float = -math.inf) -> dict[tuple[str, int], Scores]:
    with store.reading() as connection:
        return read_scores(connection, since)


def test_scores_are_those_of_utilsforecast(store: Store) -> None:
    values = np.random.default_rng(5).normal(size=(3, H)) + 5
    frames = []
    for at, item_id in enumerate("abc"):
        forecast(store, *rows(item_id, 20, seed=at))
        actuals = [Actual(item_id, moment(20 + k), values[at, k]) for k in range(H)]
        assert happened(store, *actuals) == H
        columns = {str(level): quantiles(at)[0, :, k] for k, level in enumerate(LEVELS)}
        base = {"unique_id": item_id, "cutoff": 19, "ds": range(20, 20 + H), "y": values[at]}
        frames.append(pd.DataFrame(base | columns).astype(dict.fromkeys(columns, float)))
    frame = pd.concat(frames, ignore_index=True)
    known = {"ds": [*range(20)] * 3, "y": history(20) * 3}
    train = pd.DataFrame({"unique_id": np.repeat(list("abc"), 20), **known})
    found = scores(store)["tiny", 1]
    mase = losses.mase(frame, ["0.5"], seasonality=6, train_df=train)["0.5"].mean()
    assert found.mase == pytest.approx(mase, rel=1e-9)
    pinball = sum(losses.quantile_loss(frame, {"m": str(q)}, q=q)["m"].mean() for q in LEVELS)
    wql = 2 * pinball / len(LEVELS) / np.abs(values).mean()
    assert found.wql == pytest.approx(wql, rel=1e-9)
    bands = frame.rename(columns={"0.1": "m-lo-80", "0.9": "m-hi-80"})
    inside = losses.coverage(bands, ["m"], level=80)["m"].mean()
    assert found.coverage[0.8] == pytest.approx(inside)
    assert sorted(found.coverage) == [0.2, 0.4, 0.6, 0.8]
    assert (found.points, found.forecasts) == (18, 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_events_and_their_repetition_change_nothing(store: Store, seed: int) -> None:
    random = np.random.default_rng(seed)
    latest: dict[tuple[str, int], float] = {}
    given_forecasts: dict[tuple[str, int, int], int] = {}
    for _ in range(40):
        item_id, step = str(random.choice(list("ab"))), int(random.integers(18, 30))
        if random.random() < 0.4:
            version = int(random.integers(1, 3))
            given_forecasts.setdefault((item_id, step, version), version)
            forecast(store, *rows(item_id, step, seed=version, version=version))
        else:
            latest[item_id, step] = float(random.normal())
            happened(store, Actual(item_id, moment(step), latest[item_id, step]))
    for version in (1, 2):
        errors = [
            abs(latest[item_id, known + k] - float(quantiles(version)[0, k, LEVELS.index(0.5)]))
            / np.abs(np.subtract(seen(known)[6:], seen(known)[:-6])).mean()
            for item_id, known, of in given_forecasts
            if of == version
            for k in range(H)
            if (item_id, known + k) in latest
        ]
        found = scores(store)["tiny", version]
        assert found.points == len(errors) > 0
        assert found.mase == pytest.approx(np.mean(errors), rel=1e-9)


def test_a_corrected_outlier_leaves_nothing_behind(store: Store) -> None:
    forecast(store, *rows("a", 20))
    happened(store, Actual("a", moment(20), 1.0), Actual("a", moment(21), 2.0))
    before = scores(store)
    happened(store, Actual("a", moment(20), 1e36))
    wild = scores(store)["tiny", 1].mase
    assert wild is not None
    assert wild > 1e30
    happened(store, Actual("a", moment(20), 1.0))
    assert scores(store) == before


def test_an_actual_of_one_model_counts_for_it_instead_of_that_of_all(store: Store) -> None:
    for name in ("tiny", "other"):
        forecast(store, *rows("a", 20, name=name))
    assert happened(store, Actual("a", moment(20), 100.0, "other")) == 1
    assert happened(store, Actual("a", moment(20), 5.0)) == 2
    found = scores(store)
    tiny, other = found["tiny", 1].mase, found["other", 1].mase
    assert tiny is not None
    assert other is not None
    assert other > 10 * tiny
    happened(store, Actual("a", moment(20), 5.0, "other"))
    assert scores(store)["other", 1].mase == tiny


def test_an_actual_beside_every_step_meets_nothing(store: Store) -> None:
    forecast(store, *rows("a", 20))
    beside = [moment(20) + 1, moment(19), moment(20 + H)]
    assert happened(store, *[Actual("a", at, 1.0) for at in beside]) == 0
    assert happened(store, Actual("b", moment(20), 1.0)) == 0
    assert scores(store)["tiny", 1] == Scores(forecasts=1)


def test_two_writers_at_once_miss_no_meeting(url: str, store: Store) -> None:
    other = Store(database_url(url))
    steps = range(18, 38)
    together = threading.Barrier(2, timeout=60)

    def post() -> None:
        for step in steps:
            together.wait()
            happened(other, Actual("a", moment(step), 1.0))

    with ThreadPoolExecutor(1) as pool:
        poster = pool.submit(post)
        for step in steps:
            together.wait()
            forecast(store, *rows("a", step))
        poster.result()
    other.close()
    expected = sum(1 for known in steps for k in range(H) if known + k in steps)
    assert scores(store)["tiny", 1].points == expected


def test_recent_scores_leave_out_what_is_older(store: Store) -> None:
    forecast(store, *rows("a", 20))
    happened(store, Actual("a", moment(20), 1.0), now=50.0)
    happened(store, Actual("a", moment(21), 1.0), now=100.0)
    assert scores(store, since=75.0)["tiny", 1].points == 1
    assert scores(store, since=101.0)["tiny", 1] == Scores(forecasts=1)
    assert scores(store, since=2000.0) == {}


def test_inputs_are_compared_with_training(store: Store) -> None:
    values = history(20)
    scale = np.abs(np.subtract(values[6:], values[:-6])).mean()
    wide = Seen(low=min(values), high=max(values), log_scale=math.log(scale / 2))
    narrow = Seen(low=min(values) + 1e-9, high=9.0, log_scale=None)
    forecast(store, *rows("a", 20, seen=wide), *rows("a", 20, version=2, seen=narrow))
    forecast(store, *rows("a", 20, version=3))
    found = scores(store)
    assert (found["tiny", 1].outside, found["tiny", 2].outside) == (0.0, 1.0)
    assert found["tiny", 1].scale_ratio == pytest.approx(2.0, rel=1e-12)
    assert found["tiny", 2].scale_ratio is None
    assert (found["tiny", 3].outside, found["tiny", 3].scale_ratio) == (None, None)


def test_what_is_old_or_too_much_is_deleted_with_its_points(store: Store) -> None:
    for at, item_id in enumerate("abcd"):
        old = rows(item_id, 20)
        old[0].columns["made_at"] = 100.0 * at
        forecast(store, *old)
        happened(store, Actual(item_id, moment(20), 1.0), now=100.0 * at)
    store.prune(oldest=50.0, most=2)
    assert scores(store)["tiny", 1].points == 2
    with store.reading() as connection:
        left = connection.execute(select(tables.forecasts.c.item_id)).scalars()
        assert sorted(left) == ["c", "d"]
        count = connection.execute(select(func.count()).select_from(tables.actuals)).scalar_one()
        assert count == 3
