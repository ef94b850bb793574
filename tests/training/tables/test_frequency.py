"""The frequency of a whole table, against that of each item alone."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.contract.frequency import Frequency, IrregularTime
from training.tables import frequency
from training.tables.rows import Rows
from training.tables.source import InvalidTable, of_frame

ALIASES = ["30min", "h", "7h", "D", "2D", "W", "B", "MS", "2MS", "ME", "QS", "QE", "YS"]
STARTS = ["2024-01-01", "2024-01-31", "2024-02-29T05:00", "2024-03-29", "2023-10-02"]


def rows(items: list[pd.DatetimeIndex]) -> Rows:
    frame = pl.concat(
        pl.DataFrame({"item_id": str(k), "timestamp": list(stamps), "target": 1.0})
        for k, stamps in enumerate(items)
    )
    return Rows.of(of_frame(frame, "table"), "table")


@st.composite
def items(draw: st.DrawFn) -> pd.DatetimeIndex:
    """The steps of one of a few frequencies, some of them left out."""
    stamps = pd.date_range(
        draw(st.sampled_from(STARTS)),
        periods=draw(st.integers(3, 25)),
        freq=draw(st.sampled_from(ALIASES)),
    )
    kept = draw(st.lists(st.booleans(), min_size=len(stamps), max_size=len(stamps)))
    return stamps[np.array(kept) | (draw(st.integers(0, 2)) > 0)]


def alone(stamps: pd.DatetimeIndex) -> Frequency:
    return Frequency.infer(stamps.to_numpy().astype("datetime64[us]"))


@given(st.lists(items(), min_size=1, max_size=5))
def test_items_that_agree_alone_agree_together_and_no_others(
    panel: list[pd.DatetimeIndex],
) -> None:
    panel = [stamps for stamps in panel if len(stamps)]
    assume(any(len(stamps) >= 3 for stamps in panel))
    found: set[Frequency] | None = set()
    try:
        found = {alone(stamps) for stamps in panel if len(stamps) >= 3}
    except IrregularTime:
        found = None
    if found is not None and len(found) == 1:
        assert frequency.infer(rows(panel)) in found
        return
    try:
        settled = frequency.infer(rows(panel))
    except InvalidTable:
        return
    assert found == {Frequency.parse("D"), Frequency.parse("B")}
    assert settled == Frequency.parse("B")


MONTHS_OF_31 = pd.date_range("2024-05-02", periods=5, freq="31D")
HOURS = pd.date_range("2024-01-01", periods=30, freq="h")


@pytest.mark.parametrize(
    ("first", "second", "aliases"),
    [  # the second item fits the frequency of the first, but alone it has another or none
        (MONTHS_OF_31, pd.DatetimeIndex(["2024-07-01", "2024-08-01", "2024-09-01"]), "31D.*MS"),
        (MONTHS_OF_31, pd.DatetimeIndex(["2024-11-30", "2024-12-31", "2025-01-31"]), "31D.*ME"),
        (pd.date_range("2024-01-01", periods=12), pd.bdate_range("2024-01-01", periods=10), "D.*B"),
        (HOURS, HOURS[[0, 1, 2, 4, 6, 8]], "2024-01-01T01:00:00 does not follow .* steps of 2h"),
    ],
)
def test_an_item_is_judged_alone(
    first: pd.DatetimeIndex, second: pd.DatetimeIndex, aliases: str
) -> None:
    with pytest.raises(InvalidTable, match=aliases):
        frequency.infer(rows([first, second]))


def test_one_item_of_another_frequency_among_many_is_found() -> None:
    panel = [HOURS] * 50 + [pd.date_range("2024-01-01", periods=30, freq="2h")] + [HOURS] * 50
    with pytest.raises(InvalidTable, match="item '0' has freq h, item '50' has freq 2h"):
        frequency.infer(rows(panel))


def test_one_irregular_item_among_many_is_found() -> None:
    odd = HOURS[:20].union(HOURS[20:] + pd.Timedelta("7min"))
    with pytest.raises(
        InvalidTable, match="item '3', row 111: 2024-01-01T20:07:00 does not follow"
    ):
        frequency.infer(rows([HOURS] * 3 + [odd]))
