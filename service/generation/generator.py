"""One text as a story: find the model, agree, judge, let it be written.

Beside the `Forecaster`, and through the same batcher.
"""

from dataclasses import dataclass

import msgspec

from service.contract.language import LanguageMetadata, LanguageSignature
from service.engine.batcher import Batcher
from service.engine.job import Timing
from service.errors import ServiceError
from service.generation.admission import Admission
from service.generation.agreement import agree
from service.generation.inquiry import TextInquiry
from service.generation.lockstep import Lockstep
from service.generation.sequence import Sequence
from service.repository.live import AnyModel, LiveModel, Repository
from service.runtime import Runtime
from service.telemetry import metrics


class Text(msgspec.Struct, frozen=True, gc=False):
    """What was written."""

    model: str
    version: int
    text: str  # what follows the prompt
    tokens: int  # of it
    seed: int
    timing: Timing


@dataclass(frozen=True)
class Writing:
    """A text on its way."""

    model: LiveModel[LanguageMetadata]
    sequence: Sequence

    def text(self) -> Text:
        """As far as it is written."""
        metadata, one = self.model.metadata, self.sequence
        return Text(
            model=metadata.name,
            version=metadata.version,
            text=metadata.signature.decode(one.codes),
            tokens=len(one.codes),
            seed=one.plan.seed,
            timing=one.timing,
        )

    async def piece(self) -> str:
        """What was written since the last piece, as soon as there is something; empty at the end.

        All pieces together are the text.

        Raises:
            DeadlineExceeded, Unavailable, InferenceFailed: after all that was written.
        """
        before = self.sequence.told
        codes = await self.sequence.piece()
        signature = self.model.metadata.signature
        return (between(signature) if before and codes else "") + signature.decode(codes)


class Generator:
    """Writes texts with the language models of a repository through one batcher."""

    def __init__(self, repository: Repository, batcher: Batcher, max_tokens: int) -> None:
        self._repository = repository
        self._batcher = batcher
        self._max_tokens = max_tokens
        self._writers: dict[Runtime, tuple[Admission, Lockstep]] = {}  # of those asked so far

    def forget(self, model: AnyModel) -> None:
        """Let go of a model that no request will find any more; texts on their way end with it."""
        self._writers.pop(model.runtime, None)

    async def generate(self, inquiry: TextInquiry) -> Text:
        """The whole text.

        Raises:
            NotFound, TooLarge, Unservable, Overloaded, DeadlineExceeded: see `begin`.
            Unavailable, InferenceFailed: from the batcher and the runtime.
        """
        writing = self.begin(inquiry, in_pieces=False)
        try:
            await writing.sequence.whole()
        finally:
            writing.sequence.leave()
        return writing.text()

    def begin(self, inquiry: TextInquiry, *, in_pieces: bool = True) -> Writing:
        """Let a text be written; whoever does not wait for its end must let its sequence leave.

        Raises:
            NotFound: no such model, or another version of it is live.
            TooLarge, Unservable: see `agree`; or the model has another task.
            Overloaded, DeadlineExceeded: it would not end in time.
        """
        find = self._repository.get_for
        model = find(LanguageMetadata, inquiry.model, inquiry.version, inquiry.prompt)
        name = model.metadata.name
        plan = agree(inquiry, model.metadata.signature, self._max_tokens)
        allowance = inquiry.timeout_s
        if allowance is None:
            allowance = self._batcher.default_timeout_s
        admission, lockstep = self._writer(model)
        try:
            admission.judge(plan.steps, allowance, lockstep.steps_left())
        except ServiceError as error:
            of = (name, model.metadata.version)
            metrics.observe_inference(*of, plan.steps, False, 0.0, 0.0, 0.0, error.error_type)
            raise
        sequence = Sequence(plan, allowance, in_pieces=in_pieces)
        lockstep.join(sequence)
        return Writing(model, sequence)

    def _writer(self, model: LiveModel[LanguageMetadata]) -> tuple[Admission, Lockstep]:
        found = self._writers.get(model.runtime)
        if found is None:
            admission = Admission(model.runtime, self._batcher.max_queue_rows)
            lockstep = Lockstep(model, self._batcher, admission.observe)
            found = self._writers[model.runtime] = admission, lockstep
        return found


def between(signature: LanguageSignature) -> str:
    """What stands between two tokens of a text."""
    return " " if signature.unit == "word" else ""
