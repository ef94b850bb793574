"""Promise 2 for a step of a language model: the same bits alone and at any place of any batch."""

import numpy as np
import pytest

from service.contract.language import LanguageSignature
from tests.artifacts import babble
from tests.service.generation.models import opened

SHAPES = [
    babble.signature(hidden=256),
    babble.signature(layers=3, hidden=7),
    babble.signature(babble.WORDS, layers=2, hidden=64),
]
MOST = 33  # rows


@pytest.mark.parametrize("signature", SHAPES, ids=range(len(SHAPES)))
def test_a_step_gives_the_same_bits_alone_and_at_every_place(signature: LanguageSignature) -> None:
    runtime, random = opened(signature).runtime, np.random.default_rng(0)
    tokens = random.integers(0, len(signature.vocabulary), MOST)
    states = random.uniform(-1, 1, (MOST, signature.layers, signature.hidden)).astype(np.float32)
    alone = np.concatenate(
        [runtime.run(tokens[at : at + 1], states[at : at + 1]) for at in range(MOST)]
    )
    for count in range(1, MOST + 1):
        for first in range(MOST + 1 - count):
            part = slice(first, first + count)
            assert np.array_equal(runtime.run(tokens[part], states[part]), alone[part])


@pytest.mark.parametrize("signature", SHAPES, ids=range(len(SHAPES)))
def test_a_step_is_the_float64_reference(signature: LanguageSignature) -> None:
    model, random = opened(signature), np.random.default_rng(3)
    tokens = random.integers(0, len(signature.vocabulary), 9)
    states = random.uniform(-1, 1, (9, signature.layers, signature.hidden)).astype(np.float32)
    found = signature.split(model.runtime.run(tokens, states))
    logits, after = babble.reference(babble.Weights.random(signature), tokens, states)
    np.testing.assert_allclose(found["logits"], logits, atol=2e-5)
    np.testing.assert_allclose(found["next_state"], after, atol=2e-6)
