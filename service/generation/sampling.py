"""Logits -> tokens, for many texts at once and for each as if it were alone.

Sums run along a row, one term after the other, and every element is computed by itself: a row gets
the same bits in every batch. Rows that choose among all tokens and rows that choose among some go
separate ways, because those of the second kind are sorted first, which would change the sums of the
others.

Shape letters: S rows, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.generation.inquiry import Manner

Logits = NDArray[np.float32]  # [S, V]
Codes = NDArray[np.int64]  # [S]
Numbers = NDArray[np.float64]

_Rows = slice | NDArray[np.int64]
_COLDEST = 1e-200  # nothing overflows, and what is not among the most likely has no weight


class Choice:
    """How each row of a batch chooses, prepared once for many steps."""

    def __init__(self, manners: Sequence[Manner], tokens: int) -> None:
        kinds = np.array([_kind(manner) for manner in manners], np.int64)
        self._greedy = _rows(kinds == 0)
        self._free = _rows(kinds == 1)
        self._bound = _rows(kinds == 2)
        temperatures = np.array([[max(m.temperature, _COLDEST)] for m in manners], np.float64)
        top_k = np.array([manner.top_k or tokens for manner in manners], np.int64)
        top_p = np.array([manner.top_p or 1.0 for manner in manners], np.float64)
        self._free_temperatures = temperatures[kinds == 1]  # [S, 1], as what follows [S]
        self._bound_temperatures = temperatures[kinds == 2]
        self._top_k, self._top_p = top_k[kinds == 2], top_p[kinds == 2]

    def choose(self, logits: Logits, draws: Sequence[float]) -> Codes:
        """A token for each row.

        Args:
            logits: [S, V], finite.
            draws: [S], numbers of [0, 1); a greedy row uses none.
        """
        codes = np.empty(len(logits), np.int64)
        numbers = np.array(draws, np.float64)
        if self._greedy is not None:
            codes[self._greedy] = logits[self._greedy].argmax(axis=1)
        if self._free is not None:
            weights = _weights(logits[self._free], self._free_temperatures)
            codes[self._free] = _pick(weights.cumsum(axis=1), numbers[self._free])
        if self._bound is not None:
            codes[self._bound] = self._choose_among_few(logits[self._bound], numbers[self._bound])
        return codes

    def _choose_among_few(self, logits: Logits, draws: Numbers) -> Codes:
        """First top_k, and top_p of what that leaves; of equals, the first in the vocabulary."""
        rows = np.arange(len(logits))
        order = np.argsort(-logits, axis=1, kind="stable")
        ordered = np.take_along_axis(logits, order, axis=1)
        sums = _weights(ordered, self._bound_temperatures).cumsum(axis=1)
        enough = self._top_p * sums[rows, self._top_k - 1]
        fewest = 1 + (sums[:, :-1] < enough[:, np.newaxis]).sum(axis=1)
        last = np.minimum(fewest, self._top_k) - 1
        sums = np.minimum(sums, sums[rows, last][:, np.newaxis])
        return order[rows, _pick(sums, draws)]


def _kind(manner: Manner) -> int:
    if not manner.temperature:
        return 0
    return 1 if manner.top_k is None and manner.top_p is None else 2


def _rows(wanted: NDArray[np.bool_]) -> _Rows | None:
    """Their places; all as a slice, which copies nothing; None where there are none."""
    if wanted.all():
        return slice(None)
    return np.flatnonzero(wanted) if wanted.any() else None


def _weights(logits: Logits, temperatures: Numbers) -> Numbers:
    """[S, V], in proportion to the probabilities; the largest of each row is 1."""
    scaled: NDArray[Any] = logits.astype(np.float64)
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled /= temperatures
    weights: Numbers = np.exp(scaled, out=scaled)
    return weights


def _pick(sums: Numbers, draws: Numbers) -> Codes:
    """The first place whose sum [S, V] exceeds the draw's share of the whole."""
    found: Codes = (sums <= draws[:, np.newaxis] * sums[:, -1:]).sum(axis=1)
    return found
