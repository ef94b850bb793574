"""The bar: n-grams with Witten-Bell smoothing, counted in the training text.

With c(h) how often a context h was seen and t(h) how many different tokens followed it, the
probability of a token w after it is

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h))

where h' is h without its oldest token, and all tokens are equally likely where no context is left
(Witten and Bell 1991). What was never seen falls back on the shorter context.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.language.corpus import Codes


@dataclass(frozen=True)
class _Level:
    """Contexts of one length; contexts and continued contexts are known by number."""

    keys: Codes  # context * V + token of all that was seen, sorted: the next level's contexts
    counts: NDArray[np.int64]  # of each key
    totals: NDArray[np.int64]  # c(h) of each context
    types: NDArray[np.int64]  # t(h) of each context

    def find(self, keys: Codes) -> Codes:
        """The numbers of keys, -1 where one was never seen."""
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


class NGram:
    """Probabilities of a token after up to `order` - 1 others."""

    def __init__(self, codes: Codes, size: int, order: int) -> None:
        """Count in the codes of a text, of a vocabulary of `size` tokens."""
        self._size = size
        self._levels: list[_Level] = []
        contexts, known = np.zeros_like(codes), 1
        for _ in range(min(order, len(codes))):  # beyond its length, a text has no contexts
            keys, counts = np.unique((contexts * size + codes)[contexts >= 0], return_counts=True)
            owners = keys // size
            totals = np.bincount(owners, counts, known).astype(np.int64)
            level = _Level(keys, counts, totals, np.bincount(owners, minlength=known))
            self._levels.append(level)
            contexts, known = self._lengthen(level, contexts, codes), len(keys)

    def probabilities(self, codes: Codes) -> NDArray[np.float64]:
        """Of each token of a text after those before it."""
        found = np.full(len(codes), 1 / self._size)
        contexts = np.zeros_like(codes)
        for level in self._levels:
            places = level.find(contexts * self._size + codes)
            counts = np.where(places >= 0, level.counts[places], 0)
            types = np.where(contexts >= 0, level.types[contexts], 0)
            seen = types > 0
            smoothed = (counts + types * found) / np.where(seen, level.totals[contexts] + types, 1)
            found = np.where(seen, smoothed, found)
            contexts = self._lengthen(level, contexts, codes)
        return found

    def perplexity(self, codes: Codes) -> float:
        """Of all tokens but the first."""
        return math.exp(-np.log(self.probabilities(codes)[1:]).mean())

    def _lengthen(self, level: _Level, contexts: Codes, codes: Codes) -> Codes:
        """The contexts with the token after each, at the place of the next token."""
        places = level.find(contexts * self._size + codes)
        return np.concatenate([[-1], places[:-1]])
