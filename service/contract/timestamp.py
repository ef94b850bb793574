"""ISO 8601 in, ISO 8601 out: how a moment is written in a request, an answer and a CSV file.

One language for both halves: `ISO_8601` is the whole grammar, in a dialect that Python's and
polars's regular expressions share. Time is UTC or has no zone; a calendar step across a change to
summer time has no single meaning, so other offsets are refused instead of guessed at.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Three named groups: date, time, offset.
ISO_8601 = (
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?)"
    r"(?P<offset>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
EXPECTED = (
    "an ISO 8601 date or date-time such as 1961-01-01, 1961-01-01T06:30 or "
    "1961-01-01T06:30:00.5Z (at most 6 decimals)"
)
UTC = ("Z", "+00:00")

# Whole years that nanoseconds in 64 bits can count, which is what pandas users hold them in.
EARLIEST_YEAR, LATEST_YEAR = 1678, 2261
EARLIEST = np.datetime64(f"{EARLIEST_YEAR}-01-01T00:00:00.000000")
LATEST = np.datetime64(f"{LATEST_YEAR}-12-31T23:59:59.999999")

Zone = Literal["", "Z"]


class InvalidTimestamp(ValueError):
    """A text that is not a timestamp we understand; the message says what to write instead."""


@dataclass(frozen=True)
class Timestamp:
    """A moment, and whether its text said that it is UTC, so that answers say it too."""

    value: np.datetime64  # microseconds
    zone: Zone = ""


@lru_cache(maxsize=4096)  # the series of a request, and of a day, often start together
def read_timestamp(text: str) -> Timestamp:
    """Read an ISO 8601 date or date-time; a date is its midnight.

    Raises:
        InvalidTimestamp: another form, no such day, an offset that is not UTC, or a year outside
            EARLIEST_YEAR to LATEST_YEAR.
    """
    matched = re.fullmatch(ISO_8601, text)
    if matched is None:
        raise InvalidTimestamp(f"{_short(text)} is not {EXPECTED}")
    offset = matched["offset"] or ""
    if offset and offset not in UTC:
        raise InvalidTimestamp(
            f"{_short(text)} has the offset {offset}; convert it to UTC and end it with Z"
        )
    local = f"{matched['date']}T{matched['time'] or '00:00'}"
    try:
        value = np.datetime64(datetime.fromisoformat(local), "us")
    except ValueError:
        raise InvalidTimestamp(f"{_short(text)} names a day that does not exist") from None
    if not EARLIEST <= value <= LATEST:
        raise InvalidTimestamp(
            f"{_short(text)} is outside the years {EARLIEST_YEAR} to {LATEST_YEAR}"
        )
    return Timestamp(value, "Z" if offset else "")


def format_timestamps(values: NDArray[np.datetime64], zone: Zone = "") -> list[str]:
    """Write moments as 1961-01-01T00:00:00, with microseconds only where there are any."""
    moments: list[datetime] = values.astype("datetime64[us]").tolist()
    return [moment.isoformat() + zone for moment in moments]


def format_timestamp(value: np.datetime64) -> str:
    """Write one moment without a zone, for messages."""
    return format_timestamps(np.array([value]))[0]


def _short(text: str) -> str:
    """Quote a text of any length for a message of one line."""
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
