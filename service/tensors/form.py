"""The tensors of a request as a model wants them: names, dtypes and shapes.

A caller who speaks in tensors fills them as the graph wants them, so what the other dialects get
right by construction is checked here.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from service.contract.forecast import SPAN
from service.contract.metadata import Array, Signature
from service.errors import Malformed

Tensors = Mapping[str, Array]

_SHOWN = 5  # names in one message
_LONGEST = 40  # characters of a name in one message


def agree_form(tensors: Tensors, signature: Signature) -> list[Array]:
    """The tensors in the signature's order: they are the right ones, in dtype and in shape.

    Raises:
        Malformed: another tensor, dtype or shape than the signature's, no row or no step; the field
            is the tensor.
    """
    wanted = _wanted(signature)
    arrays = [tensors[name] for name in wanted.names if name in tensors]
    if len(arrays) != len(wanted.names) or len(arrays) != len(tensors):
        raise _wrong_names(tensors, wanted)
    for spec, dtype, array in zip(wanted.specs, wanted.dtypes, arrays, strict=True):
        if array.dtype != dtype:
            raise Malformed(f"{spec.name} is {array.dtype}, expected {spec}", spec.name)
    shapes = [array.shape for array in arrays]
    rows, steps = signature.extent(shapes[0])
    if not rows or not steps or shapes != wanted.shapes(rows, steps):
        raise _wrong_shape(arrays, wanted, signature)
    return arrays


class _Wanted:
    """The tensors of a signature, in its order."""

    def __init__(self, signature: Signature) -> None:
        self.specs = signature.inputs
        self.names = tuple(spec.name for spec in self.specs)
        self.dtypes = tuple(np.dtype(spec.dtype) for spec in self.specs)
        self.shapes = lru_cache(maxsize=4096)(self._shapes)
        self._sizes = signature.sizes

    def _shapes(self, rows: int, steps: int) -> list[tuple[int, ...]]:
        sizes = self._sizes(rows, steps)
        return [spec.fixed(sizes) for spec in self.specs]


_wanted = lru_cache(maxsize=256)(_Wanted)  # models are few


def _wrong_names(tensors: Tensors, wanted: _Wanted) -> Malformed:
    takes = ", ".join(map(str, wanted.specs))
    if unknown := [name for name in tensors if name not in wanted.names]:
        message = f"unexpected tensor {_listed(unknown)}; this model takes {takes}"
        return Malformed(message, unknown[0])
    missing = [name for name in wanted.names if name not in tensors]
    return Malformed(f"tensor {_listed(missing)} is missing; this model takes {takes}", missing[0])


def _wrong_shape(arrays: Sequence[Array], wanted: _Wanted, signature: Signature) -> Malformed:
    """The first tensor whose shape cannot be."""
    for spec, array in zip(wanted.specs, arrays, strict=True):
        if array.ndim != len(spec.shape):
            message = f"{spec.name} has the shape {[*array.shape]}, expected {spec}"
            return Malformed(message, spec.name)
    first, shape = wanted.names[0], [*arrays[0].shape]
    rows, steps = signature.extent(arrays[0].shape)
    if not rows or not steps:
        least = "row" if len(shape) == 1 or steps else "row of one step"
        return Malformed(f"{first} has the shape {shape}; send at least one {least}", first)
    beside = f"beside {first} {shape}"
    shapes = zip(wanted.specs, arrays, wanted.shapes(rows, steps), strict=True)
    spec, array, right = next(one for one in shapes if one[1].shape != one[2])
    if SPAN in spec.shape:
        beside += ", the steps of context and the model's horizon"
    message = f"{spec.name} has the shape {[*array.shape]}, expected {[*right]} {beside}"
    return Malformed(message, spec.name)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_short, names[:_SHOWN])) + more


def _short(name: str) -> str:
    text = repr(name)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
