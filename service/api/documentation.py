"""What FastAPI's document says of a request that it does not parse itself."""

from typing import Any

import msgspec

_DEFINITIONS = "#/$defs/"


def json_body(body: type) -> dict[str, Any]:
    """The `openapi_extra` of a route whose JSON body is this msgspec struct."""
    schema = msgspec.json.schema(body)
    inlined = _inline(schema, schema.get("$defs", {}))
    inlined.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined}}}}


def _inline(part: Any, definitions: dict[str, Any]) -> Any:
    """References resolved: a document has no place for definitions of one schema's own."""
    if isinstance(part, list):
        return [_inline(one, definitions) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inline(definitions[part["$ref"].removeprefix(_DEFINITIONS)], definitions)
    return {key: _inline(value, definitions) for key, value in part.items() if key != "$defs"}
