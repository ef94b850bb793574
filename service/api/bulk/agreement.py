"""Thousands of series agreed with their model at once, before the first of them runs.

Here it is only found which series the model cannot answer; what is wrong with it is then said by
the code that judges single requests, so that the words are the same.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.api.bulk.aside import aside
from service.api.bulk.panel import Floats, Packed
from service.contract.forecast import ForecastSignature
from service.contract.frequency import Frequency, OffCalendar, OffGrid
from service.contract.grid import Moments
from service.contract.placement import LARGEST_VALUE
from service.errors import Unservable
from service.forecasting.agreement import agree, used_twice

_NAMES = 1024  # item_ids compared at once; the event loop runs in between


@dataclass(frozen=True)
class Agreed:
    """What a model answers to a panel."""

    horizon: int
    quantile_levels: tuple[float, ...]
    timestamps: Moments  # [N, H] datetime64[us]


async def agree_packed(packed: Packed, signature: ForecastSignature) -> Agreed:
    """Check every series against what the model can do.

    Raises:
        Unservable: naming the series and the field, as `series[3].target[7]`.
    """
    if not len(packed):
        raise Unservable("there is no series; send at least one", "series")
    _agree_lengths(packed, signature)
    horizon, levels = agree(packed.inquiry(0, 1, signature.horizon), signature)
    await _agree_item_ids(packed)
    await aside(len(packed.y), _agree_values, packed, signature)
    timestamps = await aside(len(packed) * horizon, _timestamps, packed, signature, horizon)
    return Agreed(horizon, levels, timestamps)


def _agree_lengths(packed: Packed, signature: ForecastSignature) -> None:
    """As many values of each covariate as its name, where it is one of the model's, calls for."""
    steps, ahead = len(packed.y), len(packed) * signature.horizon
    beyond = f"{steps} beside y and {signature.horizon} for the model's horizon behind each series"
    for kind, given, names, count, wanted in (
        ("past", packed.past_covariates, signature.covariates.past, steps, "one beside each of y"),
        ("known", packed.known_covariates, signature.covariates.known, steps + ahead, beyond),
    ):
        for name, values in given.items():
            if name in names and len(values) != count:
                field = f"{kind}_covariates.{name}"
                message = f"{field} has {len(values)} values, expected {count}, {wanted}"
                raise Unservable(message, field)


async def _agree_item_ids(packed: Packed) -> None:
    """No item_id twice."""
    seen: set[str] = set()
    for first in range(0, len(packed), _NAMES):
        some = packed.item_ids[first : first + _NAMES]
        seen.update(some)
        if first:
            await asyncio.sleep(0)
    if len(seen) < len(packed):
        raise used_twice(packed.item_ids)


def _agree_values(packed: Packed, signature: ForecastSignature) -> None:
    """Enough steps, something observed, nothing too large: the first series where not."""
    steps, ahead = signature.context_length, signature.horizon
    newest = _largest(packed.y, packed.bounds, steps)
    wrong = (packed.sizes < signature.minimum_context) | ~(newest <= LARGEST_VALUE)
    spans = packed.bounds + ahead * np.arange(len(packed) + 1)
    for many, bounds, kept in (
        (packed.past_covariates, packed.bounds, steps),
        (packed.known_covariates, spans, steps + ahead),
    ):
        for values in many.values():
            wrong |= _largest(values, bounds, kept) > LARGEST_VALUE
    for features in _features(packed, signature):
        wrong |= features
    if wrong.any():
        at = int(wrong.argmax())
        try:
            agree(packed.inquiry(at, at + 1, ahead), signature)
        except Unservable as error:
            raise _at(error, at) from None


def _largest(values: Floats, bounds: NDArray[np.int64], kept: int) -> Floats:
    """[N] the largest magnitude among the newest `kept` of each series, NaN where all are."""
    ends = bounds[1:]
    begins = np.maximum(bounds[:-1], ends - kept)
    magnitudes = np.append(np.abs(values), np.nan)  # so that the last end is a place as well
    places = np.stack([begins, ends], axis=1).reshape(-1)
    found: Floats = np.fmax.reduceat(magnitudes, places)[::2]
    return found


def _features(packed: Packed, signature: ForecastSignature) -> Iterator[NDArray[np.bool_]]:
    """Where a feature is not of the type that the model declares, or too large."""
    texts = {category.name for category in signature.covariates.categories}
    for name, values in packed.static_features.items():
        if isinstance(values, np.ndarray):
            given = ~np.isnan(values)
            yield given if name in texts else given & (np.abs(values) > LARGEST_VALUE)
        elif name not in texts:
            yield np.array([value is not None for value in values])


def _timestamps(packed: Packed, signature: ForecastSignature, horizon: int) -> Moments:
    """The steps of each horizon; also the first of each context must be one."""
    frequency = Frequency.parse(signature.freq)
    ahead = signature.horizon if signature.calendar else horizon
    try:
        return frequency.timestamps(packed.starts, packed.sizes, ahead)[:, :horizon]
    except (OffGrid, OffCalendar) as error:
        at = error.index
        message = f"series {packed.item_ids[at]!r}: {error}"
        raise Unservable(message, f"series[{at}].start") from error


def _at(error: Unservable, at: int) -> Unservable:
    """What was said of the only series of an inquiry, said of series `at`."""
    field = (error.field or "").replace("series[0]", f"series[{at}]", 1)
    return Unservable(error.message, field)
