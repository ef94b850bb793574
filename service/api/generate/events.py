"""A text as server-sent events, while it is written.

`data: {"text": ...}` for each piece; then `event: end` with the totals, or `event: error` with the
error that any other route would have answered. All pieces together are the text.
"""

import asyncio
from collections.abc import AsyncGenerator

from service.api.exchange import CANCELLED
from service.api.responses import error_content, mistake, observe_error, to_json
from service.errors import ServiceError, Unavailable
from service.generation.generator import Writing
from service.telemetry import metrics

MEDIA = b"text/event-stream; charset=utf-8"
HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that collects an answer would undo it
]


def piece_event(text: str) -> bytes:
    """Some more of the text."""
    return b"data: %b\n\n" % to_json({"text": text})


async def following(writing: Writing) -> AsyncGenerator[bytes]:
    """The events after the first piece; closed before its end, it lets the text be forgotten."""
    sequence = writing.sequence
    try:
        while text := await writing.piece():
            yield piece_event(text)
        yield _end_event(writing)
    except (Exception, asyncio.CancelledError) as error:
        sequence.leave()
        yield _error_event(error)
    finally:
        if not sequence.ended:
            sequence.leave()
            metrics.refuse(CANCELLED)


def _end_event(writing: Writing) -> bytes:
    text = writing.text()
    totals = {
        "model": text.model,
        "version": text.version,
        "tokens": text.tokens,
        "seed": text.seed,
        "queue_ms": round(text.timing.queue_s * 1e3, 3),
        "compute_ms": round(text.timing.compute_s * 1e3, 3),
    }
    return b"event: end\ndata: %b\n\n" % to_json(totals)


def _error_event(error: BaseException) -> bytes:
    """The head of the answer has gone, so the error comes in its words."""
    if isinstance(error, asyncio.CancelledError):
        error = Unavailable("the service shut down before the end of the text; ask again")
    known = error if isinstance(error, ServiceError) else mistake(error)
    observe_error(known)
    return b"event: error\ndata: %b\n\n" % to_json(error_content(known))
