"""Frequencies, judged by pandas: what it generates, what it infers and what it accepts."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pandas.tseries.frequencies import to_offset

from service.contract.frequency import Frequency, InvalidFrequency, IrregularTime, OffGrid

DURATIONS = ("s", "min", "h", "D", "W")
MONTH_STARTS = ("MS", "QS", "YS")
MONTH_ENDS = ("ME", "QE", "YE")
MOST = {"QS": 12, "QE": 12, "YS": 3, "YE": 3}  # more would leave the years that pandas knows
ALIASES = (*DURATIONS, "B", *MONTH_STARTS, *MONTH_ENDS)

moments = st.datetimes(pd.Timestamp("1750-01-01"), pd.Timestamp("2000-01-01")).map(
    lambda moment: pd.Timestamp(moment).floor("s")
)


@st.composite
def grids(draw: st.DrawFn) -> tuple[str, str, pd.Timestamp]:
    """An alias of ours, the same with its anchor for pandas, and a start on its grid."""
    name = draw(st.sampled_from(ALIASES))
    count = draw(st.integers(1, MOST.get(name, 30)))
    moment = draw(moments)
    if name not in DURATIONS:
        moment = moment.normalize()
    if name in MONTH_STARTS:
        moment = moment.replace(day=1)
    if name in MONTH_ENDS:
        moment = moment.replace(day=moment.days_in_month)
    if name == "B":
        assume(moment.dayofweek < 5)
    anchor = ""
    if name == "W":
        anchor = f"-{moment.strftime('%a').upper()}"
    if name in ("QS", "YS", "QE", "YE"):
        anchor = f"-{moment.strftime('%b').upper()}"
    return f"{count}{name}", f"{count}{name}{anchor}", moment


def stamps(index: pd.DatetimeIndex) -> NDArray[np.datetime64]:
    return np.asarray(index.to_numpy().astype("datetime64[us]"))


def days(*texts: str) -> NDArray[np.datetime64]:
    return np.array(texts, "datetime64[us]")


@given(grids(), st.integers(0, 40), st.integers(0, 40))
def test_timestamps_are_those_of_pandas(
    case: tuple[str, str, pd.Timestamp], first: int, count: int
) -> None:
    alias, anchored, start = case
    expected = stamps(pd.date_range(start, periods=first + count, freq=anchored))[first:]
    for spelling in (alias, anchored):
        found = Frequency.parse(spelling).timestamps(start.to_datetime64(), first, count)
        assert found.dtype == np.dtype("datetime64[us]")
        np.testing.assert_array_equal(found, expected)


@given(grids(), st.lists(st.integers(-20, 40), min_size=1))
def test_steps_counts_back_what_timestamps_counted(
    case: tuple[str, str, pd.Timestamp], steps: list[int]
) -> None:
    alias, _, start = case
    frequency = Frequency.parse(alias)
    origin = start.to_datetime64()
    moments = np.concatenate([frequency.timestamps(origin, step, 1) for step in steps])
    assert frequency.steps(origin, moments).tolist() == steps


@given(grids())
def test_inferred_is_what_pandas_infers(case: tuple[str, str, pd.Timestamp]) -> None:
    _, anchored, start = case
    index = pd.date_range(start, periods=24, freq=anchored)
    judged = pd.infer_freq(index)
    assume(judged is not None)  # pandas gives up on several business days, for one
    assert Frequency.infer(stamps(index)) == Frequency.parse(judged)


@given(grids(), st.sets(st.integers(0, 60), max_size=8))
def test_gaps_do_not_change_what_is_inferred(
    case: tuple[str, str, pd.Timestamp], holes: set[int]
) -> None:
    alias, anchored, start = case
    index = stamps(pd.date_range(start, periods=61, freq=anchored))
    kept = index[[at for at in range(len(index)) if at not in holes]]
    assume(not alias.endswith("B") or alias == "1B")  # several weekdays look like uneven days
    assert Frequency.infer(kept) == Frequency.parse(alias)


@given(st.sampled_from(ALIASES), st.integers(1, 999_999))
def test_an_alias_reads_back_and_pandas_accepts_it(name: str, count: int) -> None:
    frequency = Frequency.parse(f"{count}{name}")
    assert Frequency.parse(frequency.alias) == frequency
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_offset(frequency.alias)


@given(st.sampled_from(DURATIONS), st.integers(1, 9999))
def test_a_duration_lasts_as_long_as_in_pandas(name: str, count: int) -> None:
    frequency = Frequency.parse(f"{count}{name}")
    step = frequency.timestamps(np.datetime64("1700-01-01"), 1, 1)[0] - np.datetime64("1700-01-01")
    one = pd.Timedelta(weeks=1) if name == "W" else pd.Timedelta(1, name)
    assert step == np.timedelta64(one.value // 1000 * count, "us")


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("60min", "h"),
        ("3600s", "h"),
        ("24h", "D"),
        ("7D", "W"),
        ("W-WED", "W"),
        ("14D", "2W"),
        ("3MS", "QS"),
        ("QS-OCT", "QS"),
        ("4QS", "YS"),
        ("12ME", "YE"),
        ("YE-JUN", "YE"),
        ("2QE", "2QE"),
        ("90s", "90s"),
        ("120min", "2h"),
    ],
)
def test_spellings_of_one_step_are_equal(spelling: str, canonical: str) -> None:
    assert Frequency.parse(spelling) == Frequency.parse(canonical)
    assert Frequency.parse(spelling).alias == canonical


@pytest.mark.parametrize("old", ["S", "T", "H", "M", "Q", "Y", "A", "AS", "15T", "Q-NOV", "AS-APR"])
def test_old_spellings_mean_what_pandas_says(old: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        modern = to_offset(old).freqstr
    assert Frequency.parse(old) == Frequency.parse(modern)


@pytest.mark.parametrize("one", ["D", "ME", "B"])
@pytest.mark.parametrize("other", ["MS", "W", "2D", "h"])
def test_different_steps_differ(one: str, other: str) -> None:
    assert Frequency.parse(one) != Frequency.parse(other)


NO_ALIASES = ("", "x", "d", "w", "ms", "us", "0h", "-1D", "1.5h", "D1", " D", "D\n", "1D12h", "BMS")
NO_ANCHORS = ("W-JAN", "QS-SUN", "MS-JAN", "D-SUN", "W-", "W-SUN-MON", "1000000s", "\u0663D")


@pytest.mark.parametrize("alias", [*NO_ALIASES, *NO_ANCHORS])
def test_an_unknown_alias_is_refused_by_name(alias: str) -> None:
    with pytest.raises(InvalidFrequency) as caught:
        Frequency.parse(alias)
    assert repr(alias) in str(caught.value)
    assert "s, min, h, D, B, W, MS, ME, QS, QE, YS, YE" in str(caught.value)


def test_a_message_never_repeats_a_long_alias_whole() -> None:
    with pytest.raises(InvalidFrequency) as caught:
        Frequency.parse("x" * 100_000)
    assert len(str(caught.value)) < 300


SEASONS = {
    60: ["s"],
    360: ["10s"],
    40: ["90s"],
    675: ["128s"],
    1440: ["min"],
    144: ["10min"],
    96: ["15min"],
    24: ["h"],
    12: ["2h", "MS", "ME"],
    7: ["D"],
    6: ["2MS"],
    5: ["B"],
    52: ["W"],
    26: ["2W"],
    4: ["QS", "QE"],
    1: ["7s", "7min", "5h", "36h", "2D", "2B", "3W", "5MS", "YS", "YE", "2YS"],
}


@pytest.mark.parametrize("seasonality", SEASONS)
def test_the_season_is_the_usual_one(seasonality: int) -> None:
    found = {alias: Frequency.parse(alias).seasonality for alias in SEASONS[seasonality]}
    assert found == dict.fromkeys(SEASONS[seasonality], seasonality)


@pytest.mark.parametrize(
    ("alias", "timestamp", "rule"),
    [
        ("MS", "1961-01-02", "first day of a month"),
        ("QS-OCT", "1961-01-31", "first day of a month"),
        ("MS", "1961-01-01T00:00:00.000001", "midnight"),
        ("ME", "1961-02-27", "last day of a month"),
        ("YE", "1961-12-31T12:00", "midnight"),
        ("B", "2024-03-02", "Monday to Friday"),
        ("B", "2024-03-01T09:00", "midnight of a weekday"),
    ],
)
def test_a_start_where_no_step_falls_is_refused(alias: str, timestamp: str, rule: str) -> None:
    with pytest.raises(OffGrid) as caught:
        Frequency.parse(alias).check(np.datetime64(timestamp))
    assert timestamp[:10] in str(caught.value)
    assert rule in str(caught.value)
    with pytest.raises(OffGrid):
        Frequency.parse(alias).timestamps(np.datetime64(timestamp), 1, 1)


@given(grids())
def test_every_step_can_start_a_series(case: tuple[str, str, pd.Timestamp]) -> None:
    alias, _, start = case
    frequency = Frequency.parse(alias)
    for step in frequency.timestamps(start.to_datetime64(), 0, 5):
        frequency.check(step)


@pytest.mark.parametrize("start", ["1960-02-29", "2024-02-29", "1700-02-28", "1969-12-31"])
def test_month_ends_know_leap_years(start: str) -> None:
    Frequency.parse("ME").check(np.datetime64(start))


def test_steps_names_the_first_timestamp_off_the_grid() -> None:
    moments = days("1961-01-02", "1961-01-04", "1961-01-03", "1961-01-05")
    with pytest.raises(OffGrid, match="1961-01-03T00:00:00 is not a whole number") as caught:
        Frequency.parse("2D").steps(np.datetime64("1961-01-02"), moments)
    assert caught.value.index == 2


def test_steps_takes_one_start_per_timestamp() -> None:
    starts = days("1961-01-01", "1961-01-01", "1950-03-01")
    moments = days("1961-01-01", "1961-07-01", "1950-06-01")
    assert Frequency.parse("QS").steps(starts, moments).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("alias", "last"),
    [
        ("s", "2261-12-31T23:59:59"),
        ("W", "2261-12-31"),
        ("B", "2261-12-31"),
        ("MS", "2261-12-01"),
        ("YE", "2261-12-31"),
        ("999999YS", "2020-01-01"),
    ],
)
def test_the_calendar_ends_with_an_error(alias: str, last: str) -> None:
    frequency, start = Frequency.parse(alias), np.datetime64(last, "us")
    assert frequency.timestamps(start, 0, 1) == start
    for first in (1, 10**18):
        with pytest.raises(OverflowError, match="leave the years 1678 to 2261"):
            frequency.timestamps(start, first, 1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_timestamps_ask_for_freq(count: int) -> None:
    with pytest.raises(IrregularTime, match="give freq") as caught:
        Frequency.infer(days("2020-01-01", "2020-01-02")[:count])
    assert caught.value.index is None


@pytest.mark.parametrize(
    ("timestamps", "index"),
    [
        (days("2020-01-01", "2020-01-02", "2020-01-03", "2020-01-03T06:00"), 3),
        (days("2020-01-01", "2020-01-03", "2020-01-04", "2020-01-06", "2020-01-08"), 2),
        (days("2020-01-01", "2020-03-01", "2020-05-01", "2020-06-01"), 3),
        (days("2020-01-31", "2020-02-28", "2020-03-31", "2020-04-30"), 2),
        (days("2020-01-01T00:00:00", "2020-01-01T00:00:00.5", "2020-01-01T00:00:01"), 1),
    ],
)
def test_irregular_time_names_the_first_offence(
    timestamps: NDArray[np.datetime64], index: int
) -> None:
    with pytest.raises(IrregularTime) as caught:
        Frequency.infer(timestamps)
    assert caught.value.index == index
    assert str(timestamps[index])[:19] in str(caught.value)


def test_ten_days_without_a_weekend_are_business_days() -> None:
    weekdays = stamps(pd.bdate_range("2024-03-04", periods=10))
    assert Frequency.infer(weekdays) == Frequency.parse("B")
    assert Frequency.infer(weekdays[:9]) == Frequency.parse("D")
    with_sunday = np.append(weekdays, np.datetime64("2024-03-17"))
    assert Frequency.infer(with_sunday) == Frequency.parse("D")


def test_mondays_are_weeks_and_not_business_days() -> None:
    mondays = stamps(pd.date_range("2024-03-04", periods=20, freq="W-MON"))
    assert Frequency.infer(mondays) == Frequency.parse("W")
