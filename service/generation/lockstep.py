"""The texts of one model, written step by step together (cellular batching).

Each step runs the next token of every text that is on its way, wherever in its text that is. A new
one joins at the next step, a finished one leaves. A step is one job of the engine, so it shares
lanes and batches with whatever else the service does; while it runs nothing here is changed, and a
step that failed can be run again.

A step must end while its texts still have time for those that follow: the time that is left,
divided by the steps that are left, says how urgent it is. With the deadlines of the texts it would
wait behind every request that is due before their end. It asks for no admission; its texts had it.

Shape letters: S texts, V tokens of the vocabulary, L layers, N hidden units.
"""

import asyncio
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.contract.language import LOGITS, NEXT_STATE, LanguageMetadata
from service.engine.batcher import Batcher
from service.engine.job import Timing
from service.engine.runner import Array, Memory
from service.errors import DeadlineExceeded, Unavailable
from service.generation.sampling import Choice
from service.generation.sequence import Sequence
from service.repository.live import LiveModel
from service.telemetry import metrics

PATIENCE_S = 0.1  # of a step, at least; doubled where a step needs more


class StepRows:
    """The next token and the state of some texts; copied when a batch takes them."""

    __slots__ = ("_states", "_tokens")
    shape = 1  # one step

    def __init__(self, tokens: NDArray[np.int64], states: NDArray[np.float32]) -> None:
        self._tokens = tokens
        self._states = states

    def __len__(self) -> int:
        return len(self._tokens)

    def write(self, start: int, stop: int, memory: Memory, at: int) -> None:
        """Write some of them as the rows at.. of a batch."""
        tokens, states = memory
        tokens[at : at + stop - start] = self._tokens[start:stop]
        states[at : at + stop - start] = self._states[start:stop]


class Lockstep:
    """All texts of one model. On the event loop."""

    def __init__(
        self,
        model: LiveModel[LanguageMetadata],
        batcher: Batcher,
        observe: Callable[[int, float], None],
    ) -> None:
        """Nothing runs before somebody joins.

        Args:
            observe: told the texts of each step and its seconds.
        """
        self._runtime = model.runtime
        self._signature = model.metadata.signature
        self._of = (model.metadata.name, model.metadata.version)
        self._batcher = batcher
        self._observe = observe
        self._texts: list[Sequence] = []  # the rows of a step, in order
        self._coming: list[Sequence] = []
        self._tokens = np.empty(0, np.int64)  # [S] the next of each
        self._states = self._zeros(0)  # [S, L, N]
        self._deadlines = np.empty(0)  # [S] monotonic seconds
        self._left = np.empty(0, np.int64)  # [S] steps
        self._choice = Choice([], len(self._signature.vocabulary))
        self._patience_s = PATIENCE_S
        self._queue_s = self._compute_s = 0.0  # of all steps since the start
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._texts) + len(self._coming)

    def steps_left(self) -> list[int]:
        """Of every text."""
        return [text.steps_left for text in (*self._texts, *self._coming)]

    def join(self, text: Sequence) -> None:
        """Take part from the next step on, until the text has ended."""
        text.timing = Timing(-self._queue_s, -self._compute_s)
        self._coming.append(text)
        if self._task is None:
            self._patience_s = PATIENCE_S
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Step by step, while there is somebody; whatever happens, nobody is left waiting."""
        try:
            while self._assemble():
                await self._step()
        except Exception as error:
            for text in (*self._texts, *self._coming):
                text.fail(error)
            self._assemble()
        finally:
            self._task = None

    def _assemble(self) -> bool:
        """Let go of those who have ended, let in who came; whether anybody is there."""
        if self._coming or any(text.ended for text in self._texts):
            kept = [row for row, text in enumerate(self._texts) if not text.ended]
            came = [text for text in self._coming if not text.ended]
            for text in (*self._texts, *self._coming):
                if text.ended:
                    self._report(text)
            opened = np.array([text.open() for text in came], np.int64)
            self._texts = [self._texts[row] for row in kept] + came
            self._coming = []
            self._tokens = np.concatenate([self._tokens[kept], opened])
            self._states = np.concatenate([self._states[kept], self._zeros(len(came))])
            self._deadlines = np.array([text.deadline for text in self._texts])
            self._left = np.array([text.steps_left for text in self._texts], np.int64)
            manners = [text.plan.manner for text in self._texts]
            self._choice = Choice(manners, len(self._signature.vocabulary))
            metrics.observe_texts(*self._of, len(self._texts))
        return bool(self._texts)

    async def _step(self) -> None:
        """One more token of every text; a text whose row fails ends with the error."""
        began = time.monotonic()
        size = self._batcher.max_batch_rows
        parts = [
            StepRows(self._tokens[at : at + size], self._states[at : at + size])
            for at in range(0, len(self._tokens), size)
        ]
        share_s = float(((self._deadlines - began) / self._left).min())
        try:
            outputs = await self._submit(parts, max(share_s, self._patience_s))
        except Unavailable:
            raise
        except DeadlineExceeded:  # of the step: texts that still have time try again
            self._patience_s *= 2
            return
        except Exception:  # whose it is, the rows will tell when they run alone
            outputs = [await self._alone(row) for row in range(len(self._texts))]
        self._advance(outputs[0] if len(outputs) == 1 else np.concatenate(outputs))
        self._observe(len(self._texts), time.monotonic() - began)

    async def _submit(self, parts: list[StepRows], timeout_s: float) -> list[Array]:
        outputs, timing = await self._batcher.submit(self._runtime, parts, timeout_s, let_in=True)
        self._queue_s += timing.queue_s
        self._compute_s += timing.compute_s
        return outputs

    async def _alone(self, row: int) -> Array:
        """The answer [1, ...] to one row; anything for a text that ends with an error."""
        text, here = self._texts[row], slice(row, row + 1)
        timeout_s = max(text.deadline - time.monotonic(), 0.0)
        try:
            rows = StepRows(self._tokens[here], self._states[here])
            return (await self._submit([rows], timeout_s))[0]
        except Exception as error:
            text.fail(error)
            sizes = self._signature.sizes(1, 1)
            specs = self._signature.outputs
            return self._signature.join([np.zeros(s.fixed(sizes), s.dtype) for s in specs])

    def _advance(self, answer: Array) -> None:
        """Choose from the answers [S, ...], and give every text its token."""
        parts = self._signature.split(answer)
        draws = [text.draws[len(text.codes)] for text in self._texts]
        codes = self._choice.choose(parts[LOGITS], draws).tolist()
        now, pairs = time.monotonic(), zip(self._texts, codes, strict=True)
        self._tokens = np.array([text.advance(code, now) for text, code in pairs], np.int64)
        self._states = parts[NEXT_STATE]
        self._left -= 1
        metrics.observe_step(*self._of, len(codes))

    def _report(self, text: Sequence) -> None:
        """Count a text that has ended, in whichever way."""
        before = text.timing
        now = time.monotonic()
        text.timing = Timing(
            self._queue_s + before.queue_s,
            self._compute_s + before.compute_s,
            rows=1,
            joined=text.began,
            ended=now,
        )
        total = now - text.began
        metrics.observe_inference(
            *self._of,
            text.plan.steps,
            not text.reason,
            total,
            *(text.timing.queue_s, text.timing.compute_s),
            text.reason,
        )
        metrics.observe_text(*self._of, len(text.codes), text.first_s)

    def _zeros(self, texts: int) -> NDArray[np.float32]:
        """The states before the first token."""
        return np.zeros((texts, self._signature.layers, self._signature.hidden), np.float32)
