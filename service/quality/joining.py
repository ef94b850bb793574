"""Forecasts and actuals written, and joined where both are there.

An actual meets every forecast that has a step at its moment, of whatever model, version and cutoff.
Which comes first does not matter, nor how often: a point is a forecast and its step, and a
corrected actual replaces it. Where an actual names its model, it counts for that one instead of the
one without a name.
"""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Row, select

from service.quality import given
from service.quality.actual import Actual
from service.quality.measures import judge
from service.quality.store import Store
from service.quality.tables import actuals, forecasts, points, versions

_ITEMS = 500  # looked for in one statement


Known = dict[tuple[int, str], float]  # actuals of one item, by moment and model


def write_forecasts(
    store: Store, connection: Connection, rows: Sequence[given.Row], now: float
) -> None:
    """Write forecasts that are not there yet, and join them with the actuals that are.

    Args:
        connection: of `Store.writing`.
        now: seconds since 1970.
    """
    ids: dict[tuple[str, int, str], int] = {}
    for row in rows:
        of = (*row.key[:2], row.levels)
        if of not in ids:
            ids[of] = _version_id(store, connection, *of)
    made = [row.columns | {"version_id": ids[(*row.key[:2], row.levels)]} for row in rows]
    connection.execute(store.insert(forecasts).on_conflict_do_nothing(), made)
    items = {row.key[2] for row in rows}
    first = min(row.key[3] for row in rows)
    join(store, connection, items, first, max(row.columns["last"] for row in rows), now)


def write_actuals(store: Store, connection: Connection, many: Sequence[Actual], now: float) -> int:
    """Write actuals in the place of those before, and join them; how many steps they meet.

    Args:
        connection: of `Store.writing`.
        now: seconds since 1970.
    """
    insert = store.insert(actuals)
    renew = {"value": insert.excluded.value, "posted_at": insert.excluded.posted_at}
    connection.execute(
        insert.on_conflict_do_update(index_elements=list(actuals.primary_key), set_=renew),
        [msgspec.structs.asdict(one) | {"posted_at": now} for one in many],
    )
    moments = [one.timestamp for one in many]
    items = {one.item_id for one in many}
    return join(store, connection, items, min(moments) - 1, max(moments), now)


def join(
    store: Store, connection: Connection, items: Collection[str], first: int, last: int, now: float
) -> int:
    """Judge the forecasts of items by their actuals; how many steps have one.

    Args:
        first, last: actuals after the first moment, up to the last.
        now: seconds since 1970, for points that are new.
    """
    met, ordered = 0, sorted(items)
    for at in range(0, len(ordered), _ITEMS):
        known = _known(connection, ordered[at : at + _ITEMS], first, last)
        if known:
            found = list(_points(_touched(connection, known), known, now))
            met += len(found)
            if found:
                connection.execute(_upsert(store), found)
    return met


def _version_id(store: Store, connection: Connection, model: str, version: int, levels: str) -> int:
    of = {"model": model, "version": version, "levels": levels}
    connection.execute(store.insert(versions).on_conflict_do_nothing().values(of))
    found = connection.execute(select(versions.c.id).filter_by(**of)).scalar_one()
    return int(found)


def _known(connection: Connection, items: Sequence[str], first: int, last: int) -> dict[str, Known]:
    of = actuals.c
    asked = select(of.item_id, of.timestamp, of.model, of.value).where(
        of.item_id.in_(items), of.timestamp > first, of.timestamp <= last
    )
    found: dict[str, Known] = defaultdict(dict)
    for item_id, timestamp, model, value in connection.execute(asked):
        found[item_id][timestamp, model] = value
    return found


def _touched(connection: Connection, known: dict[str, Known]) -> list[Row[Any]]:
    """The forecasts that have a step between the first and the last of these actuals."""
    of = forecasts.c
    moments = [moment for one in known.values() for moment, _ in one]
    asked = (
        select(of.id, of.version_id, of.item_id, of.moments, of.quantiles, of.scale)
        .add_columns(versions.c.model, versions.c.levels)
        .join(versions, versions.c.id == of.version_id)
        .where(of.item_id.in_(list(known)), of.last >= min(moments), of.cutoff < max(moments))
    )
    return list(connection.execute(asked))


def _points(
    touched: Sequence[Row[Any]], known: dict[str, Known], now: float
) -> Iterator[dict[str, Any]]:
    alike: dict[str, list[tuple[Row[Any], int, float]]] = defaultdict(list)  # by levels
    for row in touched:
        of_item = known[row.item_id]
        for step, moment in enumerate(np.frombuffer(row.moments, np.int64).tolist()):
            value = of_item.get((moment, row.model), of_item.get((moment, "")))
            if value is not None:
                alike[row.levels].append((row, step, value))
    for text, met in alike.items():
        levels = json.loads(text)
        quantiles = [
            np.frombuffer(row.quantiles, np.float32).reshape(-1, len(levels))[step]
            for row, step, _ in met
        ]
        judged = judge(
            np.array([value for *_, value in met]),
            np.array(quantiles, np.float64),
            np.array([math.nan if row.scale is None else row.scale for row, *_ in met]),
            levels,
        )
        measures = [one.tolist() for one in (judged.scaled, judged.pinball, judged.depth)]
        for (row, step, value), scaled, pinball, depth in zip(met, *measures, strict=True):
            yield {
                "forecast_id": row.id,
                "step": step + 1,
                "version_id": row.version_id,
                "joined_at": now,
                "actual": value,
                "scaled": None if math.isnan(scaled) else scaled,
                "pinball": pinball,
                "depth": depth,
            }


def _upsert(store: Store) -> Any:
    """A corrected actual replaces the point, which stays as old as it was."""
    insert = store.insert(points)
    corrected = {name: insert.excluded[name] for name in ("actual", "scaled", "pinball", "depth")}
    return insert.on_conflict_do_update(
        index_elements=list(points.primary_key),
        set_=corrected,
        where=points.c.actual != insert.excluded.actual,
    )
