"""The elements of one tensor -> a numpy array, from JSON numbers or from the bytes behind the JSON.

`struct.pack` turns a list of Python floats into float32 three times faster than numpy does. What it
cannot pack takes the long way, which finds the missing values, or the culprit for the message.

Shape letter: N elements.
"""

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.api.openinference.body import Elements
from service.api.openinference.datatypes import DATATYPES
from service.contract.metadata import Signature, TensorSpec
from service.errors import Malformed

Array = NDArray[Any]

_LONGEST = 40  # characters of a value in one message


@dataclass(frozen=True)
class Expected:
    """One tensor of a model as the protocol names it."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: any size
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {[*self.shape]}"

    def has_axes_of(self, shape: Sequence[int]) -> bool:
        """Whether this many axes may be sent: of rows alone also a column, as Triton's tools do."""
        if len(self.shape) == 1 and len(shape) == 2:
            return shape[1] == 1
        return len(shape) == len(self.shape)

    def shaped(self, elements: Array, shape: Sequence[int]) -> Array:
        """All elements of a tensor in the shape that was sent; a column as its rows."""
        return elements if len(self.shape) == 1 else elements.reshape(shape)


class Tensors(NamedTuple):
    """The tensors of a model by name, in the order of its signature."""

    inputs: Mapping[str, Expected]
    outputs: Mapping[str, Expected]


def described(spec: TensorSpec) -> Expected:
    """A tensor of the graph in the protocol's words."""
    shape = tuple(size if isinstance(size, int) else -1 for size in spec.shape)
    return Expected(spec.name, DATATYPES[spec.dtype], shape, np.dtype(spec.dtype))


@lru_cache(maxsize=256)  # models are few
def expected_tensors(signature: Signature) -> Tensors:
    """What a model takes and gives."""
    inputs, outputs = (
        {spec.name: described(spec) for spec in specs}
        for specs in (signature.inputs, signature.outputs)
    )
    return Tensors(inputs, outputs)


def from_bytes(raw: bytes, shape: Sequence[int], expected: Expected) -> Array:
    """Row-major little-endian elements.

    Raises:
        Malformed: another number of bytes than the shape needs.
    """
    needed = prod(shape) * expected.dtype.itemsize
    if len(raw) != needed:
        raise Malformed(
            f"inference input {expected.name!r} has {len(raw)} bytes of data, expected {needed} "
            f"for {expected.datatype} of shape {[*shape]}",
            expected.name,
        )
    return expected.shaped(np.frombuffer(raw, expected.dtype), shape)


def from_json(data: Elements, shape: Sequence[int], expected: Expected) -> Array:
    """Numbers, flat in row-major order or nested as the shape; null = missing in a float tensor.

    Args:
        data: read at once, or in pieces to an array in which a missing value is NaN.

    Raises:
        Malformed: another number of elements or another nesting than the shape, or an element that
            the datatype cannot hold.
    """
    if len(data) and type(data[0]) is list:
        data = _flattened(data, shape, expected)
    if len(data) != prod(shape):
        raise Malformed(
            f"inference input {expected.name!r} has {len(data)} elements in 'data', expected "
            f"{prod(shape)} for the shape {[*shape]}",
            expected.name,
        )
    if isinstance(data, np.ndarray):
        return expected.shaped(_narrowed(data, expected), shape)
    try:
        packed = struct.pack(f"{len(data)}{expected.dtype.char}", *data)
    except (struct.error, OverflowError):
        return expected.shaped(_long_way(data, expected), shape)
    return expected.shaped(np.frombuffer(packed, expected.dtype), shape)


def _flattened(data: Elements, shape: Sequence[int], expected: Expected) -> list[Any]:
    """Nested lists of exactly this shape as one flat list."""
    flat = list(data)
    fits = len(flat) == shape[0]
    for size in shape[1:]:
        fits = fits and all(type(part) is list and len(part) == size for part in flat)
        if fits:
            flat = list(chain.from_iterable(flat))
    if not fits:
        raise Malformed(
            f"inference input {expected.name!r}: the lists of 'data' are not nested as the shape "
            f"{[*shape]}; send them so, or one flat list",
            expected.name,
        )
    return flat


def _long_way(data: Sequence[Any], expected: Expected) -> Array:
    """An array of [N] where null = missing; names the element that cannot be in it."""
    is_float = expected.dtype.kind == "f"
    if is_float:
        with suppress(ValueError, OverflowError):
            return _narrowed(np.array(data, np.float64), expected)
    at = next(at for at, value in enumerate(data) if not _fits(value, is_float))
    text = "a list" if isinstance(data[at], list) else repr(data[at])
    came = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    wanted = "a finite number or null" if is_float else "a whole number of 64 bits"
    raise Malformed(
        f"inference input {expected.name!r}: element {at} of 'data' is {came}, expected {wanted}",
        expected.name,
    )


def _narrowed(values: Array, expected: Expected) -> Array:
    with np.errstate(over="ignore"):  # infinite here, and refused with the other values
        return values.astype(expected.dtype)


def _fits(value: object, is_float: bool) -> bool:
    if is_float:
        return value is None or isinstance(value, float) or _is_whole(value, 1 << 1023)
    return _is_whole(value, 1 << 63)


def _is_whole(value: object, limit: int) -> bool:
    return isinstance(value, int) and -limit <= value < limit
