"""Long table -> panel: regular series, one value per step, NaN where nothing was observed.

Everything between the file and the arrays works on whole columns, so that ten million rows take
seconds and about a gibibyte.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import Covariates, ForecastSignature
from service.contract.frequency import Frequency
from training.tables import daylight, features, frequency, future
from training.tables import source as sources
from training.tables.rows import Rows
from training.tables.source import InvalidTable, Piece
from training.tables.steps import Steps
from training.tables.table import NO_ROLES, Roles

__all__ = ["InvalidTable", "Panel", "Roles", "Series", "from_frame", "load", "load_for"]


def _nothing(*shape: int) -> NDArray[np.float64]:
    return np.empty(shape)


@dataclass(frozen=True, eq=False)
class Series:
    """One regular series: step k is at start + k steps of the panel's frequency.

    Missing values are NaN. T steps; P past and K known covariates per step, S static features.
    """

    item_id: str
    start: np.datetime64  # microseconds
    target: NDArray[np.float64]  # [T]
    past: NDArray[np.float64] = field(default_factory=lambda: _nothing(0, 0))  # [T, P]
    # [T, K]; in a panel to be forecast [T + horizon, K]
    known: NDArray[np.float64] = field(default_factory=lambda: _nothing(0, 0))
    static: NDArray[np.float64] = field(default_factory=lambda: _nothing(0))  # [S]
    categories: tuple[str | None, ...] = ()  # None = missing


@dataclass(frozen=True, eq=False)
class Panel:
    """All series of a training or a forecast, in order of first appearance in their table."""

    series: tuple[Series, ...]
    frequency: Frequency
    covariates: Covariates = field(default_factory=Covariates)
    remark: str = ""  # what its user may want to know of the table, or nothing

    @property
    def fingerprint(self) -> str:
        """sha256 over freq, covariates, item ids, starts and values: the identity of the data."""
        digest = hashlib.sha256(f"{self.frequency.alias}\n".encode())
        more = self.covariates != Covariates()
        if more:  # a panel without covariates keeps the identity it had before there were any
            digest.update(self.covariates.model_dump_json().encode())
        for series in self.series:
            item_id = series.item_id.encode()
            start = series.start.astype("datetime64[us]").astype(int)
            digest.update(np.array((len(item_id), start, len(series.target)), "<i8").tobytes())
            digest.update(item_id)
            digest.update(_bits(series.target))
            if more:
                digest.update(np.array(self.covariates.codes(series.categories), "<i8").tobytes())
                for values in (series.past, series.known, series.static):
                    digest.update(_bits(values))
        return digest.hexdigest()


def _bits(values: NDArray[np.float64]) -> bytes:
    return np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes()  # one NaN of many


def load(path: Path, freq: str | None = None, roles: Roles = NO_ROLES) -> Panel:
    """Read a CSV file, a Parquet file or a folder of them; see `from_frame`.

    Raises:
        InvalidTable: a file that cannot be read, or whatever `from_frame` refuses.
    """
    return _for_training(sources.pieces(path), freq, str(path), roles)


def from_frame(
    frame: object, freq: str | None = None, source: str = "table", roles: Roles = NO_ROLES
) -> Panel:
    """Turn a long table into regular series, to train on them.

    Where there are known covariates, rows after an item's last observed target are the future,
    there for the sake of these covariates, and are left out.

    Args:
        frame: a frame of polars, or of pandas, which polars converts (by pyarrow where there is
            text). Columns item_id, timestamp, target; or unique_id, ds, y; or two columns,
            timestamp and target, for one series named "series"; and those that have a role. Rows
            of different items may be interleaved; within an item they are sorted by timestamp.
        freq: pandas offset alias; None infers it from the items with at least 3 timestamps, which
            must agree.
        source: what messages call the table.
        roles: what the other columns mean; every one needs a role.

    Raises:
        InvalidTable: anything that would have to be guessed or repaired; the message names the
            item or row (from 1, the header not counted) and the remedy.
    """
    return _for_training(sources.of_frame(frame, source), freq, source, roles)


def load_for(path: Path, signature: ForecastSignature) -> Panel:
    """Read what a model is to forecast: the columns and the freq that it was trained with.

    For a model with known covariates the last `horizon` steps of every item are those to forecast:
    their target is empty and the known covariates are there. What they hold of past covariates is
    not used. A model without forecasts what follows the last row.

    Raises:
        InvalidTable: as `load`, or a horizon that is not as described.
    """
    roles = Roles.of(signature.covariates)
    rows = Rows.of(sources.pieces(path), str(path), roles)
    horizon = signature.horizon if roles.known else 0
    steps = Steps.of(rows, frequency.parse(signature.freq, str(path)))
    steps.check_followed(rows)
    return _panel(rows, steps, roles, signature.covariates, horizon)


def _for_training(pieces: Iterable[Piece], freq: str | None, name: str, roles: Roles) -> Panel:
    given = None if freq is None else frequency.parse(freq, name)
    rows = Rows.of(pieces, name, roles)
    covariates = features.describe(rows, roles)
    steps = Steps.of(rows, given or frequency.infer(rows))
    return _panel(rows, steps, roles, covariates)


def _panel(
    rows: Rows, steps: Steps, roles: Roles, covariates: Covariates, horizon: int = 0
) -> Panel:
    """What no row speaks of is NaN.

    Args:
        horizon: steps at the end of each item that are to be forecast.
    """
    _check_observed(rows)
    target = steps.spread(rows.targets)
    past, known = (_spread(rows, steps, names) for names in (roles.past, roles.known))
    static = features.static(rows, roles)
    lengths = steps.lengths - horizon
    if horizon:
        future.check(rows, steps, target, known, roles.known, horizon)
    elif roles.known:
        lengths = future.observed(steps, target)
    series = tuple(
        Series(
            item_id,
            start,
            target[first : first + length],
            past[first : first + length],
            known[first : first + length + horizon],
            numbers,
            texts,
        )
        for item_id, start, first, length, numbers, texts in zip(
            rows.item_ids,
            steps.starts,
            steps.offsets,
            lengths,
            static,
            features.categories(rows, roles),
            strict=True,
        )
    )
    return Panel(series, steps.frequency, covariates, _remark(rows, steps.frequency))


def _spread(rows: Rows, steps: Steps, names: tuple[str, ...]) -> NDArray[np.float64]:
    """[all steps, columns of these names]."""
    block = np.empty((int(steps.lengths.sum()), len(names)))
    for k, name in enumerate(names):
        block[:, k] = steps.spread(rows.columns[name])
    return block


def _remark(rows: Rows, frequency: Frequency) -> str:
    if frequency.unit != "s":
        return ""
    return daylight.lacking(rows.first, rows.timestamps, np.timedelta64(frequency.count, "s"))


def _check_observed(rows: Rows) -> None:
    observed = np.logical_or.reduceat(~np.isnan(rows.targets), rows.first)
    if not observed.all():
        raise rows.refuse_item(
            int(observed.argmin()), "has no observed target at all; drop it, or fill some in"
        )
