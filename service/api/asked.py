"""What a body asks that was read the short way: rows for the engine, and how they are answered.

What is seldom asked, or cannot be answered, is left to the handler, which does it or explains why
not. So the short way refuses nothing and has no words of its own.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from service.api.exchange import Exchange
from service.api.json_body import PIECE_BYTES
from service.contract.forecast import ForecastMetadata
from service.inference import Answer, PlacedRows
from service.repository.live import AnyModel

if TYPE_CHECKING:
    from service.express._express import Question  # which need not be built

LONGEST = PIECE_BYTES  # of a body; the handlers read longer ones a piece at a time
MOST_NUMBERS = 1 << 15  # of an answer: about 0.8 ms


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One question to one model."""

    model: AnyModel
    parts: Sequence[PlacedRows]
    timeout_s: float | None  # from now; None: the service's default
    write: Callable[[Answer], bytes]  # the answer [B, ...] as a body of JSON


def is_plain(exchange: Exchange, body: bytes) -> bool:
    """Whether the body is what it seems to be, and short."""
    limit = min(exchange.house.settings.max_body_bytes, LONGEST)
    return len(body) <= limit and exchange.header(b"content-encoding") is None


def is_usual(exchange: Exchange, question: "Question", model: AnyModel) -> bool:
    """Whether a forecaster may answer, and nobody else wants to know of it."""
    inference, metadata = exchange.house.inference, model.metadata
    if not isinstance(metadata, ForecastMetadata) or inference.repository.shadow_of(model):
        return False
    signature = metadata.signature
    most = min(inference.batcher.max_queue_rows, MOST_NUMBERS // signature.numbers)
    if signature.covariates or len(question) > most:
        return False
    steps = signature.minimum_context, inference.max_context_steps
    return question.fits(*steps, signature.context_length)
