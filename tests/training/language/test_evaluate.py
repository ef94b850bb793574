"""Perplexity by hand, and what a table and a verdict say."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from service.contract.language import Perplexity
from tests.training.language.texts import corpus, network
from training.language import evaluate
from training.language.evaluate import BASELINES, MODEL, Judged, judge, perplexity
from training.language.ngram import NGram


def judged(ours: Perplexity, theirs: Perplexity, tokens: int) -> Judged:
    """Baselines that are alike."""
    return Judged({MODEL: ours, **dict.fromkeys(BASELINES, theirs)}, tokens)


def test_perplexity_is_that_of_one_step_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    text = corpus()
    model = network(text.vocabulary).train()
    monkeypatch.setattr(evaluate, "_STRETCH", 50)  # several, so that the state must be carried
    codes = text.held_out[:173]
    nats, state = [], model.start(1)
    with torch.no_grad():
        for token, following in pairwise(codes):
            logits, state = model(torch.tensor([token]), state)
            p = np.exp(logits[0].double().numpy())
            nats.append(-math.log(p[following] / p.sum()))
    assert perplexity(model, codes) == pytest.approx(math.exp(np.mean(nats)), rel=1e-6)


def test_an_untrained_network_wavers_between_all_tokens() -> None:
    text = corpus()
    model = network(text.vocabulary)
    torch.nn.init.zeros_(model.out.weight)
    torch.nn.init.zeros_(model.out.bias)
    size = len(text.vocabulary)
    assert perplexity(model, text.training) == pytest.approx(size)


def test_both_parts_are_judged_and_the_baselines_know_the_training_text_alone() -> None:
    text = corpus()
    model = network(text.vocabulary)
    found = judge(model, text)
    assert found.held_out_tokens == len(text.held_out)
    assert found.perplexity[MODEL].held_out == perplexity(model, text.held_out)
    bigram = NGram(text.training, len(text.vocabulary), 2)
    assert found.perplexity["bigram"].training == bigram.perplexity(text.training)
    assert found.perplexity["bigram"].held_out == bigram.perplexity(text.held_out)
    assert not found.beats_baselines


def test_without_held_out_text_the_training_text_decides_and_the_verdict_says_so() -> None:
    found = judge(network(corpus(held_out=0.0).vocabulary), corpus(held_out=0.0))
    assert found.perplexity[MODEL].held_out is None
    assert found.best_baseline == "5-gram"
    assert "on the training text, for nothing was held out" in found.verdict()
    assert found.table().splitlines()[1].split()[::2] == [MODEL, "-"]


def test_knowing_the_training_text_by_heart_beats_no_baseline() -> None:
    learnt = judged(
        Perplexity(training=1.05, held_out=30.0), Perplexity(training=9.0, held_out=10.0), 500
    )
    assert learnt.verdict() == (
        "The GRU does NOT beat the best baseline, unigram, on 500 held-out tokens: "
        "perplexity 30.00 against 10.00."
    )
    better = judged(
        Perplexity(training=7.0, held_out=8.0), Perplexity(training=1.0, held_out=10.0), 500
    )
    assert better.verdict().startswith("The GRU beats the best baseline, unigram, on 500 held-out")
