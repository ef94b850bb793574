"""Timestamps, judged by pandas and the standard library."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.timestamp import (
    InvalidTimestamp,
    Timestamp,
    format_timestamp,
    format_timestamps,
    read_timestamp,
)

moments = st.datetimes(datetime(1678, 1, 1), datetime(2261, 12, 31, 23, 59, 59, 999999))


@given(moments, st.sampled_from(["", "Z", "+00:00"]), st.sampled_from("T "))
def test_what_the_standard_library_writes_is_read(moment: datetime, zone: str, sep: str) -> None:
    found = read_timestamp(moment.isoformat(sep) + zone)
    assert found == Timestamp(np.datetime64(moment, "us"), "Z" if zone else "")


@given(st.lists(moments, max_size=5), st.booleans())
def test_what_is_written_pandas_reads_back(values: list[datetime], utc: bool) -> None:
    texts = format_timestamps(np.array(values, "datetime64[us]"), "Z" if utc else "")
    expected = [pd.Timestamp(value, tz="UTC" if utc else None) for value in values]
    assert [pd.Timestamp(text) for text in texts] == expected


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1961-01-01", "1961-01-01T00:00:00"),
        ("1961-01-01T06:30", "1961-01-01T06:30:00"),
        ("1961-01-01 06:30:15", "1961-01-01T06:30:15"),
        ("1961-01-01T06:30:15.5", "1961-01-01T06:30:15.500000"),
        ("1961-01-01T06:30:15.000000", "1961-01-01T06:30:15"),
    ],
)
def test_answers_have_one_form(text: str, written: str) -> None:
    assert format_timestamp(read_timestamp(text).value) == written


NO_DATES = ("", "now", "1961", "1961-01", "1961-1-1", "01/02/1961", "19610101", "1961-W01-1")
NO_TIMES = (
    "T",
    "T24:00",
    "T06",
    "T06:60",
    "T06:30:60",
    "T06:30:00.1234567",
    "T06:30:00z",
    "Z",
    "\n",
)


@pytest.mark.parametrize(
    "text", [*NO_DATES, " 1961-01-01", "\u0661961-01-01", *(f"1961-01-01{t}" for t in NO_TIMES)]
)
def test_other_forms_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidTimestamp, match="ISO 8601 date or date-time such as") as caught:
        read_timestamp(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["1961-02-29", "1961-13-01", "1961-00-10", "1961-04-31T06:30"])
def test_a_day_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InvalidTimestamp, match="a day that does not exist"):
        read_timestamp(text)


@pytest.mark.parametrize("offset", ["+01:00", "-05:00", "-00:30", "+0000", "+00", "-00:00"])
def test_another_offset_is_refused_with_the_remedy(offset: str) -> None:
    with pytest.raises(InvalidTimestamp, match="convert it to UTC and end it with Z") as caught:
        read_timestamp(f"1961-01-01T06:30:00{offset}")
    assert offset in str(caught.value)


@pytest.mark.parametrize("text", ["1677-12-31", "2262-01-01", "0001-01-01", "9999-12-31T23:59:59Z"])
def test_years_that_nanoseconds_cannot_count_are_refused(text: str) -> None:
    with pytest.raises(InvalidTimestamp, match="outside the years 1678 to 2261"):
        read_timestamp(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        read_timestamp(text)
    except InvalidTimestamp as error:
        message = str(error)
    else:
        message = repr(text)
    assert repr(text) in message


def test_a_message_never_repeats_a_long_text_whole() -> None:
    with pytest.raises(InvalidTimestamp) as caught:
        read_timestamp("1" * 100_000)
    assert len(str(caught.value)) < 300
