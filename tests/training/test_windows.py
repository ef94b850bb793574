"""Windows: each training example is what it claims to be, and nothing of the test leaks in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.forecast import Category, Covariates
from service.contract.frequency import Frequency
from training import windows
from training.config import NetworkConfig
from training.data import Panel, Series
from training.layers.calendar import Cycle
from training.origins import Origins
from training.tables.table import InvalidTable

CONFIG = NetworkConfig("D", horizon=3, seasonality=2, context_length=7)
ORIGINS = Origins(3)
START = np.datetime64("2024-01-01", "us")


def panel(*lengths: int) -> Panel:
    """Series whose values say which series and which step they are: 1000 * series + step."""
    series = tuple(
        Series(str(n), START, 1000.0 * (n + 1) + np.arange(float(length)))
        for n, length in enumerate(lengths)
    )
    return Panel(series, Frequency.parse("D"))


def whole(some: windows.Windows) -> windows.Batch:
    return some.gather(torch.arange(len(some)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(7, 40), min_size=1, max_size=5))
def test_every_window_is_a_contiguous_piece_of_one_series(lengths: list[int]) -> None:
    training, _ = windows.split(panel(*lengths), CONFIG, ORIGINS)
    batch = whole(training)
    contexts, lengths_seen = batch.inputs
    assert len(training) == len(lengths_seen)
    for context, length, target in zip(contexts, lengths_seen, batch.target, strict=True):
        seen = context[:length]
        assert torch.isnan(context[length:]).all()
        piece = torch.cat([seen, target])
        assert (piece.diff() == 1).all()
        assert length == min(7, int(target[0]) % 1000)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(7, 40), min_size=1, max_size=5))
def test_no_window_holds_a_value_of_the_last_horizon(lengths: list[int]) -> None:
    training, _ = windows.split(panel(*lengths), CONFIG, ORIGINS)
    last = {1000 * (n + 1) + length - 3 for n, length in enumerate(lengths)}
    values = set(whole(training).target.flatten().int().tolist())
    values |= set(whole(training).inputs[0].nan_to_num(0).flatten().int().tolist())
    assert not values & {first + step for first in last for step in range(3)}


def test_with_enough_series_the_horizon_before_the_test_is_held_out() -> None:
    lengths = [20] * windows.FEWEST_JUDGES
    training, validation = windows.split(panel(*lengths), CONFIG, ORIGINS)
    assert validation is not None
    judged = whole(validation)
    assert judged.target[0].tolist() == [1014, 1015, 1016]
    assert len(validation) == len(lengths)
    assert whole(training).target.max() == 1000 * len(lengths) + 13


def test_a_few_series_spare_no_validation() -> None:
    assert windows.split(panel(20, 20), CONFIG, ORIGINS)[1] is None


def test_changing_the_future_changes_no_window() -> None:
    known = panel(20, 25)
    series = [s.target.copy() for s in known.series]
    for target in series:
        target[-3:] = 1e9
    changed = Panel(
        tuple(replace(s, target=t) for s, t in zip(known.series, series, strict=True)),
        known.frequency,
    )
    one, other = (whole(windows.split(p, CONFIG, ORIGINS)[0]) for p in (known, changed))
    assert torch.equal(one.target, other.target)
    assert torch.equal(one.inputs[0].nan_to_num(-1), other.inputs[0].nan_to_num(-1))


def test_a_series_too_short_for_the_horizon_is_named_with_the_remedy() -> None:
    with pytest.raises(InvalidTable, match="item '1' has 6 steps.*at least 7.*shorten --horizon"):
        windows.split(panel(20, 6), CONFIG, ORIGINS)


def test_some_windows_are_spread_over_all_series() -> None:
    training, _ = windows.split(panel(20, 20, 20, 20), CONFIG, ORIGINS)
    some = training.some(4).target[:, 0] // 1000
    assert some.tolist() == [1, 2, 3, 4]
    assert torch.equal(training.some(10**6).target, whole(training).target)


def test_missing_values_stay_missing() -> None:
    target = np.arange(12.0)
    target[4] = np.nan
    one = Panel((Series("a", START, target),), Frequency.parse("D"))
    batch = whole(windows.split(one, CONFIG, ORIGINS)[0])
    values = torch.cat([batch.inputs[0], batch.target], 1)
    assert torch.isnan(values).any()
    assert not (values == 4).any()


def test_cutoffs_end_a_horizon_before_the_end_and_the_test_begins_at_the_first() -> None:
    origins = Origins(horizon=3, windows=4, step=2)
    assert list(origins.cutoffs(20)) == [11, 13, 15, 17]
    assert origins.test_steps == 9
    assert list(Origins(horizon=3, windows=2).cutoffs(20)) == [14, 17]


def test_no_window_reaches_beyond_the_first_cutoff_of_a_longer_test() -> None:
    training, _ = windows.split(panel(30), CONFIG, Origins(3, windows=4))
    assert whole(training).target.max() == 1000 + 30 - 12 - 1


def test_a_long_series_alone_spares_as_many_validation_windows_as_many_series_would() -> None:
    training, validation = windows.split(panel(600), CONFIG, ORIGINS)
    assert validation is not None
    assert len(validation) == windows.FEWEST_JUDGES
    judged = whole(validation).target[:, 0].tolist()
    assert judged == [1000 + 597 - 3 * back for back in range(windows.FEWEST_JUDGES, 0, -1)]
    assert whole(training).target.max() < judged[0]


def test_no_more_than_a_share_of_a_history_is_spared() -> None:
    short = round(3 * windows.FEWEST_JUDGES / windows.MOST_SPARED)
    assert windows.split(panel(short + 3), CONFIG, ORIGINS)[1] is not None
    assert windows.split(panel(short + 2), CONFIG, ORIGINS)[1] is None


def test_series_too_short_to_spare_a_window_are_trained_on_to_their_end() -> None:
    long, short = [15] * windows.FEWEST_JUDGES, [14] * 3
    training, validation = windows.split(panel(*long, *short), CONFIG, ORIGINS)
    assert validation is not None
    assert len(validation) == len(long)
    newest = whole(training).target[:, -1].tolist()
    assert {1000 * (n + 1) + 8 for n in range(len(long))} <= set(newest)
    assert {1000 * (n + 1) + 10 for n in range(len(long), len(long) + 3)} <= set(newest)
    assert whole(validation).target.max() < 1000 * (len(long) + 1)


COVARIATES = Covariates(
    past=("load",),
    known=("price",),
    static=("size",),
    categories=(Category(name="region", values=("east", "west")),),
)


def covaried(*lengths: int) -> Panel:
    """Like `panel`; a covariate says its step too: past + 0.25, known + 0.5."""
    series = tuple(
        replace(
            s,
            past=s.target[:, np.newaxis] + 0.25,
            known=s.target[:, np.newaxis] + 0.5,
            static=np.array([float(len(s.target))]),
            categories=("west",) if len(s.target) % 2 else (None,),
        )
        for s in panel(*lengths).series
    )
    return Panel(series, Frequency.parse("D"), COVARIATES)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(7, 40), min_size=1, max_size=5))
def test_covariates_and_timestamps_stand_at_the_steps_of_their_target(lengths: list[int]) -> None:
    config = replace(CONFIG, covariates=COVARIATES, calendar=(Cycle.MONTH,))
    training, _ = windows.split(covaried(*lengths), config, ORIGINS)
    batch = whole(training)
    contexts, seen, timestamps, past, known, static, categories = batch.inputs
    for row, n in enumerate(seen.tolist()):
        target = torch.cat([contexts[row, :n], batch.target[row]])
        assert torch.equal(past[row, :n, 0], contexts[row, :n] + 0.25)
        assert torch.equal(known[row, : n + 3, 0], target + 0.5)
        days = (timestamps[row, : n + 3] - 1_704_067_200) / 86_400  # since 2024-01-01
        assert torch.equal(days, target % 1000)
        assert torch.isnan(past[row, n:]).all()
        assert torch.isnan(known[row, n + 3 :]).all()
        assert (timestamps[row, n + 3 :] == 0).all()
        length = lengths[int(target[0]) // 1000 - 1]
        assert static[row].tolist() == [length]
        assert categories[row].tolist() == [2 if length % 2 else 0]


def test_no_covariate_of_the_test_is_kept_at_all() -> None:
    config = replace(CONFIG, covariates=COVARIATES)
    flat = windows.split(covaried(20, 25), config, ORIGINS)[0].flat
    last = [1017.5, 1018.5, 1019.5, 2022.5, 2023.5, 2024.5]
    assert not set(flat.known.flatten().tolist()) & set(last)
    assert len(flat.target) == len(flat.past) == 20 + 25 - 2 * 3
