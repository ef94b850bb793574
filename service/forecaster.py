"""One request as a story: find the model, agree with it, place the rows, run, select the answer.

The meeting point of all dialects: an inquiry comes in, a forecast goes out, and nothing here knows
how either is written on a wire.

Shape letters: B series, H horizon steps, Q quantile levels.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.agreement import agree
from service.contract.forecast import CONTEXT, ForecastMetadata
from service.contract.grid import Moments
from service.contract.timestamp import Zone, format_timestamps
from service.engine.batcher import Batcher
from service.engine.job import NOWHERE, Timing
from service.errors import ServiceError, TooLarge
from service.inquiry import Inquiry, TensorInquiry
from service.repository import AnyModel, LiveModel, Repository, narrow
from service.series_rows import PlacedRows, by_bucket, histories
from service.shadow import PATIENCE_S, Shadow, forecasts_apart, tensors_apart
from service.tensors.rows import tensor_rows
from service.timelines import timelines

Forecasting = LiveModel[ForecastMetadata]
Quantiles = NDArray[np.float32]
Answer = NDArray[np.float32]
Run = Callable[[AnyModel, Sequence[PlacedRows], float | None], Awaitable[tuple[Quantiles, Timing]]]

MOST_STEPS = 1_048_576  # of one series, unless the settings say otherwise


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


class TensorAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer to an inquiry in tensors, of a model of any task."""

    model: str
    version: int
    outputs: dict[str, Answer]  # by name, as the graph gives them
    timing: Timing


