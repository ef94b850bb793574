"""One call: its bytes become a message, its end is counted, its error becomes a status.

gRPC's own handling answers UNKNOWN with a traceback in the log both where a client's bytes are no
message and where a handler raises. So messages are read here, and nothing but a status leaves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.api.responses import Marks, mistake, observe_error
from service.api.rpc.caller import Caller, Context
from service.api.rpc.errors import Status, status_of
from service.errors import Malformed, ServiceError
from service.house import House
from service.telemetry import metrics

Request = TypeVar("Request", bound=Message)
Result = TypeVar("Result")
Unary = Callable[[Request, Caller], Awaitable[Message]]
Stream = Callable[[Caller], Awaitable[None]]


def unary(method: str, request: type[Request], behaviour: Unary[Request], house: House) -> Any:
    """A handler of one message and one answer."""

    async def behave(body: bytes, caller: Caller) -> bytes:
        return (await behaviour(parse(request, body), caller)).SerializeToString()

    async def handle(body: bytes, context: Context) -> bytes:
        caller = Caller(method, context, house)
        answer = await counted(caller, behave(body, caller))
        if isinstance(answer, Status):
            await give_up(caller, answer)
        elif trailers := caller.trailers():
            context.set_trailing_metadata(trailers)
        return answer

    return grpc.unary_unary_rpc_method_handler(handle)


def stream(method: str, behaviour: Stream, house: House) -> Any:
    """A handler that reads and writes bytes as it likes, and counts what it likes."""

    async def handle(_: Any, context: Context) -> None:
        caller = Caller(method, context, house)
        try:
            await behaviour(caller)
            if trailers := caller.trailers():
                context.set_trailing_metadata(trailers)
        except Exception as error:
            await give_up(caller, told(error, caller.marks))

    return grpc.stream_stream_rpc_method_handler(handle)


async def give_up(caller: Caller, status: Status) -> NoReturn:
    """End a call that is not answered; it raises."""
    trailers = status.trailers + caller.trailers(failed=True)
    await caller.context.abort(status.code, status.details, trailers)
    raise AssertionError("unreachable: to abort is to raise")


async def counted(caller: Caller, work: Awaitable[Result]) -> Result | Status:
    """What comes of a request, or why nothing does; counted and timed."""
    outcome = metrics.CANCELLED
    result = None
    try:
        result = await work
        outcome = "OK"
        return result
    except asyncio.CancelledError:  # the client hung up, or its deadline passed
        metrics.refuse(metrics.CANCELLED)
        raise
    except Exception as error:
        status = told(error, caller.marks)
        outcome = status.code.name
        return status
    finally:
        metrics.observe_request(caller.method, outcome, time.perf_counter() - caller.arrived)
        caller.conclude(outcome, result)


def told(error: Exception, marks: Marks) -> Status:
    """An error counted, logged where it is ours, and as a status."""
    known = error if isinstance(error, ServiceError) else mistake(error, marks)
    observe_error(known, marks)
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
