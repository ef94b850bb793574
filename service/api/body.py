"""JSON bodies: read in a microsecond where they are right, explained where they are wrong.

The pydantic model of a body is its documentation and the judge of what is wrong, in one sentence
about one field. Judging takes it ten times as long as msgspec takes to read, so a body is first
given to a struct made of the same fields; what the struct refuses, the model looks at.
"""

from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, cast, get_args, get_origin

import annotated_types
import msgspec
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from service.api.documentation import inlined
from service.errors import Malformed

Body = TypeVar("Body", bound=BaseModel)

_MANY_ERRORS = 1000  # listing a million unknown fields would take seconds


class BodyReader(Generic[Body]):
    """Reads bodies of one pydantic model, which is strict and forbids unknown fields."""

    def __init__(self, model: type[Body]) -> None:
        self._model = model
        self._fast = msgspec.json.Decoder(_struct(model))

    def read(self, content: bytes) -> Body:
        """An object with the fields of the model; not always an instance of it.

        Raises:
            Malformed: not JSON, or not of the documented form.
        """
        try:
            return cast(Body, self._fast.decode(content))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:
            return self._model.model_validate_json(content)
        except ValidationError as error:
            raise _malformed(error) from None

    @property
    def documentation(self) -> dict[str, Any]:
        """The `openapi_extra` of a route with such a body."""
        schema = inlined(self._model.model_json_schema())
        return {
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        }


def _struct(model: type[BaseModel]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, field in model.model_fields.items():
        kind = _plain(field.annotation)
        if longest := _longest(field):
            kind = Annotated[kind, msgspec.Meta(max_length=longest)]
        if field.is_required():
            fields.append((name, kind))
        else:
            fields.append((name, kind, field.get_default(call_default_factory=True)))
    return msgspec.defstruct(
        model.__name__, fields, kw_only=True, forbid_unknown_fields=True, gc=False
    )


def _plain(kind: Any) -> Any:
    """A type without what only pydantic understands."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _struct(kind)
    origin: Any = get_origin(kind)
    parts = get_args(kind)
    if origin is None:
        return kind
    if origin is Annotated:
        return _plain(parts[0])
    plain = tuple(_plain(part) for part in parts)
    if origin is UnionType:
        return reduce(or_, plain)
    return origin[plain]


def _longest(field: FieldInfo) -> int | None:
    limits = [one.max_length for one in field.metadata if isinstance(one, annotated_types.MaxLen)]
    return limits[0] if limits else None


def _malformed(error: ValidationError) -> Malformed:
    """The first thing pydantic found wrong, as one sentence about one field."""
    if error.error_count() > _MANY_ERRORS:
        return Malformed(f"the body is wrong in {error.error_count()} places; see /docs")
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return Malformed(f"the body is not JSON: {first['ctx']['error']}")
    field = _path(first["loc"])
    if first["type"] == "finite_number":
        remedy = "; send null for a missing value" if first["loc"][0] == "series" else ""
        return Malformed(f"{field} is not a finite number{remedy}", field)
    if first["type"] == "extra_forbidden":
        return Malformed(f"{field} is not a field of this request; see /docs", field)
    if first["type"] == "missing":
        return Malformed(f"{field} is missing; see /docs", field)
    came = repr(first["input"])
    came = came if len(came) <= 60 else f"{came[:60]}..."
    return Malformed(f"{field or 'the body'}: {first['msg']}, got {came}", field or None)


def _path(location: tuple[int | str, ...]) -> str:
    """("series", 0, "target", 5) -> series[0].target[5]"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")
