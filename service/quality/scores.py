"""The measures of each version, read from the points and forecasts that the database holds.

Sums are made by the database at each reading and kept nowhere: a sum that is added to and
subtracted from would remember an actual of 1e30 after it was corrected.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, select

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

    Args:
        since: points joined and forecasts made from then on, seconds since 1970.
        model: only its versions.
    """
    found: dict[Version, Scores] = defaultdict(Scores)
    gathered: dict[Version, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(_sums(since, model)):
        gathered[row.model, row.version].append(row)
    for of, rows in gathered.items():
        _score(found[of], rows)
    for row in connection.execute(_inputs(since, model)):
        one = found[row.model, row.version]
        one.forecasts = row.forecasts
        one.outside = row.outside / row.judged if row.judged else None
        one.scale_ratio = None if row.drift is None else math.exp(row.drift)
    return dict(sorted(found.items()))


def _score(one: Scores, rows: list[Row[Any]]) -> None:
    """Rows: the sums of points of the same levels and depth."""
    one.points = sum(row.points for row in rows)
    scaled = sum(row.scalable for row in rows)
    one.mase = sum(row.scaled or 0.0 for row in rows) / scaled if scaled else None
    magnitude = sum(row.magnitude for row in rows)
    one.wql = 2 * sum(row.pinball for row in rows) / magnitude if magnitude else None
    held: Mapping[float, list[int]] = defaultdict(lambda: [0, 0])  # inside and all, by width
    for row in rows:
        for place, width in enumerate(widths(json.loads(row.levels))):
            held[width][0] += row.points if row.depth > place else 0
            held[width][1] += row.points
    one.coverage = {width: inside / count for width, (inside, count) in sorted(held.items())}


def _sums(since: float, model: str | None) -> Any:
    of = points.c
    asked = (
        select(
            versions.c.model,
            versions.c.version,
            versions.c.levels,
            of.depth,
            func.count().label("points"),
            func.count(of.scaled).label("scalable"),
            func.sum(of.scaled).label("scaled"),
            func.sum(of.pinball).label("pinball"),
            func.sum(func.abs(of.actual)).label("magnitude"),
        )
        .join(versions, versions.c.id == of.version_id)
        .group_by(versions.c.model, versions.c.version, versions.c.levels, of.depth)
    )
    return _narrowed(asked, of.joined_at, since, model)


def _inputs(since: float, model: str | None) -> Any:
    of = forecasts.c
    asked = (
        select(
            versions.c.model,
            versions.c.version,
            func.count().label("forecasts"),
            func.count(of.outside).label("judged"),
            func.sum(of.outside).label("outside"),
            func.avg(of.drift).label("drift"),
        )
        .join(versions, versions.c.id == of.version_id)
        .group_by(versions.c.model, versions.c.version)
    )
    return _narrowed(asked, of.made_at, since, model)


def _narrowed(asked: Any, moment: Any, since: float, model: str | None) -> Any:
    if math.isfinite(since):
        asked = asked.where(moment >= since)
    return asked if model is None else asked.where(versions.c.model == model)
