"""A long table from outside -> four columns that the rest can trust.

CSV is read as text and typed here, so that an item "007" stays one and every refusal can show the
row and what stands in it. Rows are counted as a user counts them: from 1, below the header.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from service.contract.timestamp import (
    EARLIEST_YEAR,
    EXPECTED,
    ISO_8601,
    LATEST_YEAR,
    UTC,
    InvalidTimestamp,
    read_timestamp,
)

ONE_SERIES = "series"  # item_id of a table of two columns

_COLUMNS = ("item_id", "timestamp", "target")
_LAYOUTS = (_COLUMNS, ("unique_id", "ds", "y"))
_REMEDY = "name the columns item_id, timestamp, target (or unique_id, ds, y)"
_MISSING = ("", "nan", "na", "null")  # how a missing target is written in CSV, in any case


class InvalidTable(ValueError):
    """A table that cannot become a panel; the message names the place and the remedy."""


def read(path: Path) -> pl.DataFrame:
    """Read CSV (every column as text) or Parquet, by the suffix of the path.

    Raises:
        InvalidTable: no such file, another suffix, or a file that cannot be read as what it says.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InvalidTable(f"{path}: the name must end in .csv or .parquet; convert the table")
    if not path.is_file():
        raise InvalidTable(f"{path}: there is no such file; check the path")
    try:
        if suffix == ".csv":
            return pl.read_csv(path, infer_schema=False, glob=False)
        return pl.read_parquet(path, glob=False)
    except pl.exceptions.NoDataError:
        raise InvalidTable(f"{path}: the file is empty; {_REMEDY}") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InvalidTable(
            f"{path}: cannot be read as {suffix[1:]}: {reason}; write the file again"
        ) from error


