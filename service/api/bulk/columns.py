"""The columns of an Arrow table as numpy arrays, or an error that names the column and the row.

Beside `arrow` the only file that imports pyarrow. Types are checked before values are looked at:
only those are read that mean what they say and stand for no more rows than they have bytes.
"""

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from service.api.bulk.rows import Floats
from service.contract.forecast import Category
from service.contract.grid import Moments
from service.contract.timestamp import Zone
from service.errors import Malformed, Unservable

_UTC = ("UTC", "Z", "+00:00", "Etc/UTC")
_WANTED = "text, timestamps, numbers, or lists of numbers"


def check_type(name: str, kind: pa.DataType) -> None:
    """Refuse what no column can be.

    Raises:
        Malformed: another type.
    """
    inner = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
    if not (is_text(inner) or _is_number(inner) or _is_moment(inner)):
        raise Malformed(f"column {name} is {kind}; convert it to {_WANTED}", name)


def texts(table: pa.Table, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """The code of each row, -1 = null, and the text of each code."""
    column = table.column(name)
    kind = column.type
    if not (is_text(kind) or types.is_integer(kind) or types.is_null(kind)):
        raise Malformed(f"column {name} is {kind}, expected text or integers; convert it", name)
    if types.is_null(kind):
        column = column.cast(pa.string())
    if not types.is_dictionary(kind):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    distinct = whole.dictionary.cast(pa.string()).to_pylist()
    found = np.asarray(whole.indices.cast(pa.int64()).fill_null(-1), np.int64)
    missing = np.array([text is None for text in distinct] + [True])
    return np.where(missing[found], -1, found), distinct


def codes(table: pa.Table, category: Category) -> NDArray[np.int64]:
    """Positions among the values that the model knows; -1 = any other, or null."""
    found, distinct = texts(table, category.name)
    own = np.array([category.code(text) - 1 for text in distinct] + [-1], np.int64)
    return own[found]


def moments(table: pa.Table, name: str) -> tuple[Moments, Zone]:
    """Timestamps of any unit, or dates, none of them null, and whether they are UTC."""
    column = table.column(name)
    kind = column.type
    if not _is_moment(kind):
        raise Malformed(f"column {name} is {kind}, expected timestamp or date; convert it", name)
    refuse_null(np.asarray(column.is_null()), name)
    zone = kind.tz if types.is_timestamp(kind) else None
    if zone not in (None, *_UTC):
        message = f"column {name} has the time zone {zone}; convert it to UTC"
        raise Unservable(message, name)
    try:
        counted = column.cast(pa.timestamp("us", zone)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise Unservable(f"column {name}: {error}; round it to microseconds", name) from None
    return np.asarray(counted, np.int64).view("datetime64[us]"), "Z" if zone else ""


def refuse_beyond_dates(found: Moments, name: str) -> None:
    """Refuse what no date can be written of; years that a model cannot reach are named later."""
    microseconds = found.view(np.int64)
    first, last = np.array([datetime.min, datetime.max], "datetime64[us]").astype(np.int64)
    beyond = np.flatnonzero((microseconds < first) | (microseconds > last))
    if beyond.size:
        row = int(beyond[0])
        came = f"{microseconds[row]} microseconds from 1970"
        raise Unservable(f"row {row} of column {name} is {came}, expected years 1 to 9999", name)


def numbers(column: Any, name: str) -> Floats:
    """As float64, NaN = null."""
    kind = column.type
    if not _is_number(kind):
        raise Malformed(f"column {name} is {kind}, expected numbers; convert it", name)
    return np.asarray(column.cast(pa.float64(), safe=False), np.float64)


def lists(table: pa.Table, name: str, ahead: int) -> tuple[Floats, NDArray[np.int64]]:
    """The values of all rows, finite or NaN, and how many each row has."""
    column = table.column(name).combine_chunks()
    if not (types.is_list(column.type) or types.is_large_list(column.type)):
        raise Malformed(f"column {name} is {column.type}, expected lists of numbers", name)
    refuse_null(np.asarray(column.is_null()), name)
    values = numbers(column.flatten(), name)
    sizes = np.asarray(column.value_lengths(), np.int64)
    if np.isinf(values).any():
        at = int(np.searchsorted(np.cumsum(sizes), int(np.isinf(values).argmax()), "right"))
        message = f"row {at + 1}: {name} holds Infinity; leave null what is missing"
        raise Malformed(message, f"row[{at + 1}]")
    return values, sizes


def refuse_null(missing: NDArray[np.bool_], name: str) -> None:
    """Name the first row that is missing."""
    if missing.any():
        row = int(missing.argmax()) + 1
        raise Malformed(f"row {row}: {name} is null; fill it in", f"row[{row}]")


def is_text(kind: pa.DataType) -> bool:
    """Also a dictionary of texts, as categories are written."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in tests)


def _is_number(kind: pa.DataType) -> bool:
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(test(kind) for test in tests)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(types.is_timestamp(kind) or types.is_date(kind))
