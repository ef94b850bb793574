"""Tables to panels: what comes back is what was meant, or an error that says where."""

from datetime import date, datetime
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.frequency import Frequency
from training.data import InvalidTable, Panel, Series, from_frame, load
from training.recipes import airline
from training.tables import steps

NAN = float("nan")
Rows = list[tuple[str, str, float | None]]


def table(*rows: tuple[str, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), ["item_id", "timestamp", "target"], orient="row")


def daily(item_id: str, *targets: float | None, start: str = "2024-03-01") -> Rows:
    days = pd.date_range(start, periods=len(targets)).strftime("%Y-%m-%d")
    return [(item_id, day, target) for day, target in zip(days, targets, strict=True)]


def as_lists(panel: Panel) -> dict[str, list[float]]:
    return {series.item_id: series.target.tolist() for series in panel.series}


def refusal(frame: pl.DataFrame, freq: str | None = None) -> str:
    with pytest.raises(InvalidTable) as caught:
        from_frame(frame, freq, "sales.csv")
    message = str(caught.value)
    assert message.startswith("sales.csv: ")
    return message


def assert_same(found: Panel, expected: Panel) -> None:
    assert found.frequency == expected.frequency
    assert found.fingerprint == expected.fingerprint
    for one, other in zip(found.series, expected.series, strict=True):
        assert (one.item_id, one.start) == (other.item_id, other.start)
        np.testing.assert_array_equal(one.target, other.target)


STARTS = {"MS": "1999-11-01", "ME": "1999-11-30", "QS": "1999-11-01", "YE": "1999-06-30"}
targets = st.lists(st.floats(allow_infinity=False), min_size=3, max_size=30)
item_ids = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8)


@st.composite
def panels(draw: st.DrawFn) -> Panel:
    """Regular series whose ends and at least half of whose steps are observed."""
    alias = draw(st.sampled_from(["s", "15min", "2h", "D", "B", "W", "MS", "ME", "QS", "YE"]))
    frequency = Frequency.parse(alias)
    start = np.datetime64(STARTS.get(alias, "1999-11-01"), "us")
    series = []
    for item_id in draw(st.lists(item_ids, min_size=1, max_size=4, unique=True)):
        values = np.array(draw(targets))
        values[[0, -1]] = draw(st.floats(-1e300, 1e300)), 1.5
        shift = draw(st.integers(0, 5))
        series.append(Series(item_id, frequency.timestamps(start, shift, 1)[0], values))
    return Panel(tuple(series), frequency)


def rows_of(panel: Panel, mixer: Random) -> pl.DataFrame:
    """The panel as a long table: items interleaved, missing values as gaps or as nulls."""
    queues = []
    for series in panel.series:
        moments = panel.frequency.timestamps(series.start, 0, len(series.target))
        queue = [
            (series.item_id, moment.item(), None if np.isnan(target) else float(target))
            for moment, target in zip(moments, series.target, strict=True)
            if not (np.isnan(target) and mixer.random() < 0.5)
        ]
        queues.append(queue[::-1])
    rows = [queue.pop() for queue in queues]  # first appearances keep the order of the panel
    while queues := [queue for queue in queues if queue]:
        rows.append(mixer.choice(queues).pop())
    return pl.DataFrame(rows, ["item_id", "timestamp", "target"], orient="row")


