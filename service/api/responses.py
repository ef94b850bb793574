"""Bytes out: the JSON of an answer, and the one place where an error becomes a response."""

import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from service import metrics
from service.errors import Malformed, NotFound, Overloaded, ServiceError

log = logging.getLogger("gatecast")


def json_response(content: Any, status: int = 200) -> Response:
    """float32 becomes a JSON number with the fewest digits that read back to the same float32."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, media_type="application/json")


def error_response(error: ServiceError) -> Response:
    """{"error": {"type", "message", "field"?}} with the status of the error's class."""
    metrics.refused.labels(error.error_type).inc()
    content = {"type": error.error_type, "message": error.message}
    if error.field is not None:
        content["field"] = error.field
    response = json_response({"error": content}, error.status)
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def install_error_handlers(app: FastAPI) -> None:
    """Our own errors, the router's (unknown route, wrong method), and whatever nobody expected."""

    @app.exception_handler(ServiceError)
    async def _expected(_: Request, error: ServiceError) -> Response:
        if error.status >= 500:
            log.error("%s: %s", error.error_type, error.message)
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def _routing(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return error_response(NotFound(f"no route {request.url.path}; see /docs"))
        wrong = Malformed(f"{request.method} {request.url.path}: {error.detail}; see /docs")
        response = error_response(wrong)
        response.status_code = error.status_code
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error)
        return error_response(ServiceError("an unexpected error; the log of the service names it"))
