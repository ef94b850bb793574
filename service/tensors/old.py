"""The named tensors of a request -> rows for the engine, once for every dialect of tensors.

A caller who speaks in tensors fills them as the graph wants them, so what the other dialects get
right by construction is checked here: names, dtypes and shapes; then `tensor_checks` looks at the
values. Rows of a model that wants the target alone stay in their arrays all the way to a batch.

Shape letters: B rows, b rows of one bucket, T steps, n valid steps of a row, H horizon steps.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contract.metadata import (
    CATEGORIES,
    CONTEXT,
    KNOWN,
    PAST,
    SPAN,
    STATIC,
    TIMESTAMPS,
    ForecastSignature,
)
from service.contract.placement import Block, History, Inputs, bucket, place
from service.errors import Malformed
from service.tensor_checks import Newest, agree_beside, agree_lengths, agree_targets

Array = NDArray[Any]
Tensors = Mapping[str, Array]

_SHOWN = 5  # names in one message
_LONGEST = 40  # characters of a name in one message


class TensorRows:
    """Rows of one bucket; their tensors are copied when a batch takes them."""

    __slots__ = ("_inputs", "places", "shape")

    def __init__(self, block: Block) -> None:
        self._inputs = block.inputs
        self.places = block.rows  # [b] among the rows of the request
        self.shape = block.inputs[0].shape[1]

    def __len__(self) -> int:
        return len(self.places)

    def write(self, start: int, stop: int, memory: Inputs, at: int) -> None:
        """Write some of them as the rows at.. of a batch."""
        for mine, theirs in zip(self._inputs, memory, strict=True):
            theirs[at : at + stop - start] = mine[start:stop]


def tensor_rows(
    tensors: Tensors,
    signature: ForecastSignature,
    check_rows: Callable[[int], None] = lambda _: None,
) -> list[TensorRows]:
    """The newest `context_length` steps of each row, without their padding, by bucket.

    Args:
        tensors: exactly `signature.inputs`; NaN = missing. The horizon's steps of a row follow
            right behind its own n steps.
        check_rows: called with B before any row is looked at; whatever it raises is raised.

    Raises:
        Malformed: another tensor, dtype or shape than the signature's, no row, no step, or a length
            outside 1..T; the field is the tensor.
        Unservable: a row that this model cannot answer; the message names the tensor and the row.
    """
    newest, arrays = _agreed(tensors, signature, check_rows)
    if len(arrays) == 2:
        blocks = _blocks(newest, arrays[0], signature.context_length)
    else:
        blocks = place(_dressed(newest, arrays, signature), signature)
    return [TensorRows(block) for block in blocks]


def _agreed(
    tensors: Tensors, signature: ForecastSignature, check_rows: Callable[[int], None]
) -> tuple[Newest, list[Array]]:
    """What the model sees of each row, and the tensors in the signature's order."""
    wanted = _wanted(signature)
    arrays = _agree_form(tensors, wanted)
    context, lengths = arrays[0], arrays[1].tolist()
    check_rows(len(lengths))
    newest = agree_lengths(lengths, context.shape[1], signature)
    agree_targets(newest, context)
    if len(arrays) > 2:
        agree_beside(newest, _beside(arrays, signature), signature)
    return newest, arrays


def _beside(arrays: Sequence[Array], signature: ForecastSignature) -> dict[str, Array]:
    """The tensors beside the target and its lengths, by name."""
    return dict(zip(_wanted(signature).names[2:], arrays[2:], strict=True))


class _Wanted:
    """The tensors of a signature, in its order."""

    def __init__(self, signature: ForecastSignature) -> None:
        self.specs = signature.inputs
        self.names = tuple(spec.name for spec in self.specs)
        self.dtypes = tuple(np.dtype(spec.dtype) for spec in self.specs)
        self.shapes = lru_cache(maxsize=4096)(self._shapes)
        self._sizes = signature.sizes

    def _shapes(self, rows: int, steps: int) -> list[tuple[int, ...]]:
        sizes = self._sizes(rows, steps)
        return [spec.fixed(sizes) for spec in self.specs]


_wanted = lru_cache(maxsize=256)(_Wanted)  # models are few


