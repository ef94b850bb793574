"""A fit learns, carries its state, clips its gradients, and repeats to the bit."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.training.language.texts import NETWORK, QUICK, corpus, network
from training.gru import Convention
from training.language.config import NetworkConfig
from training.language.corpus import InvalidText
from training.language.fit import Diverged, fit
from training.language.network import LanguageModel

SHAPES = [
    NETWORK,
    replace(NETWORK, convention=Convention.RESET_BEFORE),
    replace(NETWORK, embedding=8, layers=2, dropout=0.1),
]


@pytest.mark.parametrize("config", SHAPES, ids=range(len(SHAPES)))
def test_a_short_text_is_learnt_by_heart(config: NetworkConfig) -> None:
    text = corpus(most=150, held_out=0.0)
    model = network(text.vocabulary, replace(config, hidden=48))
    curve = fit(model, text, replace(QUICK, epochs=120))
    assert curve.training[0] > 10
    assert curve.training[-1] < 1.5
    assert len(curve.training) == 120
    assert curve.checks == curve.held_out == ()


def test_words_are_learnt_as_characters_are() -> None:
    text = corpus("word", held_out=0.0)
    curve = fit(
        network(text.vocabulary, replace(NETWORK, unit="word", embedding=8)),
        text,
        replace(QUICK, epochs=30),
    )
    assert curve.training[-1] < curve.training[0] / 4


def test_the_held_out_text_is_judged_along_the_way_and_at_the_end() -> None:
    text = corpus(most=200)
    curve = fit(network(text.vocabulary), text, replace(QUICK, epochs=103))
    assert curve.checks == (*range(2, 103, 2), 103)
    assert len(curve.held_out) == len(curve.checks)
    assert curve.held_out[0] > min(curve.held_out)


def test_without_epochs_a_fit_takes_the_steps_of_the_article() -> None:
    text = corpus(most=300, held_out=0.0)  # 10 batches of 4 rows x 8 steps
    curve = fit(network(text.vocabulary), text, replace(QUICK, epochs=None, steps_in_all=20))
    assert len(curve.training) == 2
    assert 20 <= curve.steps <= 22


class Recording(LanguageModel):
    """Remembers the states that training gave to it and got from it."""

    given: list[Tensor]
    got: list[Tensor]

    def unroll(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        logits, following = super().unroll(tokens, state)
        self.given.append(state)
        self.got.append(following)
        return logits, following


def test_the_state_is_carried_over_and_its_gradient_is_not() -> None:
    text = corpus(most=200, held_out=0.0)
    model = Recording(replace(NETWORK, vocabulary=text.vocabulary))
    model.given, model.got = [], []
    fit(model, text, replace(QUICK, epochs=1))
    assert len(model.given) > 3
    assert not model.given[0].any()
    for before, after in zip(model.got, model.given[1:], strict=False):
        assert before.requires_grad
        assert not after.requires_grad
        assert torch.equal(before, after)


def test_gradients_are_clipped_to_their_norm() -> None:
    text = corpus(most=200, held_out=0.0)
    norms = {}
    for limit in (0.01, 1e9):
        model = network(text.vocabulary)
        fit(model, text, replace(QUICK, gradient_norm=limit))
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        norms[limit] = math.hypot(*(gradient.norm() for gradient in gradients))
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)
    assert norms[1e9] > 0.1


def test_the_same_seed_gives_the_same_bits_and_leaves_other_random_numbers_alone() -> None:
    text = corpus(most=200, held_out=0.0)
    config = replace(NETWORK, dropout=0.2)

    def fitted(seed: int) -> list[Tensor]:
        model = network(text.vocabulary, config)
        before = torch.random.get_rng_state()
        fit(model, text, replace(QUICK, seed=seed))
        assert torch.equal(torch.random.get_rng_state(), before)
        return list(model.parameters())

    first, again, other = fitted(1), fitted(1), fitted(2)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_progress_is_told_after_every_epoch() -> None:
    text = corpus(most=200, held_out=0.0)
    told: list[tuple[float, float]] = []
    curve = fit(network(text.vocabulary), text, QUICK, lambda *now: told.append(now))
    assert [share for share, _ in told] == [0.5, 1.0]
    assert [math.exp(loss) for _, loss in told] == list(curve.training)


def test_a_fit_that_diverges_is_an_error() -> None:
    text = corpus(most=200, held_out=0.0)
    with pytest.raises(Diverged, match="the loss is .* after .* nothing is published"):
        fit(network(text.vocabulary), text, replace(QUICK, learning_rate=1e30))


def test_a_text_shorter_than_a_batch_is_refused_before_the_fit() -> None:
    text = corpus(most=39, held_out=0.0)
    with pytest.raises(InvalidText, match="39 tokens; a batch of 4 rows x 8 steps needs 40"):
        fit(network(text.vocabulary), text, QUICK)
