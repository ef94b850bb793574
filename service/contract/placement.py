"""How a series is placed into the input tensors: the one implementation that both halves use.

The horizon's steps follow right behind the row's context and not behind its padding, so a tensor
that spans both is one line of time.

Shape letters: B rows, T padded steps, n steps of a row, H horizon steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contract.buckets import bucket
from service.contract.forecast import CATEGORIES, KNOWN, PAST, STATIC, TIMESTAMPS, ForecastSignature
from service.contract.metadata import Array, Block, Inputs, TensorSpec

LARGEST_VALUE = 1e36  # leaves float32 room for a forecast a hundred times larger

_FIELDS = {  # of a history, by tensor
    TIMESTAMPS: "timestamps",
    PAST: "past",
    KNOWN: "known",
    STATIC: "static",
    CATEGORIES: "categories",
}


@dataclass(slots=True)  # frozen would take four times as long to make
class History:
    """All that is known of one series at its forecast origin; NaN = missing.

    What the signature does not declare is not looked at.
    """

    target: NDArray[np.floating]  # [n], at least one step
    timestamps: NDArray[np.int64] | None = None  # [n + H] seconds since 1970-01-01
    past: NDArray[np.floating] | None = None  # [n, P]
    known: NDArray[np.floating] | None = None  # [n + H, K]
    static: NDArray[np.floating] | None = None  # [S]
    categories: NDArray[np.int64] | None = None  # [C] codes, 0 = unknown or missing


def place(histories: Sequence[History], signature: ForecastSignature) -> list[Block]:
    """The newest `context_length` steps of each series, grouped by bucket.

    Raises:
        ValueError: see `stack`.
    """
    groups: dict[int, list[int]] = {}
    for row, history in enumerate(histories):
        padded = bucket(len(history.target), signature.context_length)
        groups.setdefault(padded, []).append(row)
    if len(groups) == 1:
        return [Block(np.arange(len(histories)), stack(histories, signature, padded))]
    return [
        Block(np.array(rows, np.int64), stack([histories[row] for row in rows], signature, padded))
        for padded, rows in groups.items()
    ]


def stack(histories: Sequence[History], signature: ForecastSignature, padded: int) -> Inputs:
    """The newest steps of each series as rows of `padded` steps, in the signature's tensors.

    Raises:
        ValueError: see `write`.
    """
    sizes = signature.sizes(len(histories), padded)
    memory = tuple(np.empty(spec.fixed(sizes), spec.dtype) for spec in signature.inputs)
    write(histories, memory, 0, signature)
    return memory


def write(
    histories: Sequence[History], memory: Inputs, first: int, signature: ForecastSignature
) -> None:
    """Write series as the rows first.. of a batch, whatever these held before.

    Raises:
        ValueError: a history lacks what the signature declares, or has another shape of it.
    """
    context, lengths, *others = memory
    width = context.shape[1]
    most = min(width, signature.context_length)
    for at, history in enumerate(histories, first):
        target = history.target
        steps = len(target)
        if steps > most:
            target, steps = target[-most:], most
        row = context[at]
        row[:steps] = target
        if steps < width:
            row[steps:] = np.nan
        lengths[at] = steps
    if others:
        for spec, rows in zip(signature.inputs[2:], others, strict=True):
            _write_beside(histories, spec, rows[first : first + len(histories)], signature, most)


def _write_beside(
    histories: Sequence[History],
    spec: TensorSpec,
    rows: Array,
    signature: ForecastSignature,
    steps: int,
) -> None:
    """The rows of one tensor of what is known beside the target; at most `steps` of context."""
    rows[:] = np.nan if spec.dtype == "float32" else 0
    most = spec.fixed(signature.sizes(1, steps))[1]
    field = _FIELDS[spec.name]
    for at, history in enumerate(histories):
        values: Array | None = getattr(history, field)
        _, *expected = spec.fixed(signature.sizes(1, len(history.target)))
        if values is None or [*values.shape] != expected:
            came = None if values is None else [*values.shape]
            raise ValueError(f"{field} of history {at} has the shape {came}, expected {expected}")
        kept = min(len(values), most)
        rows[at, :kept] = values[-kept:]
