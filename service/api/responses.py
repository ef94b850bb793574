"""Bytes out: the JSON of an answer, its headers, and the one place where an error is answered."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from service.api.hangup import hangup_of
from service.engine.job import Timing
from service.errors import (
    InferenceFailed,
    NotFound,
    Overloaded,
    RateLimited,
    ServiceError,
    Unauthenticated,
    Unavailable,
    WrongMethod,
)
from service.telemetry import metrics

log = logging.getLogger("gatecast")

LONGEST = 500  # characters of a message or a field: what a client sent is quoted, not sent back

Headers = list[tuple[bytes, bytes]]
Marks = Mapping[str, str]  # fields of a line of the log, by which a request is found
NO_MARKS: Marks = {}


class Reply(Response):
    """A response whose parts are bytes already: a quarter of the work of Starlette's own."""

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        media: bytes = b"application/json",
        headers: Sequence[tuple[bytes, bytes]] = (),
        parts: AsyncGenerator[bytes] | None = None,
    ) -> None:
        self.body: bytes = body
        self.parts = parts  # that follow the body, of which the length is not known
        self.sent = len(body)  # bytes, with the parts that have followed
        self.status_code = status
        self.background = None
        self.raw_headers = [(b"content-type", media), *headers]
        if parts is None:
            self.raw_headers.append((b"content-length", b"%d" % len(body)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until its end or the caller's."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        if self.parts is None:
            await send({"type": "http.response.body", "body": self.body})
            return
        hangup = hangup_of(scope)
        async with aclosing(self.parts) as parts:
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            async for part in parts:
                if hangup.happened:
                    return
                self.sent += len(part)
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


Errors = Callable[[ServiceError], Reply]  # the error body of a dialect


def to_json(content: Any) -> bytes:
    """float32 becomes a JSON number with the fewest digits that read back to the same float32."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def json_response(content: Any, status: int = 200) -> Reply:
    """A JSON object as a response."""
    return Reply(to_json(content), status)


def answer_headers(model: str, version: int, timing: Timing, arrived: float) -> Headers:
    """Who answered, and where the time went.

    Args:
        arrived: perf_counter seconds when the head of the request was complete.
    """
    total = time.perf_counter() - arrived
    spent = (timing.queue_s * 1e3, timing.compute_s * 1e3, total * 1e3)
    return [
        model_header(model, version),
        (b"server-timing", b"queue;dur=%.3f, compute;dur=%.3f, total;dur=%.3f" % spent),
    ]


@lru_cache(maxsize=256)
def model_header(model: str, version: int) -> tuple[bytes, bytes]:
    """Who answered."""
    return b"gatecast-model", b"%s@%d" % (model.encode(), version)


def error_response(error: ServiceError) -> Reply:
    """The error body of the native dialect."""
    return json_response(error_content(error), error.status)


def error_content(error: ServiceError) -> dict[str, dict[str, str]]:
    """{"error": {"type", "message", "field"?}}."""
    content = {"type": error.error_type, "message": short(error.message)}
    if error.field is not None:
        content["field"] = short(error.field)
    return {"error": content}


def answer_error(error: ServiceError, errors: Errors, marks: Marks = NO_MARKS) -> Reply:
    """An error in the words of a dialect, counted, with the headers that HTTP gives it.

    Args:
        marks: of the request, for a line of the log about it.
    """
    observe_error(error, marks)
    return error_reply(error, errors)


def error_reply(error: ServiceError, errors: Errors) -> Reply:
    """The same, counted nowhere."""
    response = errors(error)
    if isinstance(error, Overloaded | RateLimited | Unavailable) and error.retry_after is not None:
        response.raw_headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, Unauthenticated):
        response.raw_headers.append((b"www-authenticate", b'Bearer realm="gatecast"'))
    if isinstance(error, WrongMethod):
        response.raw_headers.append((b"allow", ", ".join(error.allowed).encode()))
    return response


def answer_unexpected(error: BaseException, errors: Errors, marks: Marks = NO_MARKS) -> Reply:
    """The answer to what no handler knows: a shutdown out of time, or a mistake of ours."""
    if isinstance(error, asyncio.CancelledError):
        message = "the service shut down before the answer; ask again"
        return answer_error(Unavailable(message), errors)
    return answer_error(mistake(error, marks), errors)


def observe_error(error: ServiceError, marks: Marks = NO_MARKS) -> None:
    """Count an error that a client is told, and log it where it is ours to mend."""
    metrics.refuse(error.error_type)
    if isinstance(error, InferenceFailed):
        log.error("%s: %s", error.error_type, error.message, extra=marks)


def mistake(error: BaseException, marks: Marks = NO_MARKS) -> ServiceError:
    """Log what should not have happened; all that a client is told of it."""
    log.error("unexpected error", exc_info=error, extra=marks)
    return ServiceError("an unexpected error; the log of the service names it")


def install_error_handlers(app: FastAPI) -> None:
    """For what FastAPI serves: our own errors, and the router's."""

    @app.exception_handler(ServiceError)
    async def _expected(_: Request, error: ServiceError) -> Response:
        return answer_error(error, error_response)

    @app.exception_handler(HTTPException)
    async def _routing(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]
        if error.status_code == 405:
            allowed = (error.headers or {}).get("allow", "GET").split(", ")
            return answer_error(wrong_method(request.method, path, allowed), error_response)
        return answer_error(no_route(path), error_response)


def wrong_method(method: str, path: str, allowed: Sequence[str]) -> WrongMethod:
    """What is said of a route that has other methods."""
    message = f"{method} {path} is not served, {' and '.join(allowed)} is; see /docs"
    return WrongMethod(message, allowed)


def no_route(path: str) -> NotFound:
    """What is said of a path that nobody serves."""
    return NotFound(f"no route {path}; see /docs")


def short(text: str) -> str:
    """A text as it may stand in a message."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
