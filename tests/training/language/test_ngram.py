"""The n-grams against a dictionary of counts, written as the formula is printed."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.language.ngram import NGram

SIZE = 4
codes = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=40)


def by_the_formula(
    training: Sequence[int], order: int, context: Sequence[int], token: int
) -> float:
    """p(w | h) by recursion over shorter contexts, from counts in a dictionary."""
    followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for length in range(order):
        for at in range(length, len(training)):
            followers[tuple(training[at - length : at])][training[at]] += 1

    def probability(h: tuple[int, ...]) -> float:
        shorter = probability(h[1:]) if h else 1 / SIZE
        seen = followers[h]
        if not seen:
            return shorter
        return (seen[token] + len(seen) * shorter) / (seen.total() + len(seen))

    return probability(tuple(context))


@given(training=codes, text=codes, order=st.integers(1, 4))
def test_probabilities_follow_the_formula(training: list[int], text: list[int], order: int) -> None:
    found = NGram(np.array(training), SIZE, order).probabilities(np.array(text))
    expected = [
        by_the_formula(training, order, text[max(0, at - order + 1) : at], token)
        for at, token in enumerate(text)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(training=codes, text=codes, order=st.integers(1, 4))
def test_the_probabilities_of_all_tokens_are_one_together(
    training: list[int], text: list[int], order: int
) -> None:
    model = NGram(np.array(training), SIZE, order)
    last = [model.probabilities(np.array([*text, token]))[-1] for token in range(SIZE)]
    assert sum(last) == pytest.approx(1.0)


def test_a_unigram_of_a_fair_coin_wavers_between_two_tokens() -> None:
    coin = np.array([0, 1] * 500)
    assert NGram(coin, 2, 1).perplexity(coin) == pytest.approx(2.0, rel=1e-3)
    assert NGram(coin, 2, 2).perplexity(coin) == pytest.approx(1.0, abs=0.01)
