"""One column of a table: its cells as numbers, moments or texts, or an error showing the cell."""

from dataclasses import dataclass

import polars as pl

from service.contract.placement import LARGEST_VALUE
from service.contract.timestamp import (
    EARLIEST_YEAR,
    EXPECTED,
    ISO_8601,
    LATEST_YEAR,
    UTC,
    InvalidTimestamp,
    read_timestamp,
)
from training.tables.source import InvalidTable

_MISSING = ("", "nan", "na", "null")  # how a missing number is written in CSV, in any case
_LOGICAL = {"true": "1", "false": "0"}
_TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"


@dataclass(frozen=True)
class Cells:
    """A column, and what names the place of a cell of it."""

    name: str
    values: pl.Series
    rows: pl.Series  # the rows of the table as its user counts them
    source: str
    items: pl.Series | None = None  # None where the table has no such column, or this one is it

    def refuse(self, refused: pl.Series, problem: str) -> InvalidTable:
        """The error for the first cell that is refused."""
        at = int(refused.arg_true()[0])
        item = "" if self.items is None else f"item {self.items[at]!r}, "
        return InvalidTable(f"{self.source}: {item}row {self.rows[at]}: {self.name}{problem}")

    def refuse_type(self, problem: str) -> InvalidTable:
        """The error for a whole column."""
        return InvalidTable(f"{self.source}: {self.name} is {self.values.dtype}, {problem}")


def item_ids(cells: Cells) -> pl.Series:
    """Texts, none of them missing."""
    if not (cells.values.dtype.is_integer() or cells.values.dtype in _TEXTS):
        raise cells.refuse_type("expected text or integers; convert the column")
    texts = cells.values.cast(pl.String)
    missing = texts.is_null() | (texts == "")
    if missing.any():
        raise cells.refuse(missing, " is missing; fill it in")
    return texts


def categories(cells: Cells) -> pl.Series:
    """Texts, null where missing."""
    if not (cells.values.dtype.is_integer() or cells.values.dtype in _TEXTS):
        raise cells.refuse_type(
            "expected text or integers for a category; convert the column, or name it with --static"
        )
    texts = cells.values.cast(pl.String)
    return texts.set(texts == "", None)


def timestamps(cells: Cells) -> pl.Series:
    """Moments without a zone, Datetime in microseconds."""
    values = cells.values
    if values.dtype == pl.String:
        values = values.str.strip_chars()
        values = values.set(values == "", None)
    if values.has_nulls():
        raise cells.refuse(values.is_null(), " is missing; fill it in or drop the row")
    moments = _moments(values, cells)
    years = moments.dt.year()  # null where even polars cannot tell
    outside = ~years.is_between(EARLIEST_YEAR, LATEST_YEAR).fill_null(False)
    if outside.any():
        came = years.filter(outside).cast(pl.String).fill_null("unknown")[0]
        raise cells.refuse(
            outside,
            f" is in the year {came}, outside the years {EARLIEST_YEAR} to {LATEST_YEAR}; "
            "correct it",
        )
    return moments.cast(pl.Datetime("us"))


def _moments(values: pl.Series, cells: Cells) -> pl.Series:
    """Dates, date-times and text -> dates or date-times without a zone."""
    dtype = values.dtype
    if dtype == pl.String:
        return _read_texts(values, cells)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        if dtype.time_zone not in ("UTC", "Etc/UTC"):
            raise InvalidTable(
                f"{cells.source}: {cells.name} is in the zone {dtype.time_zone}, expected UTC or "
                "no zone; convert the column to UTC"
            )
        values = values.dt.replace_time_zone(None)
    elif dtype not in (pl.Date, pl.Datetime):
        raise cells.refuse_type(f"expected dates, date-times or {EXPECTED}; convert the column")
    return values


def _read_texts(texts: pl.Series, cells: Cells) -> pl.Series:
    """Each distinct text is read once: the items of a table mostly share their moments."""
    distinct = texts.unique(maintain_order=True)
    read = _read_distinct(distinct)
    moments = read if len(read) == len(texts) else texts.replace_strict(distinct, read)
    refused = moments.is_null()
    if refused.any():
        raise cells.refuse(refused, f": {_reason(texts.filter(refused)[0])}")
    return moments


def _read_distinct(texts: pl.Series) -> pl.Series:
    """What `read_timestamp` does, for a whole column at once; null where it refuses."""
    parts = texts.str.extract_groups(f"^(?:{ISO_8601})$").struct
    time = parts.field("time").fill_null("00:00")
    time = time + time.str.len_chars().replace_strict(
        {5: ":00"}, default="", return_dtype=pl.String
    )
    moments = (parts.field("date") + "T" + time).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
    )
    return moments.set(~parts.field("offset").fill_null(UTC[0]).is_in(UTC), None)


def _reason(text: str) -> str:
    try:
        read_timestamp(text)
    except InvalidTimestamp as error:
        return str(error)
    raise AssertionError(f"{text!r} is a timestamp for a request and none for a table")


def numbers(cells: Cells, *, covariate: bool = False) -> pl.Series:
    """Finite Float64, NaN where missing.

    Args:
        covariate: true and false are 1 and 0, in any case and type; what float32 cannot hold is
            refused.
    """
    dtype = cells.values.dtype
    if dtype == pl.String:
        values = _read_numbers(cells.values.str.strip_chars(), cells, covariate)
    elif dtype.is_numeric() or dtype == pl.Null or (covariate and dtype == pl.Boolean):
        values = cells.values.cast(pl.Float64)
    else:
        raise cells.refuse_type(f"expected numbers; {_remedy(cells, dtype.is_temporal())}")
    infinite = values.is_infinite().fill_null(False)
    if infinite.any():
        raise cells.refuse(
            infinite,
            f" is {values.filter(infinite)[0]}, expected a finite number; leave it empty if it is "
            "missing",
        )
    values = values.fill_null(float("nan"))
    if covariate and (large := (values.abs() > LARGEST_VALUE) & values.is_finite()).any():
        value = values.filter(large)[0]
        raise cells.refuse(large, f" is {value:g}, beyond {LARGEST_VALUE:g}; correct or rescale it")
    return values


def _read_numbers(texts: pl.Series, cells: Cells, covariate: bool) -> pl.Series:
    small = texts.str.to_lowercase()
    missing = texts.is_null() | small.is_in(_MISSING)
    if covariate and small.is_in(list(_LOGICAL)).any():
        texts = small.replace(_LOGICAL)
    values = texts.set(missing, None).cast(pl.Float64, strict=False)
    refused = values.is_null() & ~missing
    if refused.any():
        text = cells.values.str.strip_chars().filter(refused)[0]
        date = pl.Series([text]).str.contains(f"^{_DATE}")[0]
        remedy = _remedy(cells, date) if date else "leave it empty if it is missing"
        if covariate and not date:
            remedy += ", or name the column with --category if it is text"
        raise cells.refuse(refused, f" is {text[:40]!r}, expected a number such as 12.5; {remedy}")
    return values


def _remedy(cells: Cells, date: bool) -> str:
    if date and cells.name == "target":
        return "it is a date: check which column is the timestamp and which the target"
    return "it is a date: leave the column out" if date else "convert the column"
