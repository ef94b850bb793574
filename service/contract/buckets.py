"""How long the row of a series is made: it depends on the series' own length alone.

Were it taken from the longest row of a batch, the masked sums would run over another number of
elements for another neighbour, and a series would get other bits in another batch.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PACKET = 4  # floats that are added at once


@lru_cache(maxsize=4096)
def bucket(length: int, context_length: int) -> int:
    """The padded length of a row: 8, 12, 16, 24, 32, 48, ... and at most what context_length needs.

    At most one third of a row of more than 8 steps is padding. Always whole packets of four: ONNX
    Runtime adds up the steps of a row in packets that begin where memory is aligned, so a row of
    27 would be rounded in another order at another place of a batch.
    """
    size = 8
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return min(size, -(-context_length // PACKET) * PACKET)


@lru_cache(maxsize=256)
def buckets(context_length: int) -> NDArray[np.int64]:
    """The bucket of every length, 0..context_length."""
    return np.array([bucket(n, context_length) for n in range(context_length + 1)])
