"""How a series is placed into the input tensors: the one implementation that both halves use.

Rows are right-padded to a bucket that depends on the row's own length alone. Were it taken from the
longest row of a batch, the masked sums would run over another number of elements for another
neighbour, and a series would get other bits in another batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_VALUE = 1e36  # leaves float32 room for a forecast a hundred times larger


@dataclass(frozen=True)
class Block:
    """Rows of one bucket, ready for the runtime."""

    rows: NDArray[np.int64]  # [B] their positions among the series that were placed
    context: NDArray[np.float32]  # [B, T] NaN = missing, right-padded with NaN
    lengths: NDArray[np.int64]  # [B]


def bucket(length: int, context_length: int) -> int:
    """The padded length of a row: 8, 12, 16, 24, 32, 48, ... and at most context_length.

    At most one third of a row of more than 8 steps is padding.
    """
    size = 8
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return min(size, context_length)


def place(series: Sequence[NDArray[np.floating]], context_length: int) -> list[Block]:
    """The newest `context_length` steps of each series, grouped by bucket.

    Args:
        series: one array of at least one step each, NaN = missing.
        context_length: steps, of the model.
    """
    groups: dict[int, list[int]] = {}
    for row, values in enumerate(series):
        groups.setdefault(bucket(len(values), context_length), []).append(row)
    return [_block(series, rows, padded) for padded, rows in groups.items()]


def _block(series: Sequence[NDArray[np.floating]], rows: list[int], padded: int) -> Block:
    context = np.full((len(rows), padded), np.nan, np.float32)
    lengths = np.empty(len(rows), np.int64)
    for at, row in enumerate(rows):
        newest = series[row][-padded:]
        context[at, : len(newest)] = newest
        lengths[at] = len(newest)
    return Block(np.array(rows, np.int64), context, lengths)
