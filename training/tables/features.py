"""What is known of an item beside its target: one value per item, or one per step.

A value of the item may be left out in some of its rows (the future ones, say), but never differs.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import Category, Covariates
from training.tables.rows import NONE, Rows
from training.tables.source import InvalidTable
from training.tables.table import Roles


def describe(rows: Rows, roles: Roles) -> Covariates:
    """What a model that is trained on these rows will want to know.

    Raises:
        InvalidTable: a column that is the same everywhere, from which nothing can be learnt.
    """
    flags = dict(roles)
    for name in roles.numeric:
        low, high = (f.reduce(rows.columns[name]) for f in (np.fmin, np.fmax))
        if not low < high:
            raise _constant(rows, name, flags[name], None if np.isnan(low) else f"{low:g}")
    categories = []
    for name in roles.categories:
        texts = rows.texts[name]
        if len(texts) < 2:
            raise _constant(rows, name, flags[name], repr(texts[0]) if texts else None)
        categories.append(Category(name=name, values=tuple(sorted(texts))))
    return Covariates(
        past=roles.past, known=roles.known, static=roles.static, categories=tuple(categories)
    )


def _constant(rows: Rows, name: str, flag: str, value: str | None) -> InvalidTable:
    what = "has no value in any row" if value is None else f"is {value} in every row"
    return InvalidTable(
        f"{rows.source}: column {name} {what}, so nothing can be learnt from it; drop the column "
        f"and leave out {flag} {name}"
    )


def static(rows: Rows, roles: Roles) -> NDArray[np.float64]:
    """[M, S] numbers, NaN = missing.

    Raises:
        InvalidTable: a value that changes within an item, naming both rows.
    """
    found = np.empty((len(rows.first), len(roles.static)))
    for k, name in enumerate(roles.static):
        values = rows.columns[name]
        found[:, k] = np.fmax.reduceat(values, rows.first)
        differs = np.fmin.reduceat(values, rows.first) < found[:, k]
        if differs.any():
            given = ~np.isnan(values)
            raise _changes(rows, name, roles, int(differs.argmax()), values, given)
    return found


def categories(rows: Rows, roles: Roles) -> Iterator[tuple[str | None, ...]]:
    """For each item its text of each category, None where missing.

    Raises:
        InvalidTable: a value that changes within an item, naming both rows.
    """
    found: list[list[str | None]] = []
    for name in roles.categories:
        codes = rows.codes[name]
        highest = np.maximum.reduceat(codes, rows.first)
        given = codes != NONE
        lowest = np.minimum.reduceat(np.where(given, codes, np.iinfo(np.int32).max), rows.first)
        differs = lowest < highest
        if differs.any():
            raise _changes(rows, name, roles, int(differs.argmax()), codes, given)
        texts = [*rows.texts[name], None]  # the last is that of NONE, -1
        found.append([texts[code] for code in highest])
    return zip(*found, strict=True) if found else iter([()] * len(rows.first))


def _changes(
    rows: Rows,
    name: str,
    roles: Roles,
    item: int,
    values: NDArray[np.float64] | NDArray[np.int32],
    given: NDArray[np.bool_],
) -> InvalidTable:
    """The error that shows the first two values of an item."""
    at = np.arange(rows.first[item], rows.ends[item])
    at = at[given[at]]
    one, other = int(at[0]), int(at[(values[at] != values[at[0]]).argmax()])
    text = name in rows.texts
    shown = [rows.texts[name][int(values[k])] if text else float(values[k]) for k in (one, other)]
    remedy = "" if text or roles.fixed else ", or name the column with --past or --known"
    return rows.refuse(
        other,
        f"{name} is {shown[1]!r}, but {shown[0]!r} in {rows.places.of(int(rows.numbers[one]))}; "
        f"{dict(roles)[name]} is one value per item: correct it{remedy}",
    )