def _agree_form(tensors: Tensors, wanted: _Wanted) -> list[Array]:
    """The tensors in the signature's order: they are the right ones, in dtype and in shape."""
    arrays = [tensors[name] for name in wanted.names if name in tensors]
    if len(arrays) != len(wanted.names) or len(arrays) != len(tensors):
        raise _wrong_names(tensors, wanted)
    for spec, dtype, array in zip(wanted.specs, wanted.dtypes, arrays, strict=True):
        if array.dtype != dtype:
            raise Malformed(f"{spec.name} is {array.dtype}, expected {spec}", spec.name)
    shapes = [array.shape for array in arrays]
    rows, steps = shapes[0] if len(shapes[0]) == 2 else (0, 0)
    if not rows or not steps or shapes != wanted.shapes(rows, steps):
        raise _wrong_shape(arrays, wanted)
    return arrays


def _wrong_names(tensors: Tensors, wanted: _Wanted) -> Malformed:
    takes = ", ".join(map(str, wanted.specs))
    if unknown := [name for name in tensors if name not in wanted.names]:
        message = f"unexpected tensor {_listed(unknown)}; this model takes {takes}"
        return Malformed(message, unknown[0])
    missing = [name for name in wanted.names if name not in tensors]
    return Malformed(f"tensor {_listed(missing)} is missing; this model takes {takes}", missing[0])


def _wrong_shape(arrays: Sequence[Array], wanted: _Wanted) -> Malformed:
    """The first tensor whose shape cannot be."""
    for spec, array in zip(wanted.specs, arrays, strict=True):
        if array.ndim != len(spec.shape):
            message = f"{spec.name} has the shape {[*array.shape]}, expected {spec}"
            return Malformed(message, spec.name)
    rows, steps = arrays[0].shape
    if not rows or not steps:
        message = f"{CONTEXT} has the shape [{rows}, {steps}]; send at least one row of one step"
        return Malformed(message, CONTEXT)
    shapes = zip(wanted.specs, arrays, wanted.shapes(rows, steps), strict=True)
    spec, array, shape = next(one for one in shapes if one[1].shape != one[2])
    beside = f"beside {CONTEXT} [{rows}, {steps}]"
    if SPAN in spec.shape:
        beside += ", the steps of context and the model's horizon"
    message = f"{spec.name} has the shape {[*array.shape]}, expected {[*shape]} {beside}"
    return Malformed(message, spec.name)


def _blocks(newest: Newest, context: Array, context_length: int) -> list[Block]:
    """Rows of the target alone, without a step of Python for each of them."""
    if newest.alike:
        return [_block(newest, context, context_length)]
    kept, last = np.array(newest.kept), context.shape[1] - 1
    firsts = np.array(newest.lengths) - kept
    buckets = _buckets(context_length)[kept]
    blocks = []
    for padded in np.unique(buckets).tolist():
        at = np.flatnonzero(buckets == padded)
        steps = np.arange(padded)
        columns = np.minimum(firsts[at, np.newaxis] + steps, last)
        values = context[at[:, np.newaxis], columns]
        values[steps >= kept[at, np.newaxis]] = np.nan
        blocks.append(Block(at, (values, kept[at])))
    return blocks


def _block(newest: Newest, context: Array, context_length: int) -> Block:
    """Rows of one length; where that is a bucket's own, no value is copied."""
    values, rows, kept = newest.of(context), len(context), newest.kept[0]
    padded = bucket(kept, context_length)
    if kept < padded:
        values, seen = np.full((rows, padded), np.nan, np.float32), values
        values[:, :kept] = seen
    return Block(np.arange(rows), (values, np.full(rows, kept)))


@lru_cache(maxsize=256)
def _buckets(context_length: int) -> NDArray[np.int64]:
    """The bucket of every length, 0..context_length."""
    return np.array([bucket(n, context_length) for n in range(context_length + 1)])


def _dressed(
    newest: Newest, arrays: Sequence[Array], signature: ForecastSignature
) -> list[History]:
    """The histories of a model that wants more than the target."""
    context, beside = arrays[0], _beside(arrays, signature)
    past, known = beside.get(PAST), beside.get(KNOWN)
    moments, static, codes = beside.get(TIMESTAMPS), beside.get(STATIC), beside.get(CATEGORIES)
    found = []
    for row, (n, kept) in enumerate(zip(newest.lengths, newest.kept, strict=True)):
        steps, span = slice(n - kept, n), slice(n - kept, n + signature.horizon)
        found.append(
            History(
                target=context[row, steps],
                timestamps=None if moments is None else moments[row, span],
                past=None if past is None else past[row, steps],
                known=None if known is None else known[row, span],
                static=None if static is None else static[row],
                categories=None if codes is None else codes[row],
            )
        )
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_short, names[:_SHOWN])) + more


def _short(name: str) -> str:
    text = repr(name)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
