"""An error of the service as gRPC says it: a status, a message, and when to come again."""

from dataclasses import dataclass

from grpc import StatusCode

from service.api.responses import short
from service.errors import Overloaded, RateLimited, ServiceError

Metadata = tuple[tuple[str, str], ...]

# 413 and 422 are no use to ask again, which RESOURCE_EXHAUSTED would invite a client to do.
_CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.INVALID_ARGUMENT,
    415: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True)
class Status:
    """How a call ends that is not answered."""

    code: StatusCode
    details: str
    trailers: Metadata  # `retry-after`, in seconds, where asking again may help


def status_of(error: ServiceError) -> Status:
    """The gRPC status of an error, by its HTTP status; INTERNAL where it is a fault of ours."""
    code = _CODES.get(error.status, StatusCode.INTERNAL)
    trailers: Metadata = ()
    if isinstance(error, Overloaded | RateLimited):
        trailers = (("retry-after", str(error.retry_after)),)
    return Status(code, short(error.message), trailers)
