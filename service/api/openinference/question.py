"""The body of an infer request -> named tensors, and how the caller wants the answer.

The body is JSON, or JSON and behind it the bytes of the tensors that say `binary_data_size`; then
the header Inference-Header-Content-Length says where the JSON ends. Where it ends at 0, the body is
the bytes of the only input. A parameter that would change the answer and that we do not have is
refused; others of the caller's own are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from msgspec import UNSET
from numpy.typing import NDArray

from service.api.openinference.body import Body, Elements, Input, Output, Parameters, read_body
from service.api.openinference.outputs import NO_CLASSES, wrong_output
from service.api.openinference.parameters import unsupported
from service.api.openinference.values import Expected, expected_tensors, from_bytes, from_json
from service.contract.metadata import Signature
from service.errors import Malformed

BINARY_SIZE = "binary_data_size"

_SHOWN = 6  # sizes of a shape in one message
_DIGITS = 12  # more than any body has bytes
_LONGEST = 40  # characters of what a client sent, in one message
_SHARED_MEMORY = "shared_memory_region"
_DAY_US = 86_400_000_000


@dataclass(slots=True)
class Question:
    """One infer request."""

    tensors: dict[str, NDArray[Any]]
    identifier: str | None  # to be sent back
    timeout_s: float | None
    outputs: Mapping[str, bool]  # those that are wanted, in their order; True: as bytes


async def read_question(
    body: bytes, header: bytes | None, model: str, signature: Signature
) -> Question:
    """Understand one request to one model.

    Args:
        header: the value of Inference-Header-Content-Length.

    Raises:
        Malformed: not the documented request; the message says where.
    """
    expected = expected_tensors(signature)
    end = len(body) if header is None else _json_length(header, len(body))
    if end == 0 and header is not None:
        tensors = _read_raw(body, model, expected.inputs)
        return Question(tensors, None, None, dict.fromkeys(expected.outputs, True))
    parsed = await read_body(body if end == len(body) else body[:end])
    parameters = parsed.parameters
    return Question(
        tensors=_read_tensors(parsed.inputs, body, end, model, expected.inputs),
        identifier=parsed.id,
        timeout_s=None if parameters is None else _read_timeout(parameters),
        outputs=_wanted_outputs(parsed, model, expected.outputs),
    )


def _json_length(header: bytes, size: int) -> int:
    text = header[:_LONGEST].decode("latin-1")
    if not header.isdigit() or len(header) > _DIGITS or int(header) > size:
        raise Malformed(
            f"header Inference-Header-Content-Length is {text!r}, expected the number of bytes of "
            f"the JSON in the uncompressed body, at most {size}"
        )
    return int(header)


def _read_raw(body: bytes, model: str, wanted: Mapping[str, Expected]) -> dict[str, NDArray[Any]]:
    """The only input of a model, as many rows as there are bytes for."""
    first, *others = wanted.values()
    if others or -1 in first.shape[1:]:
        raise Malformed(
            "header Inference-Header-Content-Length is 0: a raw body has room for one input, and "
            f"model {model!r} takes {', '.join(wanted)}; send JSON that names each with its "
            f"{BINARY_SIZE}"
        )
    row = prod(first.shape[1:]) * first.dtype.itemsize
    if not body or len(body) % row:
        raise Malformed(
            f"inference input {first.name!r} has {len(body)} bytes of data, expected {row} for "
            f"each row of {first}",
            first.name,
        )
    return {first.name: from_bytes(body, (len(body) // row, *first.shape[1:]), first)}


def _read_tensors(
    inputs: list[Input[Elements]], body: bytes, end: int, model: str, wanted: Mapping[str, Expected]
) -> dict[str, NDArray[Any]]:
    """Tensors from JSON, or in turn from the bytes of the body from `end` on."""
    tensors: dict[str, NDArray[Any]] = {}
    for part in inputs:
        expected = wanted.get(part.name)
        if expected is None:
            takes = ", ".join(map(str, wanted.values()))
            message = f"unexpected inference input {_short(part.name)} for model {model!r}"
            raise Malformed(f"{message}; it takes {takes}", "inputs")
        if part.name in tensors:
            raise Malformed(f"inference input {part.name!r} is sent twice", part.name)
        _agree(part, model, expected)
        size = None if part.parameters is None else _binary_size(part.name, part.parameters)
        if part.data is not UNSET and size is None:
            tensors[part.name] = from_json(part.data, part.shape, expected)
        elif part.data is UNSET and size is not None:
            tensors[part.name] = from_bytes(body[end : end + size], part.shape, expected)
            end += size
        else:
            came = "neither 'data' nor" if size is None else "both 'data' and"
            message = (
                f"inference input {part.name!r} has {came} {BINARY_SIZE}, expected one of them"
            )
            raise Malformed(message, part.name)
    if end != len(body):
        raise Malformed(
            f"unexpected additional input data: {len(body) - end} bytes are behind the last input"
        )
    return tensors


def _agree(part: Input[Elements], model: str, expected: Expected) -> None:
    if part.datatype != expected.datatype:
        raise Malformed(
            f"inference input {part.name!r} data-type is {_short(part.datatype)}, but model "
            f"{model!r} expects {expected.datatype!r}",
            part.name,
        )
    if not expected.has_axes_of(part.shape):
        raise Malformed(
            f"unexpected shape for input {part.name!r} for model {model!r}: expected "
            f"{[*expected.shape]}, got {part.shape[:_SHOWN]}",
            part.name,
        )


def _binary_size(name: str, parameters: Mapping[str, Any]) -> int | None:
    _no_shared_memory(f"inference input {name!r}", parameters)
    size = parameters.get(BINARY_SIZE)
    if size is None or (type(size) is int and size >= 0):
        return size
    raise Malformed(
        f"inference input {name!r}: {BINARY_SIZE} is {_short(size)}, expected a number of bytes",
        name,
    )


def _read_timeout(parameters: Mapping[str, Any]) -> float | None:
    """Seconds; every parameter of the request is looked at on the way."""
    for name, value in parameters.items():
        if value and (remedy := unsupported(name)):
            raise Malformed(f"parameter {_short(name)} is not supported: {remedy}", "parameters")
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or timeout < 0:
        message = f"parameter 'timeout' is {_short(timeout)}, expected whole microseconds"
        raise Malformed(message, "parameters")
    return min(timeout, _DAY_US) / 1e6 if timeout else None


def _wanted_outputs(
    body: Body[Elements], model: str, known: Mapping[str, Expected]
) -> dict[str, bool]:
    """Those that are asked for, else all; an output's own word counts, then the request's."""
    binary = _flag(body.parameters, "binary_data_output", False)
    if not body.outputs:
        return dict.fromkeys(known, binary)
    wanted: dict[str, bool] = {}
    for output in body.outputs:
        if output.name not in known or output.name in wanted:
            raise wrong_output(output.name, model, known)
        wanted[output.name] = _is_binary(output, binary) if output.parameters else binary
    return wanted


def _is_binary(output: Output, default: bool) -> bool:
    parameters, label = output.parameters or {}, f"inference output {output.name!r}"
    _no_shared_memory(label, parameters)
    if parameters.get("classification"):
        raise Malformed(f"{label}: {NO_CLASSES}", "outputs")
    return _flag(parameters, "binary_data", default)


def _flag(parameters: Parameters, name: str, default: bool) -> bool:
    value = default if parameters is None else parameters.get(name, default)
    if isinstance(value, bool):
        return value
    raise Malformed(f"parameter {name!r} is {_short(value)}, expected true or false", "parameters")


def _no_shared_memory(label: str, parameters: Mapping[str, Any]) -> None:
    if _SHARED_MEMORY in parameters:
        raise Malformed(f"{label}: shared memory is not supported; send the data in the body")


def _short(value: object) -> str:
    """A value as it may stand in a message; what is nested may be deep."""
    text = f"a {type(value).__name__}" if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
