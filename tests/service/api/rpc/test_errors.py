"""Errors over gRPC: a client's fault is never INTERNAL, and who may come again is told when."""

import inspect

import pytest
from grpc import StatusCode

from service import errors
from service.api.rpc.errors import status_of
from service.errors import InferenceFailed, Overloaded, RateLimited, ServiceError, WrongMethod

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, ServiceError)
]
OURS = {ServiceError, InferenceFailed}


def make(kind: type[ServiceError]) -> ServiceError:
    if issubclass(kind, Overloaded | RateLimited):
        return kind("full", 7)
    return WrongMethod("no", ["GET"]) if kind is WrongMethod else kind("it is so")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_only_our_own_faults_are_internal(kind: type[ServiceError]) -> None:
    assert (status_of(make(kind)).code == StatusCode.INTERNAL) == (kind in OURS)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, StatusCode.INVALID_ARGUMENT),
        (401, StatusCode.UNAUTHENTICATED),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.NOT_FOUND),
        (413, StatusCode.INVALID_ARGUMENT),
        (422, StatusCode.INVALID_ARGUMENT),
        (429, StatusCode.RESOURCE_EXHAUSTED),
        (503, StatusCode.UNAVAILABLE),
        (504, StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_a_status_of_http_has_its_code(status: int, code: StatusCode) -> None:
    found = {status_of(make(kind)).code for kind in CLASSES if kind.status == status}
    assert found == {code}


def test_who_asked_too_much_is_told_when_to_come_again() -> None:
    for error in (Overloaded("full", 7), RateLimited("often", 7)):
        assert status_of(error).trailers == (("retry-after", "7"),)
    assert status_of(ServiceError("broken")).trailers == ()


def test_what_a_client_sent_is_quoted_and_not_sent_back() -> None:
    """gRPC refuses trailers of more than 8 KiB, and the client would not see the error."""
    assert len(status_of(ServiceError("\N{SNOWMAN}" * 9000)).details.encode()) < 2000
