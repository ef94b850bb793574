"""How well a text is foretold: perplexity of the model and of n-grams, on both parts of a corpus.

Shape letters: V tokens of the vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from service.contract.language import Perplexity
from training.language.corpus import Codes, Corpus
from training.language.network import LanguageModel
from training.language.ngram import NGram

MODEL = "GRU"
BASELINES = {"unigram": 1, "bigram": 2, "5-gram": 5}  # tokens of each
_STRETCH = 512  # steps at once; bounds the memory that a long text takes


@dataclass(frozen=True)
class Judged:
    """The model, then the baselines, which know the training text alone."""

    perplexity: dict[str, Perplexity]  # by name
    held_out_tokens: int

    @property
    def best_baseline(self) -> str:
        """The lowest on the held-out text; without one, on the training text."""
        return min(BASELINES, key=self._decisive)

    @property
    def beats_baselines(self) -> bool:
        """Whether the model is below all of them."""
        return self._decisive(MODEL) < self._decisive(self.best_baseline)

    def table(self) -> str:
        """All perplexities as aligned text."""
        lines = [f"{'perplexity':<12}{'training':>10}{'held out':>10}"]
        for name, found in self.perplexity.items():
            held_out = "-" if found.held_out is None else f"{found.held_out:.3f}"
            lines.append(f"{name:<12}{found.training:>10.3f}{held_out:>10}")
        return "\n".join(lines)

    def verdict(self) -> str:
        """One plain sentence: is the GRU worth its trouble?"""
        beats = "beats" if self.beats_baselines else "does NOT beat"
        best = self.best_baseline
        text = f"{self.held_out_tokens} held-out tokens"
        if not self.held_out_tokens:
            text = "the training text, for nothing was held out"
        return (
            f"The {MODEL} {beats} the best baseline, {best}, on {text}: "
            f"perplexity {self._decisive(MODEL):.2f} against {self._decisive(best):.2f}."
        )

    def _decisive(self, name: str) -> float:
        found = self.perplexity[name]
        return found.training if found.held_out is None else found.held_out


def judge(network: LanguageModel, corpus: Corpus) -> Judged:
    """Every token of a part but its first, foretold from all before it in that part."""
    size = len(corpus.vocabulary)
    found = {MODEL: _both(lambda codes: perplexity(network, codes), corpus)}
    for name, order in BASELINES.items():
        found[name] = _both(NGram(corpus.training, size, order).perplexity, corpus)
    return Judged(found, len(corpus.held_out))


def perplexity(network: LanguageModel, codes: Codes) -> float:
    """exp of the mean cross-entropy in nats, the state carried from the first token to the last."""
    network.eval()
    device = network.out.weight.device
    state, total = network.start(1), 0.0
    with torch.no_grad():
        for start in range(0, len(codes) - 1, _STRETCH):
            some = torch.from_numpy(codes[start : start + _STRETCH + 1]).to(device)
            logits, state = network.unroll(some[None, :-1], state)
            total += cross_entropy(logits[0].double(), some[1:], reduction="sum").item()
    return math.exp(total / (len(codes) - 1))


def _both(measure: Callable[[Codes], float], corpus: Corpus) -> Perplexity:
    held_out = measure(corpus.held_out) if len(corpus.held_out) else None
    return Perplexity(training=measure(corpus.training), held_out=held_out)
