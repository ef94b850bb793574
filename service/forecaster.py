"""One request as a story: find the model, agree with it, place the rows, run, select the answer.

The meeting point of all dialects: an `Inquiry` comes in, a `Forecast` goes out, and nothing here
knows how either is written on a wire.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.batcher import Batcher
from service.contract.frequency import Frequency, InvalidFrequency, OffCalendar, OffGrid
from service.contract.grid import Moments
from service.contract.metadata import ForecastSignature
from service.contract.placement import LARGEST_VALUE, Block, History, place
from service.contract.timestamp import format_timestamps
from service.covariates import agree_covariates, history
from service.errors import TooLarge, Unservable
from service.inquiry import Inquiry, Series
from service.repository import Repository


@dataclass(frozen=True)
class Forecast:
    """The answer to one inquiry, series in the order of the question."""

    model: str
    version: int
    item_ids: tuple[str, ...]
    timestamps: tuple[list[str], ...]  # one list of H per series
    quantile_levels: tuple[float, ...]
    quantiles: NDArray[np.float32]  # [B, Q, H]
    median: NDArray[np.float32]  # [B, H]


class Forecaster:
    """Answers inquiries from the models of a repository through one batcher."""

    def __init__(self, repository: Repository, batcher: Batcher) -> None:
        self.repository = repository
        self.batcher = batcher

    async def forecast(self, inquiry: Inquiry) -> Forecast:
        """Answer one inquiry.

        Raises:
            NotFound, TooLarge, Unservable: see `errors`; the message names the series and field.
            Overloaded, Unavailable, InferenceFailed: from the batcher and the runtime.
        """
        model = self.repository.get(inquiry.model, inquiry.version)
        signature = model.metadata.signature
        horizon, levels = agree(inquiry, signature)
        self.check_rows(len(inquiry.series))
        ahead = signature.horizon if signature.calendar else horizon
        timelines = _timelines(inquiry.series, signature, ahead)
        blocks = place(_histories(inquiry.series, timelines, signature), signature)
        outputs = await self.batcher.submit(model.runtime, [block.inputs for block in blocks])
        quantiles = _in_order(blocks, outputs)[:, :horizon]  # [B, H, Q]
        chosen = [signature.quantile_levels.index(level) for level in levels]
        return Forecast(
            model=model.metadata.name,
            version=model.metadata.version,
            item_ids=tuple(series.item_id for series in inquiry.series),
            timestamps=tuple(
                format_timestamps(moments[-ahead:][:horizon], series.start.zone)
                for moments, series in zip(timelines, inquiry.series, strict=True)
            ),
            quantile_levels=levels,
            quantiles=np.ascontiguousarray(quantiles[..., chosen].swapaxes(1, 2)),
            median=np.ascontiguousarray(quantiles[..., signature.quantile_levels.index(0.5)]),
        )

    def check_rows(self, rows: int) -> None:
        """Refuse what could never wait in the queue.

        Raises:
            TooLarge: more series than `max_queue_rows`.
        """
        limit = self.batcher.max_queue_rows
        if rows > limit:
            raise TooLarge(
                f"{rows} series in one request, the limit is {limit}; split it", "series"
            )


def agree(inquiry: Inquiry, signature: ForecastSignature) -> tuple[int, tuple[float, ...]]:
    """Check an inquiry against what the model can do; the horizon and levels it comes to.

    Raises:
        Unservable: naming the field and, where there is one, the series.
    """
    if not inquiry.series:
        raise Unservable("series is empty; send at least one series", "series")
    horizon = _agree_horizon(inquiry.horizon, signature)
    levels = _agree_levels(inquiry.quantile_levels, signature)
    declared = bool(signature.covariates)
    seen: dict[str, int] = {}
    for at, series in enumerate(inquiry.series):
        first = seen.setdefault(series.item_id, at)
        if first != at:
            raise Unservable(
                f"item_id {series.item_id!r} is used by series {first} and {at}; "
                "each series needs its own",
                f"series[{at}].item_id",
            )
        _agree_freq(series, at, signature)
        _agree_target(series, at, signature)
        if declared or series.past_covariates or series.known_covariates or series.static_features:
            agree_covariates(series, at, signature)
    return horizon, levels


def _agree_horizon(horizon: int | None, signature: ForecastSignature) -> int:
    if horizon is None:
        return signature.horizon
    if not 1 <= horizon <= signature.horizon:
        raise Unservable(
            f"horizon is {horizon}; this model forecasts 1 to {signature.horizon} steps", "horizon"
        )
    return horizon


def _agree_levels(
    levels: tuple[float, ...] | None, signature: ForecastSignature
) -> tuple[float, ...]:
    if levels is None:
        return signature.quantile_levels
    known = ", ".join(str(level) for level in signature.quantile_levels)
    if not levels:
        raise Unservable(f"quantile_levels is empty; this model has {known}", "quantile_levels")
    for at, level in enumerate(levels):
        if level not in signature.quantile_levels:
            raise Unservable(
                f"quantile level {level} is not one of this model's: {known}",
                f"quantile_levels[{at}]",
            )
        if level in levels[:at]:
            raise Unservable(f"quantile level {level} is asked twice", f"quantile_levels[{at}]")
    return levels


def _agree_freq(series: Series, at: int, signature: ForecastSignature) -> None:
    if series.freq is None:
        return
    field = f"series[{at}].freq"
    try:
        frequency = Frequency.parse(series.freq)
    except InvalidFrequency as error:
        raise Unservable(f"series {series.item_id!r}: {error}", field) from error
    if frequency != Frequency.parse(signature.freq):
        raise Unservable(
            f"series {series.item_id!r}: freq is {series.freq!r}, this model was trained on "
            f"{signature.freq!r}; resample the series or use another model",
            field,
        )


def _agree_target(series: Series, at: int, signature: ForecastSignature) -> None:
    field = f"series[{at}].target"
    label = f"series {series.item_id!r}: target"
    if len(series.target) < signature.minimum_context:
        raise Unservable(
            f"{label} has {len(series.target)} values, this model needs at least "
            f"{signature.minimum_context}",
            field,
        )
    newest = series.target[-signature.context_length :]
    if np.fmax.reduce(np.abs(newest)) <= LARGEST_VALUE:  # NaN where all are
        return
    if np.isnan(newest).all():
        raise Unservable(
            f"{label} has no observed value in its newest {len(newest)} steps; "
            "at least one must not be null",
            field,
        )
    large = int(np.flatnonzero(np.abs(newest) > LARGEST_VALUE)[0])
    index = len(series.target) - len(newest) + large
    raise Unservable(
        f"{label} holds {series.target[index]:g}; the largest magnitude is {LARGEST_VALUE:g}",
        f"{field}[{index}]",
    )


def _timelines(many: Sequence[Series], signature: ForecastSignature, ahead: int) -> list[Moments]:
    """The moments of each horizon, which begins one step after the last value of its target.

    Where the model has a calendar, the moments of the steps of the context are before them.
    """
    groups: dict[int, list[int]] = {}  # by steps of the context
    for at, series in enumerate(many):
        steps = min(len(series.target), signature.context_length) if signature.calendar else 0
        groups.setdefault(steps, []).append(at)
    frequency = Frequency.parse(signature.freq)
    lines: dict[int, Moments] = {}
    for steps, rows in groups.items():
        starts = np.array([many[at].start.value for at in rows], "datetime64[us]")
        firsts = np.array([len(many[at].target) for at in rows], np.int64) - steps
        try:
            moments = frequency.timestamps(starts, firsts, steps + ahead)
        except (OffGrid, OffCalendar) as error:
            at = rows[error.index]
            message = f"series {many[at].item_id!r}: {error}"
            raise Unservable(message, f"series[{at}].start") from error
        lines.update(zip(rows, moments, strict=True))
    return [lines[at] for at in range(len(many))]


def _histories(
    many: Sequence[Series], timelines: Sequence[Moments], signature: ForecastSignature
) -> list[History]:
    if signature.calendar or signature.covariates:
        return [history(*one, signature) for one in zip(many, timelines, strict=True)]
    return [History(series.target) for series in many]


def _in_order(blocks: list[Block], outputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Outputs of the blocks [b, H, Q] back in the order of the series: [B, H, Q]."""
    if len(blocks) == 1:
        return outputs[0]
    stacked = np.concatenate(outputs)
    ordered = np.empty_like(stacked)
    ordered[np.concatenate([block.rows for block in blocks])] = stacked
    return ordered
