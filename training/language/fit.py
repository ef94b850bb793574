"""Find the weights: cross-entropy, truncated backpropagation through time, clipped gradients, Adam.

Each batch goes on where the one before it stopped: the state is carried over, its gradient is not.

The learning rate falls to zero along half a cosine: at a constant one, a text known to 1.03 was at
1.18 again in the last epoch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from training.devices import open_devices
from training.language import batches
from training.language.config import FitConfig
from training.language.corpus import Codes, Corpus
from training.language.evaluate import perplexity
from training.language.network import LanguageModel

CHECKS = 50  # of the held-out text, over the whole fit
WORST = 100.0  # nats per token; far beyond any vocabulary, and exp of it is still a number

Progress = Callable[[float, float], None]  # share of the epochs that are over, and the loss


class Diverged(RuntimeError):
    """The loss is no longer a number; nothing of such a fit may be published."""


@dataclass(frozen=True)
class Curve:
    """Perplexity over the epochs."""

    training: tuple[float, ...]  # of each epoch, while its weights changed
    checks: tuple[int, ...]  # epochs after which the held-out text was judged; none without one
    held_out: tuple[float, ...]  # at each check
    steps: int  # optimiser steps in all


def fit(
    network: LanguageModel,
    corpus: Corpus,
    config: FitConfig,
    progress: Progress = lambda _share, _loss: None,
) -> Curve:
    """Fit the network in place, from its present weights; those of the last epoch stay.

    Raises:
        InvalidText: less training text than one batch.
        Diverged: a loss that is not finite.
        DeviceUnavailable: see `devices.open_devices`.
    """
    torch.set_num_threads(1)  # sums stay in one order
    each = batches.count(len(corpus.training), config)
    epochs = config.epochs or math.ceil(config.steps_in_all / each)
    fabric = open_devices(config.device, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        fitter = _Fitter(fabric, network, corpus.training, config, epochs * each)
        training, checks, held_out = [], [], []
        for epoch in range(1, epochs + 1):
            training.append(math.exp(loss := fitter.epoch()))
            if len(corpus.held_out) and (epoch % max(1, epochs // CHECKS) == 0 or epoch == epochs):
                checks.append(epoch)
                held_out.append(perplexity(network, corpus.held_out))
            progress(epoch / epochs, loss)
    network.cpu()
    return Curve(tuple(training), tuple(checks), tuple(held_out), fitter.steps)


class _Fitter:
    """What an epoch needs, on the device of the fit."""

    def __init__(
        self,
        fabric: Fabric,
        network: LanguageModel,
        codes: Codes,
        config: FitConfig,
        planned: int,
    ) -> None:
        optimiser = torch.optim.Adam(network.parameters(), config.learning_rate)
        self.fabric, self.network, self.config = fabric, network, config
        self.wrapped, self.optimiser = fabric.setup(network, optimiser)
        self.wrapped.mark_forward_method("unroll")
        self.codes = torch.from_numpy(codes).to(fabric.device)
        self.steps, self.planned = 0, planned

    def epoch(self) -> float:
        """Once through the text; the mean loss of a token in nats."""
        self.network.train()
        state = self.network.start(self.config.rows)
        losses, tokens_seen = [], 0
        for tokens, following in batches.epoch(self.codes, self.config):
            logits, state = self.wrapped.unroll(tokens, state)
            loss = cross_entropy(logits.flatten(0, 1), following.flatten())
            self._descend(loss)
            state = state.detach()
            losses.append(loss.detach() * tokens.numel())
            tokens_seen += tokens.numel()
        mean = torch.stack(losses).sum().item() / tokens_seen
        if not mean < WORST:
            raise Diverged(f"the loss is {mean} after {self.steps} steps; nothing is published")
        return mean

    def _descend(self, loss: Tensor) -> None:
        share = min(1.0, self.steps / self.planned)  # an epoch may have a batch more than planned
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        clip_grad_norm_(self.network.parameters(), self.config.gradient_norm)
        self.optimiser.step()
        self.steps += 1
