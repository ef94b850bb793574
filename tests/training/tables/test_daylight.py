"""Local time with daylight saving, made by pandas from real zones, and what is said of it."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from training.data import InvalidTable, Panel, from_frame

ZONES = ["Europe/Berlin", "Europe/London", "America/New_York", "Australia/Sydney"]
CHANGES = {  # the night when an hour comes twice, and the one when an hour is lacking
    "Europe/Berlin": ("2024-10-27", "2024-03-31"),
    "Europe/London": ("2024-10-27", "2024-03-31"),
    "America/New_York": ("2024-11-03", "2024-03-10"),
    "Australia/Sydney": ("2024-04-07", "2024-10-06"),
}


def local(zone: str, day: str, freq: str, items: int = 1) -> pl.DataFrame:
    """Five days around a night, regular in UTC, written in local time without a zone."""
    start = pd.Timestamp(day, tz="UTC") - pd.Timedelta(days=3)
    moments = pd.date_range(
        start, periods=int(pd.Timedelta(days=6) / pd.Timedelta(freq)), freq=freq
    )
    stamps = list(moments.tz_convert(zone).tz_localize(None))
    return pl.concat(
        pl.DataFrame({"item_id": f"i{k}", "timestamp": stamps, "target": 1.0}) for k in range(items)
    )


def refusal(frame: pl.DataFrame, freq: str | None = None) -> str:
    with pytest.raises(InvalidTable) as caught:
        from_frame(frame, freq)
    return str(caught.value)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("freq", ["15min", "1h"])
def test_the_hour_that_comes_twice_is_explained(zone: str, freq: str) -> None:
    night = CHANGES[zone][0]
    message = refusal(local(zone, night, freq))
    assert f"item 'i0' has the timestamp {night}T0" in message
    assert f"an hour comes twice in the night of {night}, the end of daylight saving" in message
    assert message.endswith("convert the timestamps to UTC")


def test_any_other_repetition_is_not_explained_so() -> None:
    frame = local("UTC", "2024-07-28", "1h")
    message = refusal(pl.concat([frame[:20], frame[19:]]))
    assert "row 20 and row 21; keep one of them, or sum them up" in message
    assert "daylight" not in message


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("change", [0, 1])
@pytest.mark.parametrize("given", [None, "6h"])
def test_longer_steps_that_shift_by_an_hour_are_explained(
    zone: str, change: int, given: str | None
) -> None:
    night = CHANGES[zone][change]
    message = refusal(local(zone, night, "6h"), given)
    assert f"the clocks change in the night of {night}" in message
    assert "convert the timestamps to UTC" in message


def test_any_other_shift_is_not_explained_so() -> None:
    frame = local("UTC", "2024-03-31", "6h")
    later = frame.with_columns(pl.col("timestamp").dt.offset_by("2h"))
    assert "clocks" not in refusal(pl.concat([frame[:12], later[12:]]))
    summer = local("UTC", "2024-07-28", "6h")
    later = summer.with_columns(pl.col("timestamp").dt.offset_by("1h"))
    assert "clocks" not in refusal(pl.concat([summer[:12], later[12:]]))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("freq", ["15min", "1h"])
def test_the_hour_that_is_lacking_is_missing_and_remarked_on(zone: str, freq: str) -> None:
    night = CHANGES[zone][1]
    panel = from_frame(local(zone, night, freq, items=3))
    lacking = int(pd.Timedelta("1h") / pd.Timedelta(freq))
    assert [int(np.isnan(series.target).sum()) for series in panel.series] == [lacking] * 3
    assert f"every item lacks the hour after {night}T0" in panel.remark
    assert "convert the timestamps to UTC" in panel.remark


def remark(frame: pl.DataFrame) -> str:
    panel: Panel = from_frame(frame)
    return panel.remark


def test_a_gap_of_one_item_or_on_another_day_is_not_remarked_on() -> None:
    frame = local("Europe/Berlin", "2024-03-31", "1h", items=2)
    whole = local("UTC", "2024-03-31", "1h").with_columns(item_id=pl.lit("whole"))
    assert remark(frame) != ""
    assert remark(pl.concat([frame, whole])) == ""
    assert remark(whole) == ""
    tuesday = whole.filter(pl.col("timestamp") != pd.Timestamp("2024-04-02T02:00"))
    assert remark(tuesday) == ""