def tidy(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """Recognise the columns, give them types and refuse every cell that cannot be used.

    Blank lines, rows without any value, are left out but counted.

    Returns:
        item_id (String), timestamp (Datetime us), target (Float64, NaN = missing) and
        row (from 1), in the order of the table.

    Raises:
        InvalidTable: naming the column, or the row and its value.
    """
    names = _recognise(frame.columns, source)
    frame = frame.with_row_index("row", offset=1).select(
        pl.col("row"),
        *(
            pl.col(name).alias(column)
            for name, column in zip(names, _COLUMNS[-len(names) :], strict=True)
        ),
    )
    frame = frame.filter(~pl.all_horizontal(pl.exclude("row").is_null()))
    if frame.is_empty():
        raise InvalidTable(f"{source}: there are no rows below the header; add the observations")
    if "item_id" not in frame.columns:
        frame = frame.with_columns(item_id=pl.lit(ONE_SERIES))
    rows = frame["row"]
    return pl.DataFrame(
        {
            "item_id": _item_ids(frame["item_id"], rows, source),
            "timestamp": _timestamps(frame["timestamp"], rows, source),
            "target": _targets(frame["target"], rows, source),
            "row": rows,
        }
    )


def _recognise(columns: Sequence[str], source: str) -> Sequence[str]:
    """The columns of the table that mean item_id, timestamp and target, or the latter two."""
    for layout in _LAYOUTS:
        if set(columns) == set(layout):
            return layout
        if set(columns) == set(layout[1:]):
            return layout[1:]
    ids = {layout[0] for layout in _LAYOUTS}
    if len(columns) == 2 and not ids & set(columns):
        return columns
    layout = max(_LAYOUTS, key=lambda layout: len(set(layout) & set(columns)))
    found = ", ".join(columns) or "none"
    missing = [name for name in layout if name not in columns]
    if missing:
        raise InvalidTable(
            f"{source}: column {', '.join(missing)} is missing, found {found}; {_REMEDY}, or give "
            "two columns, timestamp and target, for one series"
        )
    unexpected = ", ".join(name for name in columns if name not in layout)
    raise InvalidTable(
        f"{source}: column {unexpected} is not used by the forecaster, which reads only "
        f"{', '.join(layout)}; drop it"
    )


def _item_ids(values: pl.Series, rows: pl.Series, source: str) -> pl.Series:
    known = (pl.String, pl.Categorical, pl.Enum, pl.Null)
    if not (values.dtype.is_integer() or values.dtype in known):
        raise InvalidTable(
            f"{source}: item_id is {values.dtype}, expected text or integers; convert the column"
        )
    texts = values.cast(pl.String)
    missing = rows.filter(texts.is_null() | (texts == ""))
    if len(missing):
        raise InvalidTable(f"{source}: row {missing[0]}: item_id is missing; fill it in")
    return texts


def _timestamps(values: pl.Series, rows: pl.Series, source: str) -> pl.Series:
    if values.dtype == pl.String:
        values = values.str.strip_chars()
        values = values.set(values == "", None)
    missing = rows.filter(values.is_null())
    if len(missing):
        raise InvalidTable(
            f"{source}: row {missing[0]}: timestamp is missing; fill it in or drop the row"
        )
    moments = _moments(values, rows, source)
    years = moments.dt.year()  # null where even polars cannot tell
    outside = ~years.is_between(EARLIEST_YEAR, LATEST_YEAR).fill_null(False)
    if outside.any():
        came = years.filter(outside).cast(pl.String).fill_null("unknown")[0]
        raise InvalidTable(
            f"{source}: row {rows.filter(outside)[0]}: timestamp is in the year {came}, outside "
            f"the years {EARLIEST_YEAR} to {LATEST_YEAR}; correct it"
        )
    return moments.cast(pl.Datetime("us"))


def _moments(values: pl.Series, rows: pl.Series, source: str) -> pl.Series:
    """Dates, date-times and text -> dates or date-times without a zone."""
    dtype = values.dtype
    if dtype == pl.String:
        return _read_texts(values, rows, source)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        if dtype.time_zone not in ("UTC", "Etc/UTC"):
            raise InvalidTable(
                f"{source}: timestamp is in the zone {dtype.time_zone}, expected UTC or no zone; "
                "convert the column to UTC"
            )
        values = values.dt.replace_time_zone(None)
    elif dtype not in (pl.Date, pl.Datetime):
        raise InvalidTable(
            f"{source}: timestamp is {dtype}, expected dates, date-times or {EXPECTED}; "
            "convert the column"
        )
    return values


def _read_texts(texts: pl.Series, rows: pl.Series, source: str) -> pl.Series:
    """What `read_timestamp` does, for a whole column at once."""
    parts = texts.str.extract_groups(f"^(?:{ISO_8601})$").struct
    time = parts.field("time").fill_null("00:00")
    time = time + time.str.len_chars().replace_strict(
        {5: ":00"}, default="", return_dtype=pl.String
    )
    moments = (parts.field("date") + "T" + time).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
    )
    refused = moments.is_null() | ~parts.field("offset").fill_null(UTC[0]).is_in(UTC)
    if refused.any():
        raise _unreadable(texts.filter(refused)[0], rows.filter(refused)[0], source)
    return moments


def _unreadable(text: str, row: int, source: str) -> InvalidTable:
    try:
        read_timestamp(text)
    except InvalidTimestamp as error:
        return InvalidTable(f"{source}: row {row}: timestamp: {error}")
    raise AssertionError(f"{text!r} is a timestamp for a request and none for a table")


def _targets(values: pl.Series, rows: pl.Series, source: str) -> pl.Series:
    """Numbers, NaN where missing."""
    if values.dtype == pl.String:
        numbers = _read_numbers(values.str.strip_chars(), rows, source)
    elif values.dtype.is_numeric() or values.dtype == pl.Null:
        numbers = values.cast(pl.Float64)
    else:
        raise InvalidTable(
            f"{source}: target is {values.dtype}, expected numbers; convert the column"
        )
    infinite = numbers.is_infinite().fill_null(False)
    if infinite.any():
        raise InvalidTable(
            f"{source}: row {rows.filter(infinite)[0]}: target is "
            f"{numbers.filter(infinite)[0]}, expected a finite number; leave it empty if it is "
            "missing"
        )
    return numbers.fill_null(float("nan"))


def _read_numbers(texts: pl.Series, rows: pl.Series, source: str) -> pl.Series:
    missing = texts.is_null() | texts.str.to_lowercase().is_in(_MISSING)
    numbers = texts.set(missing, None).cast(pl.Float64, strict=False)
    refused = numbers.is_null() & ~missing
    if refused.any():
        raise InvalidTable(
            f"{source}: row {rows.filter(refused)[0]}: target is "
            f"{texts.filter(refused)[0][:40]!r}, expected a number such as 12.5; leave it empty if "
            "it is missing"
        )
    return numbers
