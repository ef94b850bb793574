"""A text as server-sent events, while it is written.

`data: {"text": ...}` for each piece; then `event: end` with the totals, or `event: error` with the
error that any other route would have answered. All pieces together are the text.
"""

import asyncio
from collections.abc import AsyncGenerator

from service.api.exchange import Exchange
from service.api.responses import error_content, mistake, observe_error, to_json
from service.errors import ServiceError, Unavailable
from service.generation.generator import Text, Writing
from service.telemetry import metrics

MEDIA = b"text/event-stream; charset=utf-8"
HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that collects an answer would undo it
]


def piece_event(text: str) -> bytes:
    """Some more of the text."""
    return b"data: %b\n\n" % to_json({"text": text})


async def following(writing: Writing, exchange: Exchange) -> AsyncGenerator[bytes]:
    """The events after the first piece; closed before its end, it lets the text be forgotten."""
    sequence = writing.sequence
    try:
        while text := await writing.piece():
            yield piece_event(text)
        yield _end_event(writing.text(), exchange)
    except (Exception, asyncio.CancelledError) as error:
        sequence.leave()
        yield _error_event(error, exchange)
    finally:
        if not sequence.ended:
            sequence.leave()
            metrics.refuse(metrics.CANCELLED)


def _end_event(text: Text, exchange: Exchange) -> bytes:
    exchange.answered_by(text.model, text.version, text.timing)
    totals = {
        "model": text.model,
        "version": text.version,
        "tokens": text.tokens,
        "seed": text.seed,
        "queue_ms": round(text.timing.queue_s * 1e3, 3),
        "compute_ms": round(text.timing.compute_s * 1e3, 3),
    }
    return b"event: end\ndata: %b\n\n" % to_json(totals)


def _error_event(error: BaseException, exchange: Exchange) -> bytes:
    """The head of the answer has gone, so the error comes in its words."""
    if isinstance(error, asyncio.CancelledError):
        error = Unavailable("the service shut down before the end of the text; ask again")
    known = error if isinstance(error, ServiceError) else mistake(error, exchange.marks)
    observe_error(known, exchange.marks)
    return b"event: error\ndata: %b\n\n" % to_json(error_content(known))
