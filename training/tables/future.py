"""The end of an item where covariates are known ahead: which of its steps are the future.

M items; H steps of the horizon; K known covariates.
"""

import numpy as np
from numpy.typing import NDArray

from service.contract.timestamp import format_timestamp
from training.tables.rows import Rows
from training.tables.source import InvalidTable
from training.tables.steps import Steps


def observed(steps: Steps, target: NDArray[np.float64]) -> NDArray[np.int64]:
    """[M] the length of each item up to its last observed target, of which it has one."""
    seen = np.flatnonzero(~np.isnan(target))
    last = seen[np.searchsorted(seen, steps.offsets + steps.lengths) - 1]
    return np.asarray(last - steps.offsets + 1, np.int64)


def check(
    rows: Rows,
    steps: Steps,
    target: NDArray[np.float64],
    known: NDArray[np.float64],
    names: tuple[str, ...],
    horizon: int,
) -> None:
    """Make sure that the last H steps of every item can be forecast.

    Args:
        target: of all steps.
        known: [all steps, K].
        names: of the K known covariates.

    Raises:
        InvalidTable: an item without a step before its horizon, a target in it, or a known
            covariate that is missing there; naming the item, the row and what to fill in.
    """
    columns = ", ".join(names)
    short = steps.lengths <= horizon
    if short.any():
        item = int(short.argmax())
        raise rows.refuse_item(
            item,
            f"has {steps.lengths[item]} steps; the last {horizon} of every item are its horizon, "
            f"with {columns} and an empty target, and at least one step must come before them: add "
            "the history",
        )
    begin = steps.offsets + steps.lengths - horizon
    span = begin[:, np.newaxis] + np.arange(horizon)  # [M, H]
    given = ~np.isnan(target[span])
    if given.any():
        raise _target_given(rows, steps, int(span[given][0]), target, columns, horizon)
    missing = np.isnan(known[span])  # [M, H, K]
    if missing.any():
        item, step, which = (int(at[0]) for at in np.nonzero(missing))
        raise _known_missing(rows, steps, item, int(span[item, step]), names[which], horizon)


def _target_given(
    rows: Rows, steps: Steps, step: int, target: NDArray[np.float64], columns: str, horizon: int
) -> InvalidTable:
    row = steps.row(step)
    assert row is not None  # it has a target
    return rows.refuse(
        row,
        f"target is {target[step]:g} in the last {horizon} steps of the item, which are the "
        f"horizon of this model; append {horizon} rows with {columns} and an empty target",
    )


def _known_missing(
    rows: Rows, steps: Steps, item: int, step: int, name: str, horizon: int
) -> InvalidTable:
    after = step - int(steps.offsets[item])
    moment = format_timestamp(steps.frequency.timestamps(steps.starts[item], after, 1)[0])
    row = steps.row(step)
    remedy = f"{name} must be known over the horizon, the last {horizon} steps: fill it in"
    if row is None:
        return rows.refuse_item(item, f"has no row for {moment}; {remedy}")
    return rows.refuse(row, f"{name} is missing at {moment}; {remedy}")