@given(panel=panels(), seed=st.integers(0, 2**32))
def test_a_panel_written_to_a_file_comes_back(
    panel: Panel, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = rows_of(panel, Random(seed))
    folder = tmp_path_factory.mktemp("tables")
    frame.write_csv(folder / "table.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.f")
    frame.write_parquet(folder / "table.parquet")
    pd.DataFrame(frame.to_dict(as_series=False)).to_csv(folder / "pandas.csv", index=False)
    for name in ("table.csv", "table.parquet", "pandas.csv"):
        assert_same(load(folder / name, panel.frequency.alias), panel)


@given(panel=panels(), seed=st.integers(0, 2**32))
def test_the_frequency_of_a_panel_without_gaps_is_found(panel: Panel, seed: int) -> None:
    full = [np.resize(np.nan_to_num(series.target), 12) for series in panel.series]
    series = zip(panel.series, full, strict=True)
    dense = Panel(tuple(Series(s.item_id, s.start, f) for s, f in series), panel.frequency)
    assert_same(from_frame(rows_of(dense, Random(seed))), dense)


def test_a_gap_becomes_missing_values() -> None:
    rows = daily("a", 1, 2, 3, 4, 5, 6)
    panel = from_frame(table(*rows[:2], *rows[4:]))
    assert panel.frequency == Frequency.parse("D")
    np.testing.assert_array_equal(panel.series[0].target, [1, 2, NAN, NAN, 5, 6])


def test_items_keep_the_order_of_their_first_rows() -> None:
    b, a = daily("b", 1, 2, 3), daily("a", 4, 5, 6)
    panel = from_frame(table(b[0], a[0], a[1], b[1], b[2], a[2]))
    assert as_lists(panel) == {"b": [1, 2, 3], "a": [4, 5, 6]}
    assert [series.item_id for series in panel.series] == ["b", "a"]


def test_many_interleaved_items_stay_in_time_order() -> None:
    steps, items = 500, 100
    days = np.datetime64("2000-01-01", "us") + np.arange(steps) * np.timedelta64(86400, "s")
    ids = [f"item {k}" for k in range(items)] * steps
    values = np.arange(steps * items, dtype=float)
    panel = from_frame(pl.DataFrame({"unique_id": ids, "ds": days.repeat(items), "y": values}), "D")
    found = np.stack([series.target for series in panel.series])
    np.testing.assert_array_equal(found, values.reshape(steps, items).T)


def test_short_items_follow_the_frequency_of_the_others() -> None:
    panel = from_frame(table(*daily("short", 1), *daily("long", 1, 2, 3, 4)))
    assert as_lists(panel) == {"short": [1], "long": [1, 2, 3, 4]}


def test_few_weekdays_follow_the_business_days_of_a_longer_item() -> None:
    weekdays = pd.bdate_range("2024-03-04", periods=12).strftime("%Y-%m-%d")
    long: Rows = [("long", day, 1.0) for day in weekdays]
    panel = from_frame(table(*daily("short", 1, 2, 3, start="2024-03-04"), *long))
    assert panel.frequency == Frequency.parse("B")
    message = refusal(table(*daily("sunday", 1, 2, 3, start="2024-03-02"), *long))
    assert "item 'sunday' has freq D, item 'long' has freq B" in message


def test_items_may_start_at_different_times() -> None:
    panel = from_frame(table(*daily("a", 1, 2, 3), *daily("b", 1, 2, 3, start="1999-01-01")))
    assert [str(series.start)[:10] for series in panel.series] == ["2024-03-01", "1999-01-01"]


def test_a_given_freq_is_finer_than_the_rows() -> None:
    panel = from_frame(table(("a", "2024-01-01", 1.0), ("a", "2024-04-01", 2.0)), "MS")
    np.testing.assert_array_equal(panel.series[0].target, [1, NAN, NAN, 2])


def test_the_fingerprint_tells_every_part_apart() -> None:
    frame = table(*daily("a", 1, 2, None, 4))
    panel = from_frame(frame)
    assert from_frame(frame).fingerprint == panel.fingerprint
    others = [
        from_frame(table(*daily("b", 1, 2, None, 4))),
        from_frame(table(*daily("a", 1, 2, None, 5))),
        from_frame(table(*daily("a", 1, 2, 3, 4))),
        from_frame(table(*daily("a", 1, 2, None, 4, start="2024-03-02"))),
        from_frame(frame, "12h"),
        Panel(panel.series, Frequency.parse("h")),
        Panel(panel.series * 2, panel.frequency),
    ]
    assert len({panel.fingerprint, *(other.fingerprint for other in others)}) == 8


def test_no_order_of_bits_in_a_missing_value_changes_the_fingerprint() -> None:
    panel = from_frame(table(*daily("a", 1, 2, None, 4)))
    negative = np.where(np.isnan(panel.series[0].target), -np.nan, panel.series[0].target)
    same = Series("a", panel.series[0].start, np.copysign(negative, np.array([1, 1, -1, 1])))
    assert same.target.tobytes() != panel.series[0].target.tobytes()
    assert Panel((same,), panel.frequency).fingerprint == panel.fingerprint


def test_repeated_timestamps_name_both_rows() -> None:
    a = daily("a", 1, 2, 3)
    message = refusal(table(*a, *daily("b", 1, 2, 3), a[1]))
    assert "item 'a' has the timestamp 2024-03-02T00:00:00 in row 2 and row 7" in message
    assert "keep one" in message


def test_unsorted_rows_name_the_first_that_goes_back() -> None:
    a = daily("a", 1, 2, 3)
    message = refusal(table(*daily("b", 1, 2, 3), a[0], a[2], a[1]))
    assert "item 'a', row 6: 2024-03-02T00:00:00 is before 2024-03-03T00:00:00 of row 5" in message
    assert "sort the rows of each item" in message


def test_irregular_time_names_the_row() -> None:
    late = ("a", "2024-03-04T06:00", 1.0)
    message = refusal(table(*daily("b", 1, 2, 3), *daily("a", 1, 2, 3), late))
    assert "item 'a', row 7: 2024-03-04T06:00:00 does not follow" in message
    assert "give freq" in message


@pytest.mark.parametrize(("freq", "row"), [("W", 5), ("MS", 2), ("2D", 2)])
def test_a_timestamp_off_the_given_grid_names_the_row(freq: str, row: int) -> None:
    weeks = [("a", f"2024-03-{day:02}", 1.0) for day in (1, 8 if freq == "W" else 4, 15, 22, 23)]
    message = refusal(table(*weeks), freq)
    assert f"item 'a', row {row}: 2024-03-" in message
    assert "another freq" in message


def test_frequencies_that_differ_name_two_items() -> None:
    weekly = [("b", f"2024-03-{day:02}", 1.0) for day in (1, 8, 15)]
    message = refusal(table(*daily("a", 1, 2, 3), *weekly))
    assert "item 'a' has freq D, item 'b' has freq W" in message
    assert "--freq" in message


def test_no_long_item_asks_for_freq() -> None:
    assert "give --freq" in refusal(table(*daily("a", 1, 2), *daily("b", 1)))


def test_an_unknown_freq_is_named() -> None:
    assert "freq 'fortnight' is not understood" in refusal(table(*daily("a", 1, 2, 3)), "fortnight")


def test_a_series_without_any_value_is_named() -> None:
    message = refusal(table(*daily("a", 1, 2, 3), *daily("b", None, NAN, None)))
    assert "item 'b' has no observed target at all; drop it" in message


def test_a_gap_that_would_fill_the_memory_is_named() -> None:
    seconds: Rows = [("a", f"2024-03-01T00:00:0{k}", 1.0) for k in range(4)]
    message = refusal(table(*daily("b", 1, start="1999-01-01"), *seconds, ("a", "2024-07-01", 1.0)))
    assert "item 'a', row 6: the gap before 2024-07-01T00:00:00 makes a series of" in message
    assert "10000000" in message


def test_the_longest_series_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LONGEST", 3)
    assert len(from_frame(table(*daily("a", 1, 2, 3))).series[0].target) == 3
    assert "a series of 4 steps of D" in refusal(table(*daily("a", 1, 2, 3, 4)))


def test_dates_and_datetimes_of_any_unit_are_one() -> None:
    expected = from_frame(table(*daily("a", 1, 2, 3)))
    days = [date(2024, 3, day) for day in (1, 2, 3)]
    for dtype in (pl.Date, pl.Datetime("ms"), pl.Datetime("ns"), pl.Datetime("us", "UTC")):
        stamps = pl.Series(days).cast(dtype)
        frame = pl.DataFrame({"item_id": "a", "timestamp": stamps, "target": [1, 2, 3]})
        assert_same(from_frame(frame), expected)


def test_a_message_of_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("ds,y\n2024-03-01,1\n2024-03-02,x\n")
    with pytest.raises(InvalidTable, match=r"sales\.csv: row 2: target is 'x'"):
        load(path)


def test_the_airline_is_the_one_of_the_book() -> None:
    panel = airline.load()
    (series,) = panel.series
    assert (series.item_id, panel.frequency.alias) == ("airline", "MS")
    assert series.start.item() == datetime(1949, 1, 1)
    assert len(series.target) == 144
    assert series.target[[0, 1, 2, -2, -1]].tolist() == [112, 118, 132, 390, 432]
    assert series.target.max() == 622
