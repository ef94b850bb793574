"""Rows of a model of any task through the engine: limits, counting, and the shadow's turn.

What every task shares once its question is agreed; and the whole way of a request in tensors, which
is the same for all of them.

Shape letters: B rows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.contract.aliases import Which
from service.contract.forecast import CONTEXT
from service.engine.batcher import Batcher
from service.engine.job import NOWHERE, Job, Timing
from service.engine.runner import Rows
from service.errors import Overloaded, ServiceError, TooLarge
from service.repository.live import AnyModel, Repository
from service.shadow import PATIENCE_S, Again, Shadow, tensors_apart
from service.telemetry import metrics
from service.tensors.rows import tensor_rows

Answer = NDArray[np.float32]
MOST_STEPS = 1_048_576  # of one series, unless the settings say otherwise


class PlacedRows(Rows, Protocol):
    """Rows of one bucket of a request, for the engine."""

    @property
    def places(self) -> Sequence[int] | NDArray[np.int64]:
        """Which rows of the request they are."""
        ...


Run = Callable[
    [AnyModel, Sequence[PlacedRows], float | None, bool], Awaitable[tuple[Answer, Timing]]
]


Ending = tuple[Answer, Timing] | Exception  # of a question


class TensorInquiry(msgspec.Struct, frozen=True, gc=False):
    """What a caller asks who has the tensors of the graph at hand."""

    model: str
    version: Which  # None: the one that is live
    tensors: Mapping[str, NDArray[Any]]  # by name, each [B, ...]; NaN = missing
    timeout_s: float | None = None  # from now; None: the service's default


class TensorAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer to an inquiry in tensors."""

    model: str
    version: int
    outputs: dict[str, Answer]  # by name, as the graph gives them
    timing: Timing


class Inference:
    """Runs rows of the models of a repository through one batcher."""

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

    async def infer(self, inquiry: TensorInquiry, found: AnyModel | None = None) -> TensorAnswer:
        """Answer an inquiry in tensors.

        Args:
            found: the model, where the caller has looked it up already.

        Raises:
            Malformed: not the tensors of the model; the field is the tensor.
            NotFound, TooLarge, Unservable, Overloaded, DeadlineExceeded, Unavailable,
                InferenceFailed: see `errors`.
        """
        model = found or self.repository.get(inquiry.model, inquiry.version)
        metadata, signature = model.metadata, model.metadata.signature
        context = inquiry.tensors.get(CONTEXT)
        if context is not None and context.ndim == 2:
            self.check_steps(context.shape[1])
        parts = tensor_rows(inquiry.tensors, signature, lambda rows: self.check_rows(rows, "rows"))
        answer, timing = await self.run(model, parts, inquiry.timeout_s)
        self.offer(model, lambda shadow: self._infer_again(inquiry, answer, shadow))
        if len(metadata.outputs) == 1:  # nearly every model
            outputs = {metadata.outputs[0].name: answer}
        else:
            outputs = signature.split(answer)
        return TensorAnswer(metadata.name, metadata.version, outputs, timing)

    async def run(
        self,
        model: AnyModel,
        parts: Sequence[PlacedRows],
        timeout_s: float | None,
        patient: bool = False,
    ) -> tuple[Answer, Timing]:
        """The answer [B, ...] in the order of the rows of a request, which is counted.

        Args:
            patient: these rows let others go first.

        Raises:
            Overloaded, DeadlineExceeded, Unavailable, InferenceFailed: see `errors`.
        """
        began = time.perf_counter()
        reason = "internal"
        timing = NOWHERE
        try:
            answer, timing = await self.submit(model, parts, timeout_s, patient)
            reason = ""
            return answer, timing
        except ServiceError as error:
            reason = error.error_type
            raise
        except asyncio.CancelledError:
            reason = metrics.CANCELLED
            raise
        finally:
            _count(model, began, timing, reason)

    async def submit(
        self,
        model: AnyModel,
        parts: Sequence[PlacedRows],
        timeout_s: float | None,
        patient: bool = False,
    ) -> tuple[Answer, Timing]:
        """As `run`, and counted nowhere."""
        submit = self.batcher.submit
        outputs, timing = await submit(model.runtime, parts, timeout_s, patient=patient)
        return _in_order(parts, outputs), timing

    def offer(self, model: AnyModel, again: Again) -> None:
        """A question has been answered by this model; perhaps its shadow is asked the same."""
        self._shadow.offer(model, again)

    def no_room(self, timeout_s: float | None) -> Overloaded | None:
        """What a caller is told before its body is parsed, where others wait already for longer
        than its timeout; None: it may come in.
        """
        return self.batcher.no_room(timeout_s)

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

    async def _infer_again(self, inquiry: TensorInquiry, ours: Answer, shadow: AnyModel) -> float:
        """How far another version's answer is from ours; of as many rows as fit a batch."""
        most = self.batcher.max_batch_rows
        tensors = {name: array[:most] for name, array in inquiry.tensors.items()}
        parts = tensor_rows(tensors, shadow.metadata.signature)
        theirs, _ = await self.submit(shadow, parts, PATIENCE_S)
        return tensors_apart(ours[:most], theirs)


class Underway:
    """Rows on their way, as `Inference.run`, for who does not wait but is told: counted as well."""

    __slots__ = ("_batcher", "_began", "_job", "_model", "_parts", "_tell")

    def __init__(
        self,
        inference: Inference,
        model: AnyModel,
        parts: Sequence[PlacedRows],
        timeout_s: float | None,
        tell: Callable[[Ending], None],
    ) -> None:
        """Begin.

        Raises:
            Overloaded, DeadlineExceeded, Unavailable: at once; then nobody is told.
        """
        self._began = time.perf_counter()
        self._batcher = inference.batcher
        self._model, self._parts = model, parts
        self._tell: Callable[[Ending], None] | None = tell
        try:
            self._job = self._batcher.enqueue(model.runtime, parts, self._ended, timeout_s)
        except ServiceError as error:
            self._count(NOWHERE, error.error_type)
            raise

    def withdraw(self) -> None:
        """Nobody wants the answer any more."""
        self._tell = None
        self._batcher.withdraw(self._job)
        self._count(NOWHERE, metrics.CANCELLED)

    def _ended(self, job: Job) -> None:
        ending: Ending
        result, timing, reason = job.result, NOWHERE, ""
        if isinstance(result, Exception):
            ending, reason = result, getattr(result, "error_type", "internal")
        else:
            outputs, timing = result
            try:
                ending = _in_order(self._parts, outputs), timing
            except Exception as error:  # a mistake of ours, of which the caller must be told
                ending, timing, reason = error, NOWHERE, "internal"
        self._count(timing, reason)
        tell, self._tell = self._tell, None  # who is told keeps this: a circle would live on
        if tell is not None:
            tell(ending)

    def _count(self, timing: Timing, reason: str) -> None:
        _count(self._model, self._began, timing, reason)


def _in_order(parts: Sequence[PlacedRows], outputs: Sequence[Answer]) -> Answer:
    """The outputs of all parts as one, in the order of the rows of the request."""
    if len(parts) == 1:
        return outputs[0]
    stacked = np.concatenate(outputs)
    ordered = np.empty_like(stacked)
    ordered[np.concatenate([part.places for part in parts])] = stacked
    return ordered


def _count(model: AnyModel, began: float, timing: Timing, reason: str) -> None:
    """Count a request that has ended; `reason` is empty where it was answered."""
    runtime, total = model.runtime, time.perf_counter() - began
    times = total, timing.queue_s, timing.compute_s
    metrics.observe_inference(
        runtime.name, runtime.version, timing.rows, not reason, *times, reason
    )
