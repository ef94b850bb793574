"""The measures of each version, read from the points and forecasts that the database holds.

Sums are made by the database at each reading and kept nowhere: a sum that is added to and
subtracted from would remember an actual of 1e30 after it was corrected.
"""

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from service.quality.measures import widths
from service.quality.tables import forecasts, points, versions

Version = tuple[str, int]  # of a model


@dataclass
class Scores:
    """One version; None where a measure is undefined."""

    points: int = 0  # steps whose actual is known
    forecasts: int = 0  # of one series each, with an actual or without
    mase: float | None = None
    wql: float | None = None
    coverage: dict[float, float] = field(default_factory=dict)  # by the width of the interval
    outside: float | None = None  # share of inputs outside the range of training
    scale_ratio: float | None = None  # of the inputs to training; 1 = as large

    def content(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"coverage": {f"{width:g}": s for width, s in self.coverage.items()}}


def read_scores(
    connection: Connection, since: float = -math.inf, model: str | None = None
) -> dict[Version, Scores]:
    """The scores by version.

    One statement for each version: grouped by version, SQLite would sort all points first, and take
    four times as long.

    Args:
        since: points joined and forecasts made from then on, seconds since 1970.
        model: only its versions.
    """
    found: dict[Version, Scores] = {}
    gathered: dict[Version, list[_Sums]] = defaultdict(list)
    asked = select(versions).order_by(versions.c.model, versions.c.version)
    if model is not None:
        asked = asked.where(versions.c.model == model)
    for row in connection.execute(asked).all():
        gathered[row.model, row.version].append(_sums(connection, row, since))
    for of, sums in gathered.items():
        if any(one.points.points or one.inputs.forecasts for one in sums):
            found[of] = _scores(sums)
    return found


@dataclass(frozen=True)
class _Sums:
    """Of the points and the forecasts of one version with one set of levels."""

    widths: list[float]
    points: Row[Any]
    inside: list[int]  # points in the interval of each width
    inputs: Row[Any]


def _scores(many: list[_Sums]) -> Scores:
    """Several, where a version was replaced by one of other levels under the same number."""
    points, inputs = [one.points for one in many], [one.inputs for one in many]
    scalable = sum(row.scalable for row in points)
    magnitude = sum(row.magnitude or 0.0 for row in points)
    judged, compared = sum(row.judged for row in inputs), sum(row.compared for row in inputs)
    held: dict[float, list[int]] = defaultdict(lambda: [0, 0])  # inside and all, by width
    for one in many:
        for width, inside in zip(one.widths, one.inside, strict=True):
            held[width][0] += inside
            held[width][1] += one.points.points
    return Scores(
        points=sum(row.points for row in points),
        forecasts=sum(row.forecasts for row in inputs),
        mase=sum(row.scaled or 0.0 for row in points) / scalable if scalable else None,
        wql=2 * sum(row.pinball or 0.0 for row in points) / magnitude if magnitude else None,
        coverage={width: part / whole for width, (part, whole) in sorted(held.items()) if whole},
        outside=sum(row.outside or 0 for row in inputs) / judged if judged else None,
        scale_ratio=(
            math.exp(sum(row.drift or 0.0 for row in inputs) / compared) if compared else None
        ),
    )


def _sums(connection: Connection, version: Row[Any], since: float) -> _Sums:
    of, by = points.c, forecasts.c
    intervals = widths(json.loads(version.levels))
    inside = [func.sum(case((of.depth > at, 1), else_=0)) for at in range(len(intervals))]
    joined = select(
        func.count().label("points"),
        func.count(of.scaled).label("scalable"),
        func.sum(of.scaled).label("scaled"),
        func.sum(of.pinball).label("pinball"),
        func.sum(func.abs(of.actual)).label("magnitude"),
        *inside,
    ).where(of.version_id == version.id)
    made = select(
        func.count().label("forecasts"),
        func.count(by.outside).label("judged"),
        func.sum(by.outside).label("outside"),
        func.count(by.drift).label("compared"),
        func.sum(by.drift).label("drift"),
    ).where(by.version_id == version.id)
    if math.isfinite(since):
        joined, made = joined.where(of.joined_at >= since), made.where(by.made_at >= since)
    sums = connection.execute(joined).one()
    within = [count or 0 for count in sums[len(sums) - len(inside) :]]
    return _Sums(intervals, sums, within, connection.execute(made).one())
