"""One request for forecasts as a story: find the model, agree with it, run, select the answer.

The meeting point of their dialects: an inquiry comes in, a forecast goes out, and nothing here
knows how either is written on a wire.

Shape letters: B series, H horizon steps, Q quantile levels.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import ForecastMetadata
from service.contract.grid import Moments
from service.contract.timestamp import Zone, format_timestamps
from service.engine.job import Timing
from service.forecasting.agreement import agree
from service.forecasting.inquiry import Inquiry, Series
from service.forecasting.series_rows import by_bucket, histories
from service.forecasting.timelines import timelines
from service.inference import Inference, Run
from service.repository.live import AnyModel, LiveModel, narrow
from service.shadow import PATIENCE_S, forecasts_apart

Forecasting = LiveModel[ForecastMetadata]
Quantiles = NDArray[np.float32]
Record = Callable[[ForecastMetadata, Sequence[Series], Quantiles], None]


class Forecast(msgspec.Struct, frozen=True, gc=False):
    """The answer to one inquiry, series in the order of the question."""

    model: str
    version: int
    item_ids: tuple[str, ...]
    moments: tuple[Moments, ...]  # [H] of each series
    zones: tuple[Zone, ...]
    quantile_levels: tuple[float, ...]
    quantiles: Quantiles  # [B, Q, H]
    median: Quantiles  # [B, H]
    shortened: tuple[bool, ...]  # only the newest context_length steps of a series were used
    timing: Timing

    @property
    def timestamps(self) -> tuple[list[str], ...]:
        """The moments as texts."""
        return tuple(map(format_timestamps, self.moments, self.zones))


class Forecaster:
    """Answers inquiries."""

    def __init__(self, inference: Inference, record: Record | None = None) -> None:
        """`record` is told of every answer [B, H, Q], whole, of series that the caller named."""
        self.inference = inference
        self._record = record

    async def forecast(self, inquiry: Inquiry, found: Forecasting | None = None) -> Forecast:
        """Answer one inquiry.

        Several series may fall on both sides of a canary's share. They stay together, on the side
        of the first, because an answer is of one version.

        Args:
            found: the model, where the caller has looked it up already.

        Raises:
            NotFound, TooLarge, Unservable: see `errors`; the message names the series and field.
            Overloaded, DeadlineExceeded, Unavailable, InferenceFailed: see
                `Inference.run`.
        """
        if found is None:
            key = inquiry.series[0].item_id if inquiry.series else None
            find = self.inference.repository.get_for
            found = find(ForecastMetadata, inquiry.model, inquiry.version, key)
        answer = await self._forecast(inquiry, found, self.inference.run)
        self.inference.offer(found, lambda shadow: self._forecast_again(inquiry, answer, shadow))
        return answer

    async def _forecast(self, inquiry: Inquiry, model: Forecasting, run: Run) -> Forecast:
        signature, many = model.metadata.signature, inquiry.series
        horizon, levels = agree(inquiry, signature)
        self.inference.check_rows(len(many))
        self.inference.check_steps(max([len(series.target) for series in many]))
        ahead = signature.horizon if signature.calendar else horizon
        lines = timelines(many, signature, ahead)
        rows = histories(many, lines, signature)
        parts = by_bucket(rows, signature)
        answer, timing = await run(model, parts, inquiry.timeout_s, inquiry.patient)
        if self._record is not None and inquiry.named:
            self._record(model.metadata, many, answer)
        answer = answer[:, :horizon]
        chosen = _choose(answer, signature.quantile_levels, levels)
        return Forecast(
            model=model.metadata.name,
            version=model.metadata.version,
            item_ids=tuple([series.item_id for series in many]),
            moments=tuple([line[len(line) - ahead :][:horizon] for line in lines]),
            zones=tuple([series.start.zone for series in many]),
            quantile_levels=levels,
            quantiles=chosen,
            median=_median(answer, chosen, signature.quantile_levels, levels),
            shortened=tuple([len(row.target) > signature.context_length for row in many]),
            timing=timing,
        )

    async def _forecast_again(self, inquiry: Inquiry, ours: Forecast, shadow: AnyModel) -> float:
        """How far another version's forecast is from ours; of as many series as fit a batch."""
        many = inquiry.series[: self.inference.batcher.max_batch_rows]
        again = msgspec.structs.replace(inquiry, series=many, timeout_s=PATIENCE_S)
        model = narrow(shadow, ForecastMetadata)
        theirs = await self._forecast(again, model, self.inference.submit)
        length = model.metadata.signature.context_length
        mine = ours.quantiles[: len(many)]
        levels = ours.quantile_levels, theirs.quantile_levels
        return forecasts_apart(mine, theirs.quantiles, levels, many, length)


def _choose(answer: Quantiles, known: tuple[float, ...], levels: tuple[float, ...]) -> Quantiles:
    """[B, H, Q of the model] -> [B, Q of the levels, H]."""
    if levels != known:
        answer = answer[..., [known.index(level) for level in levels]]
    return np.ascontiguousarray(answer.swapaxes(1, 2))


def _median(
    answer: Quantiles, chosen: Quantiles, known: tuple[float, ...], levels: tuple[float, ...]
) -> Quantiles:
    """[B, H], each row in one piece."""
    if 0.5 in levels:
        return chosen[:, levels.index(0.5)]
    return np.ascontiguousarray(answer[..., known.index(0.5)])
