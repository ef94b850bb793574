"""A long table from outside -> typed columns that the rest can trust.

Every column has a meaning: the three of a series, or one that the user gave it. A column without
one is refused, because a forecast that silently leaves out a price is worse than none. Rows are
counted as a user counts them: from 1, below the header.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from service.contract.forecast import Covariates
from training.tables import cells
from training.tables.cells import Cells
from training.tables.source import REMEDY, InvalidTable

__all__ = ["NO_ROLES", "InvalidTable", "Roles", "tidy"]

ONE_SERIES = "series"  # item_id of a table of two columns

_COLUMNS = ("item_id", "timestamp", "target")
_LAYOUTS = (_COLUMNS, ("unique_id", "ds", "y"))
_RESERVED = (*_COLUMNS, "row")
_PANDAS_INDEX = "__index_level_"  # in Parquet; in CSV the column has no name


@dataclass(frozen=True)
class Roles:
    """Which columns beside the target mean what."""

    past: tuple[str, ...] = ()  # a number per step, known up to the cutoff
    known: tuple[str, ...] = ()  # a number per step, known over the horizon too
    static: tuple[str, ...] = ()  # a number per item
    categories: tuple[str, ...] = ()  # a text per item
    fixed: bool = False  # by a model; no flag can change them

    @classmethod
    def of(cls, covariates: Covariates) -> Self:
        """The roles that a model was trained with."""
        categories = tuple(category.name for category in covariates.categories)
        return cls(covariates.past, covariates.known, covariates.static, categories, fixed=True)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Each column and its flag."""
        kinds = {
            "--past": self.past,
            "--known": self.known,
            "--static": self.static,
            "--category": self.categories,
        }
        return ((name, flag) for flag, names in kinds.items() for name in names)

    @property
    def numeric(self) -> tuple[str, ...]:
        """Columns of numbers."""
        return self.past + self.known + self.static


NO_ROLES = Roles()


def tidy(frame: pl.DataFrame, source: str, roles: Roles = NO_ROLES, first: int = 1) -> pl.DataFrame:
    """Recognise the columns, give them types and refuse every cell that cannot be used.

    Blank lines, rows without any value, are left out but counted.

    Args:
        source: what messages call the table.
        first: the number of its first row.

    Returns:
        item_id (String), timestamp (Datetime us), target (Float64, NaN = missing), row (UInt32),
        and the columns that have a role (Float64, NaN = missing, or String) by their own names,
        in the order of the table.

    Raises:
        InvalidTable: naming the column, or the item, the row and its value.
    """
    names = _recognise(frame.columns, source, roles)
    named = zip(names, _COLUMNS[-len(names) :], strict=True)
    frame = frame.select(
        pl.int_range(first, first + pl.len(), dtype=pl.UInt32).alias("row"),
        *(pl.col(name).alias(column) for name, column in named),
        *(pl.col(name) for name, _ in roles),
    )
    frame = frame.filter(~pl.all_horizontal(pl.exclude("row").is_null()))
    rows = frame["row"]
    if "item_id" in frame.columns:
        items = ids = cells.item_ids(Cells("item_id", frame["item_id"], rows, source))
    else:
        items, ids = None, pl.Series([ONE_SERIES]).new_from_index(0, frame.height)

    def column(name: str) -> Cells:
        return Cells(name, frame[name], rows, source, items)

    typed = {
        "item_id": ids,
        "timestamp": cells.timestamps(column("timestamp")),
        "target": cells.numbers(column("target")),
        "row": rows,
    }
    typed |= {name: cells.numbers(column(name), covariate=True) for name in roles.numeric}
    typed |= {name: cells.categories(column(name)) for name in roles.categories}
    return pl.DataFrame(typed)


def _recognise(columns: Sequence[str], source: str, roles: Roles) -> Sequence[str]:
    """The columns of the table that mean item_id, timestamp and target, or the latter two."""
    _check_roles(columns, source, roles)
    given = {name for name, _ in roles}
    rest = [name for name in columns if name not in given]
    for layout in _LAYOUTS:
        if set(layout) <= set(rest):
            _check_rest(rest, layout, source, roles)
            return layout
        if set(rest) == set(layout[1:]):
            return layout[1:]
    if len(rest) == 2 and not {layout[0] for layout in _LAYOUTS} & set(rest):
        return rest
    layout = max(_LAYOUTS, key=lambda layout: len(set(layout) & set(rest)))
    missing = ", ".join(name for name in layout if name not in rest)
    raise InvalidTable(
        f"{source}: column {missing} is missing, found {_listed(columns)}; {REMEDY}, or give two "
        "columns, timestamp and target, for one series; what comes beside them is named with "
        "--past, --known, --static or --category"
    )


def _check_roles(columns: Sequence[str], source: str, roles: Roles) -> None:
    """Every column that has a role is there, has one only, and is none of the three."""
    seen: dict[str, str] = {}
    for name, flag in roles:
        if name in seen:
            raise InvalidTable(
                f"{source}: column {name} is named with {seen[name]} and {flag}; name it once"
            )
        seen[name] = flag
        if name in (*_RESERVED, *_LAYOUTS[1]):
            raise InvalidTable(
                f"{source}: column {name} cannot be named with {flag}, the name has a meaning of "
                "its own; rename the column"
            )
        if name not in columns:
            remedy = "add it to the table"
            if not roles.fixed:
                remedy += f", or leave out {flag} {name}"
            whose = f"which the model was trained with as {flag}," if roles.fixed else f"of {flag},"
            raise InvalidTable(
                f"{source}: column {name}, {whose} is missing, found {_listed(columns)}; {remedy}"
            )


def _check_rest(rest: list[str], layout: Sequence[str], source: str, roles: Roles) -> None:
    """No column is left without a role."""
    extra = [name for name in rest if name not in layout]
    if not extra:
        return
    if any(name == "" or name.startswith(_PANDAS_INDEX) for name in extra):
        raise InvalidTable(
            f"{source}: column {', '.join(map(repr, extra))} is the index of a pandas frame; write "
            "the file without it (index=False)"
        )
    if roles.fixed:
        known = _listed([name for name, _ in roles])
        raise InvalidTable(
            f"{source}: column {_listed(extra)} was not there in training, and the model cannot "
            f"use it; drop it (beside {', '.join(layout)} the model reads: {known})"
        )
    raise InvalidTable(
        f"{source}: column {_listed(extra)} has no role; name it with --past (a number per step, "
        "known up to now), --known (known over the horizon too), --static (a number per item) or "
        "--category (a text per item), or drop it"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
