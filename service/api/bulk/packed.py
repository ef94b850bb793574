"""`forecast_packed`: a `Packed` in, a `PackedForecast` out, for any dialect.

The series are judged together, before anything runs, and answered a chunk at a time, so that a
call about 50 000 of them holds the event loop no longer than one about `CHUNK`, and single requests
of others are answered in between. Every series goes through `Forecaster` and gets the bits that it
gets alone.

Shape letters: N series, H horizon steps, Q quantile levels.
"""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.api.bulk.agreement import agree_packed
from service.api.bulk.aside import aside
from service.api.bulk.panel import Packed
from service.contract.forecast import ForecastMetadata
from service.contract.grid import Moments
from service.contract.timestamp import Zone
from service.engine.job import NOWHERE, Timing
from service.errors import DeadlineExceeded, Overloaded
from service.forecasting.forecaster import Forecast, Forecaster

__all__ = ["Packed", "PackedForecast", "forecast_packed"]

CHUNK = 32  # series of one inquiry; agreeing and placing them takes a quarter of a millisecond
_RETRIES = 5  # of a chunk that finds the queue full, once others have been answered


@dataclass(frozen=True)
class PackedForecast:
    """The answer about N series, in their order."""

    model: str
    version: int
    item_ids: Sequence[str]
    quantile_levels: tuple[float, ...]
    timestamps: Moments  # [N, H] datetime64[us]
    zone: Zone
    quantiles: NDArray[np.float32]  # [Q, N, H]
    median: NDArray[np.float32]  # [N, H]
    shortened: NDArray[np.bool_]  # [N] only its newest context_length steps were used
    timing: Timing  # the longest of any chunk


async def forecast_packed(forecaster: Forecaster, packed: Packed) -> PackedForecast:
    """Forecast every series, or none.

    Raises:
        NotFound, TooLarge, Unservable: as `Forecaster.forecast`; fields are `series[3].target[7]`
            and the like. Nothing has run then.
        DeadlineExceeded, Overloaded, Unavailable, InferenceFailed: from the engine. A queue that is
            full refuses a call that has not begun; one that has begun waits its turn a few times.
    """
    call = _Call(forecaster, packed)
    return await call.run()


class _Call:
    """One call on its way: the chunks that remain, and the room for their answers."""

    def __init__(self, forecaster: Forecaster, packed: Packed) -> None:
        inference = forecaster.inference
        inference.check_rows(len(packed))
        inference.check_steps(int(packed.sizes.max(initial=0)))
        self.forecaster = forecaster
        self.packed = packed
        key = packed.item_ids[0] if len(packed) else None
        find = inference.repository.get_for
        self.found = packed.found or find(ForecastMetadata, packed.model, packed.version, key)
        self.model = self.found.metadata
        self._until = None if packed.timeout_s is None else time.monotonic() + packed.timeout_s
        self._firsts: Iterator[int] = iter(range(0, len(packed), CHUNK))
        self._is_long = len(packed) > CHUNK  # asked in parts
        self._answered = False

    async def run(self) -> PackedForecast:
        """Agree, then ask about every chunk."""
        agreed = await agree_packed(self.packed, self.model.signature)
        count, levels = len(self.packed), agreed.quantile_levels
        self._quantiles = await _room(len(levels), count, agreed.horizon)
        self._median = await _room(count, agreed.horizon)
        self._shortened = np.empty(count, np.bool_)
        self._timing = NOWHERE
        await self._all_chunks()
        return PackedForecast(
            model=self.model.name,
            version=self.model.version,
            item_ids=self.packed.item_ids,
            quantile_levels=levels,
            timestamps=agreed.timestamps,
            zone=self.packed.zone,
            quantiles=self._quantiles,
            median=self._median,
            shortened=self._shortened,
            timing=self._timing,
        )

    async def _all_chunks(self) -> None:
        """Some chunks at a time: two batches for each lane, no more.

        Each is an entry in the engine's line, and single requests of others wait behind it.
        """
        if not self._is_long:
            await self._work()
            return
        batcher = self.forecaster.inference.batcher
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(max(2, 2 * batcher.lanes * batcher.max_batch_rows // CHUNK)):
                    group.create_task(self._work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _work(self) -> None:
        """Take one chunk after the other until none is left."""
        for first in self._firsts:
            last = min(first + CHUNK, len(self.packed))
            answer = await self._ask(first, last)
            self._answered = True
            self._quantiles[:, first:last] = answer.quantiles.swapaxes(0, 1)
            self._median[first:last] = answer.median
            self._shortened[first:last] = answer.shortened
            self._timing = self._timing.longest(answer.timing)

    async def _ask(self, first: int, last: int) -> Forecast:
        """The answer about one chunk, in the time that remains."""
        for attempt in range(_RETRIES + 1):
            left = None if self._until is None else max(self._until - time.monotonic(), 0.0)
            ahead = self.model.signature.horizon
            inquiry = self.packed.inquiry(first, last, ahead, left, patient=self._is_long)
            try:
                return await self.forecaster.forecast(inquiry, self.found)
            except Overloaded as error:
                if not self._answered or attempt == _RETRIES:
                    raise
                if left is not None and error.retry_after >= left:
                    message = f"series {first} of {len(self.packed)} would come too late"
                    raise DeadlineExceeded(f"{message}; allow more time or send fewer") from None
                await asyncio.sleep(error.retry_after)
        raise AssertionError("the last attempt answers or raises")


async def _room(*shape: int) -> NDArray[np.float32]:
    """Memory that is there already: to get it from the kernel takes a thread some milliseconds."""
    return await aside(math.prod(shape), np.full, shape, np.float32(np.nan))
