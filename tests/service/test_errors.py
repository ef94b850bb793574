"""The error tree: the table of its docstring is the truth about every class."""

import inspect
import json
import re

import pytest

from service import errors
from service.api.responses import answer_error, error_response
from service.errors import (
    Overloaded,
    RateLimited,
    ServiceError,
    Unauthenticated,
    Unservable,
    WrongMethod,
)

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, ServiceError)
]
ROW = re.compile(r"^ {2,6}(?P<name>[A-Z]\w+) +(?P<status>\d{3})  (?P<kind>[a-z_]+)\b", re.MULTILINE)


def documented() -> dict[str, tuple[int, str]]:
    rows = ROW.finditer(errors.__doc__ or "")
    return {row["name"]: (int(row["status"]), row["kind"]) for row in rows}


def make(kind: type[ServiceError], message: str) -> ServiceError:
    if issubclass(kind, Overloaded | RateLimited):
        return kind(message, retry_after=7)
    return kind(message, allowed=["POST"]) if issubclass(kind, WrongMethod) else kind(message)


def test_every_class_has_the_status_and_type_of_the_documented_table() -> None:
    assert {kind.__name__: (kind.status, kind.error_type) for kind in CLASSES} == documented()
    assert len(CLASSES) == 16


def test_no_two_classes_share_a_type() -> None:
    kinds = [kind.error_type for kind in CLASSES]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_becomes_a_response_with_its_status_type_and_message(
    kind: type[ServiceError],
) -> None:
    response = error_response(make(kind, "the pond froze"))
    status, error_type = documented()[kind.__name__]
    assert response.status_code == status
    assert json.loads(bytes(response.body)) == {
        "error": {"type": error_type, "message": "the pond froze"}
    }
    assert response.headers["content-type"] == "application/json"


def test_a_field_is_said_where_there_is_one() -> None:
    response = error_response(Unservable("too long", "series[0].target"))
    assert json.loads(bytes(response.body))["error"]["field"] == "series[0].target"


def test_only_who_asked_too_much_is_told_when_to_come_back() -> None:
    for kind in CLASSES:
        headers = answer_error(make(kind, "later"), error_response).headers
        assert headers.get("retry-after") == ("7" if kind in (Overloaded, RateLimited) else None)


def test_only_a_wrong_method_is_told_the_right_one() -> None:
    for kind in CLASSES:
        headers = answer_error(make(kind, "another"), error_response).headers
        assert headers.get("allow") == ("POST" if kind is WrongMethod else None)


def test_only_who_has_no_key_is_told_how_to_show_one() -> None:
    for kind in CLASSES:
        headers = answer_error(make(kind, "who?"), error_response).headers
        said = 'Bearer realm="gatecast"' if kind is Unauthenticated else None
        assert headers.get("www-authenticate") == said


def test_the_message_is_the_text_of_the_exception() -> None:
    for kind in CLASSES:
        assert str(make(kind, "the pond froze")) == "the pond froze"
