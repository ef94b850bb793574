"""Forecasts that were given, from the event loop to rows of the database.

`Given` is made on the event loop and holds copies, so that it keeps no body and no batch alive;
`digest` does the rest, many forecasts at a time, in the thread that writes.

Shape letters: B series, C context steps, H horizon steps, Q quantile levels.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import ForecastMetadata
from service.contract.frequency import Frequency, OffCalendar
from service.forecasting.inquiry import Series
from service.quality.actual import is_storable
from service.quality.measures import Floats, seasonal_errors

AT_ONCE = 512  # series that are digested together
BESIDE = 400  # bytes that a series takes beside its values, about

Key = tuple[str, int, str, int]  # model, version, item, cutoff


class Given(msgspec.Struct, frozen=True, gc=False):
    """What one model answered about B series."""

    metadata: ForecastMetadata
    item_ids: list[str]
    starts: list[np.datetime64]
    lengths: list[int]  # of the whole histories
    values: Floats  # the newest steps of each history, end to end
    sizes: list[int]  # how many these are
    answer: NDArray[np.float32]  # [B, H, Q] all that the model says

    @property
    def rows(self) -> int:
        """B."""
        return len(self.item_ids)

    @property
    def bytes(self) -> int:
        """In memory, about."""
        return int(self.values.nbytes + self.answer.nbytes + BESIDE * len(self.item_ids))


@dataclass(frozen=True, eq=False)
class Row:
    """One forecast of one series as the database has it."""

    key: Key
    levels: str
    columns: dict[str, Any]


def given(metadata: ForecastMetadata, many: Sequence[Series], answer: NDArray[np.float32]) -> Given:
    """Keep an answer [B, H, Q] of a model to these series. On the event loop: microseconds."""
    keep = metadata.signature.context_length
    if len(many) == 1:  # nearly every request: half of the time
        (one,) = many
        target = one.target[-keep:].copy()
        return Given(
            metadata,
            [one.item_id],
            [one.start.value],
            [len(one.target)],
            target,
            [len(target)],
            answer.copy(),
        )
    newest = [one.target[-keep:] for one in many]
    return Given(
        metadata,
        [one.item_id for one in many],
        [one.start.value for one in many],
        [len(one.target) for one in many],
        np.concatenate(newest),
        [len(one) for one in newest],
        answer.copy(),
    )


def digest(many: Iterable[Given], share: float, made_at: float) -> Iterator[Row | None]:
    """Rows in the order of the series; None for one that no database could hold.

    Args:
        share: percent of the items that are kept; the same ones always.
        made_at: seconds since 1970.
    """
    for _, alike in groupby(many, key=lambda one: id(one.metadata)):
        some: list[Given] = []
        for one in alike:
            some.append(one)
            if sum(part.rows for part in some) >= AT_ONCE:
                yield from _digest(some, share, made_at)
                some = []
        if some:
            yield from _digest(some, share, made_at)


def _digest(some: Sequence[Given], share: float, made_at: float) -> Iterator[Row | None]:
    metadata = some[0].metadata
    signature, training = metadata.signature, metadata.training
    item_ids = [item_id for one in some for item_id in one.item_ids]
    moments = _moments(some)  # [B, 1 + H]
    histories = _matrix(some)
    scales = seasonal_errors(histories, signature.seasonality)
    answers = np.concatenate([one.answer for one in some])
    seen = training.seen
    outside: list[int | None] = [None] * len(item_ids)
    if seen is not None:
        low, high = np.fmin.reduce(histories, axis=1), np.fmax.reduce(histories, axis=1)
        outside = ((low < seen.low) | (high > seen.high)).astype(int).tolist()
    usual = None if seen is None else seen.log_scale
    levels = json.dumps(signature.quantile_levels)
    for at, (item_id, scale) in enumerate(zip(item_ids, scales.tolist(), strict=True)):
        if moments is None or not is_storable(item_id):
            yield None
            continue
        if share < 100.0 and not _draws(item_id, share):
            continue
        defined = math.isfinite(scale) and scale > 0
        cutoff, last = int(moments[at, 0]), int(moments[at, -1])
        yield Row(
            key=(metadata.name, metadata.version, item_id, cutoff),
            levels=levels,
            columns={
                "item_id": item_id,
                "cutoff": cutoff,
                "last": last,
                "moments": moments[at, 1:].tobytes(),
                "quantiles": answers[at].tobytes(),
                "scale": scale if defined else None,
                "outside": outside[at],
                "drift": math.log(scale) - usual if defined and usual is not None else None,
                "made_at": made_at,
            },
        )


def _moments(some: Sequence[Given]) -> NDArray[np.int64] | None:
    """The cutoff and the steps of each series [B, 1 + H]; None where they leave the calendar."""
    signature = some[0].metadata.signature
    starts = np.array([start for one in some for start in one.starts], "datetime64[us]")
    lengths = np.array([length for one in some for length in one.lengths], np.int64)
    frequency = Frequency.parse(signature.freq)
    try:
        found = frequency.timestamps(starts, lengths - 1, 1 + signature.horizon)
    except OffCalendar:
        return None
    return found.astype("datetime64[us]").astype(np.int64)


def _matrix(some: Sequence[Given]) -> Floats:
    """The newest steps of every series as rows [B, C], the last ones at the end, NaN before."""
    sizes = [size for one in some for size in one.sizes]
    found = np.full((len(sizes), max(sizes)), np.nan)
    values = np.concatenate([one.values for one in some])
    begin = 0
    for row, size in zip(found, sizes, strict=True):
        row[len(row) - size :] = values[begin : begin + size]
        begin += size
    return found


def _draws(item_id: str, share: float) -> bool:
    """Whether an item is among so many percent of all."""
    return crc32(item_id.encode()) / 2**32 * 100.0 < share
