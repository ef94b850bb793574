"""What FastAPI's document says of routes and bodies that it does not serve and parse itself."""

import re
from typing import Any

import msgspec

from service.api.responses import Errors
from service.errors import ServiceError

_DEFINITIONS = "#/$defs/"
_PARAMETER = re.compile(r"{(\w+)}")
_ANY = {400, 408, 413, 500, 503}  # what a route may say before it knows what is asked
_KEYED = {401, 403, 429}
_OF_A_BODY = {404, 415, 422}


def json_body(body: type) -> dict[str, Any]:
    """The `openapi_extra` of a route whose JSON body is this msgspec struct."""
    schema = inlined(msgspec.json.schema(body))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """References resolved: a document has no place for definitions of one schema's own."""
    found: dict[str, Any] = _inline(schema, schema.get("$defs", {}))
    return found


def path_parameters(path: str) -> list[dict[str, Any]]:
    """The names within a path, which are texts of at least a character."""
    schema = {"type": "string", "minLength": 1}
    named = _PARAMETER.findall(path)
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in named]


def error_responses(
    method: str,
    parameters: list[dict[str, Any]],
    scope: str | None,
    runs_model: bool,
    errors: Errors,
) -> dict[int | str, dict[str, Any]]:
    """Every status above 399 that a route may have, each with an example in its dialect's words."""
    found = set(_ANY)
    found |= _KEYED if scope is not None else set()
    found |= {409} if scope == "admin" else set()
    found |= {504} if runs_model else set()
    found |= _OF_A_BODY if method == "POST" else set()
    for parameter in parameters:
        found |= {404, 422} if parameter["in"] == "query" else {404}
    return {status: _error_response(status, errors) for status in sorted(found)}


def _error_response(status: int, errors: Errors) -> dict[str, Any]:
    kinds: list[type[ServiceError]] = [ServiceError, *ServiceError.__subclasses__()]
    types = [kind.error_type for kind in kinds if kind.status == status]
    example = ServiceError("what was expected, what came, and the remedy")
    example.status, example.error_type = status, types[0]
    said = msgspec.json.decode(errors(example).body)
    content = {"application/json": {"example": said, "schema": {"type": "object"}}}
    return {"description": " or ".join(types), "content": content}


def _inline(part: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inline(one, definitions) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inline(definitions[part["$ref"].removeprefix(_DEFINITIONS)], definitions)
    return {key: _inline(value, definitions) for key, value in part.items() if key != "$defs"}
