"""Batches hold stretches of the text that go on from batch to batch."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.language import batches
from training.language.config import FitConfig
from training.language.corpus import InvalidText


@given(
    rows=st.integers(1, 5),
    steps=st.integers(1, 7),
    spare=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_every_row_goes_on_where_it_stopped(rows: int, steps: int, spare: int, seed: int) -> None:
    config = FitConfig(rows=rows, steps=steps)
    text = torch.arange(rows * steps + steps + spare)  # a token is its own place
    torch.manual_seed(seed)
    found = list(batches.epoch(text, config))
    least = batches.count(len(text), config)
    assert least <= len(found) <= least + 1
    for tokens, following in found:
        assert tokens.shape == following.shape
        assert tokens.shape[0] == rows
        assert torch.equal(following, tokens + 1)
    assert all(tokens.shape[1] == steps for tokens, _ in found[:-1])
    for (before, _), (after, _) in pairwise(found):
        assert torch.equal(after[:, 0], before[:, -1] + 1)
    seen = torch.cat([tokens for tokens, _ in found], 1)
    first = int(seen[0, 0])
    assert 0 <= first < steps
    assert torch.equal(seen.flatten(), torch.arange(first, first + seen.numel()))
    assert len(text) - 1 - rows < first + seen.numel() < len(text)


def test_the_first_place_is_drawn_anew_each_epoch() -> None:
    config = FitConfig(rows=2, steps=8)
    torch.manual_seed(0)
    firsts = {int(next(batches.epoch(torch.arange(100), config))[0][0, 0]) for _ in range(200)}
    assert firsts == set(range(8))


def test_a_text_shorter_than_one_batch_is_refused() -> None:
    config = FitConfig()
    assert batches.count(32 * 35 + 35, config) == 1
    with pytest.raises(InvalidText, match="1154 tokens; a batch of 32 rows x 35 steps needs 1155"):
        batches.count(32 * 35 + 34, config)
    with pytest.raises(InvalidText, match="needs 10"):
        batches.count(9, replace(config, rows=1, steps=5))