class Forecaster:
    """Answers inquiries from the models of a repository through one batcher."""

    def __init__(
        self, repository: Repository, batcher: Batcher, max_context_steps: int = MOST_STEPS
    ) -> None:
        self.repository = repository
        self.batcher = batcher
        self.max_context_steps = max_context_steps  # of one series
        self._shadow = Shadow(repository, batcher)
        for lineup in repository.lineups.values():
            for model in lineup.warm().values():
                self.adopt(model)

    def adopt(self, model: AnyModel) -> None:
        """Let the engine know what batches of a model cost, before anybody asks."""
        for padded, rows, seconds in model.runtime.measured:
            self.batcher.measure(model.runtime, padded, rows, seconds)

    def forget(self, model: AnyModel) -> None:
        """Let go of a model that no request will find any more."""
        self.batcher.forget(model.runtime)

    async def forecast(self, inquiry: Inquiry, found: Forecasting | None = None) -> Forecast:
        """Answer one inquiry.

        Several series may fall on both sides of a canary's share. They stay together, on the side
        of the first, because an answer is of one version.

        Args:
            found: the model, where the caller has looked it up already.

        Raises:
            NotFound, TooLarge, Unservable: see `errors`; the message names the series and field.
            Overloaded, DeadlineExceeded, Unavailable, InferenceFailed: from the batcher and the
                runtime.
        """
        if found is None:
            key = inquiry.series[0].item_id if inquiry.series else None
            find = self.repository.get_for
            found = find(ForecastMetadata, inquiry.model, inquiry.version, key)
        answer = await self._forecast(inquiry, found, self._run)
        self._shadow.offer(found, lambda shadow: self._forecast_again(inquiry, answer, shadow))
        return answer

    async def infer(self, inquiry: TensorInquiry, found: AnyModel | None = None) -> TensorAnswer:
        """Answer an inquiry in tensors.

        Args:
            found: the model, where the caller has looked it up already.

        Raises:
            Malformed: not the tensors of the model; the field is the tensor.
            NotFound, TooLarge, Unservable, Overloaded, DeadlineExceeded, Unavailable,
                InferenceFailed: as `forecast`.
        """
        model = found or self.repository.get(inquiry.model, inquiry.version)
        metadata, signature = model.metadata, model.metadata.signature
        context = inquiry.tensors.get(CONTEXT)
        if context is not None and context.ndim == 2:
            self.check_steps(context.shape[1])
        parts = tensor_rows(inquiry.tensors, signature, lambda rows: self.check_rows(rows, "rows"))
        answer, timing = await self._run(model, parts, inquiry.timeout_s)
        self._shadow.offer(model, lambda shadow: self._infer_again(inquiry, answer, shadow))
        if len(metadata.outputs) == 1:  # nearly every model
            outputs = {metadata.outputs[0].name: answer}
        else:
            outputs = signature.split(answer)
        return TensorAnswer(metadata.name, metadata.version, outputs, timing)

    def check_room(self, timeout_s: float | None) -> None:
        """Refuse before a body is parsed what would wait too long.

        Raises:
            Overloaded: others wait already for longer than the timeout.
        """
        self.batcher.check_room(timeout_s)

    def check_rows(self, rows: int, field: str = "series") -> None:
        """Refuse what could never wait in the queue.

        Args:
            field: where the request has them.

        Raises:
            TooLarge: more than `max_queue_rows`.
        """
        limit = self.batcher.max_queue_rows
        if rows > limit:
            raise TooLarge(f"{rows} {field} in one request, the limit is {limit}; split it", field)

    def check_steps(self, longest: int) -> None:
        """Refuse a history that no request needs: a model sees its newest part only.

        Raises:
            TooLarge: more than `max_context_steps`.
        """
        limit = self.max_context_steps
        if longest > limit:
            message = f"a series has {longest} steps, the limit is {limit}; send its newest part"
            raise TooLarge(message, "series")

    async def _forecast(self, inquiry: Inquiry, model: Forecasting, run: Run) -> Forecast:
        signature, many = model.metadata.signature, inquiry.series
        horizon, levels = agree(inquiry, signature)
        self.check_rows(len(many))
        self.check_steps(max([len(series.target) for series in many]))
        ahead = signature.horizon if signature.calendar else horizon
        lines = timelines(many, signature, ahead)
        rows = histories(many, lines, signature)
        answer, timing = await run(model, by_bucket(rows, signature), inquiry.timeout_s)
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
        many = inquiry.series[: self.batcher.max_batch_rows]
        again = msgspec.structs.replace(inquiry, series=many, timeout_s=PATIENCE_S)
        model = narrow(shadow, ForecastMetadata)
        theirs = await self._forecast(again, model, self._submit)
        length = model.metadata.signature.context_length
        mine = ours.quantiles[: len(many)]
        levels = ours.quantile_levels, theirs.quantile_levels
        return forecasts_apart(mine, theirs.quantiles, levels, many, length)

    async def _infer_again(self, inquiry: TensorInquiry, ours: Answer, shadow: AnyModel) -> float:
        """The same of tensors."""
        most = self.batcher.max_batch_rows
        tensors = {name: array[:most] for name, array in inquiry.tensors.items()}
        parts = tensor_rows(tensors, shadow.metadata.signature)
        theirs, _ = await self._submit(shadow, parts, PATIENCE_S)
        return tensors_apart(ours[:most], theirs)

    async def _run(
        self, model: AnyModel, parts: Sequence[PlacedRows], timeout_s: float | None
    ) -> tuple[Quantiles, Timing]:
        """[B, H, Q] in the order of the rows; counted."""
        began = time.perf_counter()
        runtime = model.runtime
        reason = "internal"
        timing = NOWHERE
        try:
            answer, timing = await self._submit(model, parts, timeout_s)
            reason = ""
            return answer, timing
        except ServiceError as error:
            reason = error.error_type
            raise
        except asyncio.CancelledError:
            reason = "cancelled"
            raise
        finally:
            total = time.perf_counter() - began
            metrics.observe_inference(
                runtime.name,
                runtime.version,
                sum([len(part) for part in parts]),
                not reason,
                total,
                timing.queue_s,
                timing.compute_s,
                reason,
            )

    async def _submit(
        self, model: AnyModel, parts: Sequence[PlacedRows], timeout_s: float | None
    ) -> tuple[Quantiles, Timing]:
        outputs, timing = await self.batcher.submit(model.runtime, parts, timeout_s)
        if len(parts) == 1:
            return outputs[0], timing
        stacked = np.concatenate(outputs)
        ordered = np.empty_like(stacked)
        ordered[np.concatenate([part.places for part in parts])] = stacked
        return ordered, timing


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
