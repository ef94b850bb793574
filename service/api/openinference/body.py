"""The JSON of an infer request -> its fields, large arrays of numbers in pieces.

Fields that are not of the protocol are ignored, because its clients send some.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.api.json_body import PIECE_BYTES, JsonBody, read_struct
from service.errors import Malformed

Data = TypeVar("Data")

Number = int | float | None
Nested = list[Number | list[Number | list[Number]]]
Elements = Sequence[Any] | NDArray[np.float64]  # flat or nested; an array is flat
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]
Parameters = dict[str, Any] | None


class Input(msgspec.Struct, Generic[Data]):
    """One tensor of the request."""

    name: str
    shape: list[Size]
    datatype: str
    parameters: Parameters = None
    data: Data | msgspec.UnsetType = msgspec.UNSET


class Output(msgspec.Struct):
    """One output that is asked for."""

    name: str
    parameters: Parameters = None


class Body(msgspec.Struct, Generic[Data]):
    """The whole request."""

    inputs: list[Input[Data]]
    id: str | None = None
    parameters: Parameters = None
    outputs: list[Output] | None = None


_whole: msgspec.json.Decoder[Body[Any]] = msgspec.json.Decoder(Body[Nested])
_outline = msgspec.json.Decoder(Body[msgspec.Raw])


async def read_body(text: bytes) -> Body[Elements]:
    """Understand the JSON; what its numbers are worth is not looked at.

    Raises:
        Malformed: not JSON, or not of the documented form.
    """
    try:
        if len(text) > PIECE_BYTES:
            return await _read_large(text)
        return read_struct(_whole, text)
    except Malformed as error:
        if b"NaN" in text or b"Infinity" in text:
            hint = "JSON has no NaN and no Infinity; write null, or send binary data"
            raise Malformed(f"{error.message}; {hint}", error.field) from None
        raise


async def _read_large(text: bytes) -> Body[Elements]:
    """The same with other requests answered in between, where the data is flat."""
    body = JsonBody(text)
    outline = body.struct(_outline)
    parts = outline.inputs
    if any(part.data and _is_nested(part.data) for part in parts):
        return read_struct(_whole, text)
    inputs: list[Input[Elements]] = []
    for part in parts:
        data: Elements | msgspec.UnsetType = msgspec.UNSET
        if part.data is not msgspec.UNSET:
            read = body.integers if part.datatype == "INT64" else body.numbers
            data = await read(part.data, part.name)
        inputs.append(Input(part.name, part.shape, part.datatype, part.parameters, data))
    return Body(inputs, outline.id, outline.parameters, outline.outputs)


def _is_nested(data: msgspec.Raw) -> bool:
    """Also where an inner array was cut out, and only its mark is left."""
    return bytes(data)[1:].lstrip().startswith((b"[", b'"'))
