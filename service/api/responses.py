"""Bytes out: the JSON of an answer, and the one place where an error becomes a response."""

import asyncio
import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from service import metrics
from service.errors import Malformed, NotFound, Overloaded, ServiceError, Unavailable

log = logging.getLogger("gatecast")

LONGEST = 500  # characters of a message or a field: what a client sent is quoted, not sent back


def json_response(content: Any, status: int = 200) -> Response:
    """float32 becomes a JSON number with the fewest digits that read back to the same float32."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, media_type="application/json")


def error_response(error: ServiceError) -> Response:
    """{"error": {"type", "message", "field"?}} with the status of the error's class."""
    metrics.refused.labels(error.error_type).inc()
    content = {"type": error.error_type, "message": _short(error.message)}
    if error.field is not None:
        content["field"] = _short(error.field)
    response = json_response({"error": content}, error.status)
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def install_error_handlers(app: FastAPI) -> None:
    """Our own errors, and the router's: an unknown route, a wrong method."""

    @app.exception_handler(ServiceError)
    async def _expected(_: Request, error: ServiceError) -> Response:
        if error.status >= 500:
            log.error("%s: %s", error.error_type, error.message)
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def _routing(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return error_response(NotFound(f"no route {request.scope['path']}; see /docs"))
        route = f"{request.method} {request.scope['path']}"
        wrong = Malformed(f"{route}: {error.detail}; see /docs")
        response = error_response(wrong)
        response.status_code = error.status_code
        response.headers.update(error.headers or {})
        return response


def unexpected_response(error: BaseException) -> Response:
    """The answer to what no handler knows: a shutdown out of time, or a mistake of ours."""
    if isinstance(error, asyncio.CancelledError):
        return error_response(Unavailable("the service shut down before the answer; ask again"))
    log.error("unexpected error", exc_info=error)
    return error_response(ServiceError("an unexpected error; the log of the service names it"))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
