"""One call: its bytes become a message, its end is counted, its error becomes a status.

gRPC's own handling answers UNKNOWN with a traceback in the log both where a client's bytes are no
message and where a handler raises. So messages are read here, and nothing but a status leaves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.api.exchange import CANCELLED
from service.api.responses import mistake, observe_error
from service.api.rpc.errors import Status, status_of
from service.errors import Malformed, ServiceError
from service.telemetry import metrics

Context = grpc.aio.ServicerContext[bytes, bytes]
Request = TypeVar("Request", bound=Message)
Result = TypeVar("Result")
Unary = Callable[[Request, Context], Awaitable[Message]]
Stream = Callable[[Context], Awaitable[None]]


def unary(method: str, request: type[Request], behaviour: Unary[Request]) -> Any:
    """A handler of one message and one answer."""

    async def behave(body: bytes, context: Context) -> bytes:
        return (await behaviour(parse(request, body), context)).SerializeToString()

    async def handle(body: bytes, context: Context) -> bytes:
        answer = await counted(method, behave(body, context))
        if isinstance(answer, Status):
            await context.abort(answer.code, answer.details, answer.trailers)
        return answer

    return grpc.unary_unary_rpc_method_handler(handle)


def stream(behaviour: Stream) -> Any:
    """A handler that reads and writes bytes as it likes, and counts what it likes."""

    async def handle(_: Any, context: Context) -> None:
        try:
            await behaviour(context)
        except Exception as error:
            status = told(error)
            await context.abort(status.code, status.details, status.trailers)

    return grpc.stream_stream_rpc_method_handler(handle)


async def counted(method: str, work: Awaitable[Result]) -> Result | Status:
    """What comes of a request, or why nothing does; counted and timed."""
    started = time.perf_counter()
    outcome = CANCELLED
    try:
        result = await work
        outcome = "OK"
        return result
    except asyncio.CancelledError:  # the client hung up, or its deadline passed
        metrics.refuse(CANCELLED)
        raise
    except Exception as error:
        status = told(error)
        outcome = status.code.name
        return status
    finally:
        metrics.observe_request(method, outcome, time.perf_counter() - started)


def told(error: Exception) -> Status:
    """An error counted, logged where it is ours, and as a status."""
    known = error if isinstance(error, ServiceError) else mistake(error)
    observe_error(known)
    return status_of(known)


def parse(kind: type[Request], body: object) -> Request:
    """The message that these bytes are.

    Raises:
        Malformed: they are none, or the client sent nothing.
    """
    if not isinstance(body, bytes):
        raise Malformed(f"the call has no message, expected one {kind.DESCRIPTOR.full_name}")
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise Malformed(f"the bytes are no {kind.DESCRIPTOR.full_name}: {error}") from error
