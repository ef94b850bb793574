"""Find the weights: pinball loss in units of each series' scale, AdamW, cosine, early stopping.

What is kept is the moving average of the weights at the best validation, or at the end of the
schedule where there is no validation. Every random number comes from one seed and the whole state
is saved at every check, so an interrupted fit continues to the same bits as an uninterrupted one.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.config import FitConfig
from training.network import GRUForecaster
from training.windows import Batch, Windows

# Share of a series' magnitude: one that hardly moved before must not shout down all others when it
# does move.
SMALLEST_UNIT = 1e-2


class Diverged(RuntimeError):
    """The loss is no longer a number; nothing of such a fit may be published."""


class CannotResume(RuntimeError):
    """There is no checkpoint, or it belongs to another training."""


@dataclass(frozen=True)
class LossCurve:
    """Pinball loss on scaled values at every check."""

    steps: tuple[int, ...]
    training: tuple[float, ...]  # mean over the steps since the last check
    validation: tuple[float, ...]  # empty without a validation window
    best_step: int  # the step whose averaged weights were kept


@dataclass
class _State:
    """Where a fit stands; all of it goes into a checkpoint."""

    step: int = 0
    seconds: float = 0.0  # spent so far, over all resumptions
    best_step: int = 0
    best_share: float = 0.0  # of the schedule, when the best was found
    finished: bool = False
    best_loss: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def pinball_loss(quantiles: Tensor, target: Tensor, unit: Tensor, levels: Tensor) -> Tensor:
    """Mean of 2 * max(q * d, (q - 1) * d) with d = (target - quantile) / unit, missing left out.

    Args:
        quantiles: [B, H, Q]; target: [B, H], NaN = missing; unit: [B, 1]; levels: [Q].
    """
    observed = ~torch.isnan(target)
    error = (torch.where(observed, target, 0.0).unsqueeze(-1) - quantiles) / unit.unsqueeze(-1)
    loss = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1)  # [B, H]
    return torch.where(observed, loss, 0.0).sum() / observed.sum().clamp(min=1)


def fit(
    network: GRUForecaster,
    training: Windows,
    validation: Windows | None,
    config: FitConfig,
    *,
    checkpoint: Path,
    identity: str,
    resume: bool = False,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
) -> LossCurve:
    """Fit the network in place, from its present weights; the best ones are in it afterwards.

    Args:
        checkpoint: file that holds the state, also of a finished fit; the caller removes it.
        identity: what is trained on what; a checkpoint of another identity is refused.
        resume: continue from the checkpoint.
        progress: called after every step with the share of the schedule that is over, and the loss.

    Raises:
        Diverged: a loss that is not finite.
        CannotResume: `resume` without a fitting checkpoint.
    """
    optimiser = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        state = _State(average=_weights(network))
        if resume:
            state = _load(checkpoint, identity, network, optimiser)
        held_out = validation.all() if validation else None
        recent: list[float] = []
        origin = time.monotonic() - state.seconds
        while not state.finished:
            recent.append(loss := _step(network, training, optimiser, state, config))
            state.seconds = time.monotonic() - origin
            share = _share(state, config)
            if state.step % config.check_every == 0 or share >= 1:
                _check(network, held_out, state, sum(recent) / len(recent), share)
                recent.clear()
                state.finished = share >= 1 or share >= state.best_share + config.patience
                _save(checkpoint, identity, network, optimiser, state)
            progress(share, loss)
    network.load_state_dict(state.best)
    steps, losses, validations = zip(*state.curve, strict=True)
    return LossCurve(steps, losses, validations if validation else (), state.best_step)


def _share(state: _State, config: FitConfig) -> float:
    """How much of the schedule is over: by steps, or by time where that is nearer to its end."""
    by_time = state.seconds / config.budget_s if config.budget_s else 0.0
    return max(state.step / config.steps, by_time)


def _step(
    network: GRUForecaster,
    windows: Windows,
    optimiser: torch.optim.Optimizer,
    state: _State,
    config: FitConfig,
) -> float:
    """One optimiser step on a random batch; the loss before it."""
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * _schedule(_share(state, config), config.warm_up)
    batch = windows.gather(torch.randint(len(windows), (config.batch_size,)))
    network.train()
    loss = _loss(network, batch)
    if not torch.isfinite(loss):
        raise Diverged(
            f"the loss is {loss.item()} at step {state.step + 1}; nothing is published. Look for "
            "extreme values in the target"
        )
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
    optimiser.step()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            state.average[name].lerp_(weight, 1 - config.average)
    state.step += 1
    return loss.item()


def _schedule(share: float, warm_up: float) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to zero."""
    if share < warm_up:
        return share / warm_up
    return 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))


def _loss(network: GRUForecaster, batch: Batch) -> Tensor:
    scaled = network.rescale(batch.context, batch.lengths)
    silent = scaled.magnitude == 0  # forecast as zero whatever the weights are
    unit = scaled.scale.clamp(min=SMALLEST_UNIT) * torch.where(silent, 1.0, scaled.magnitude)
    target = torch.where(silent, torch.nan, batch.target)
    levels = torch.tensor(network.config.quantile_levels)
    return pinball_loss(network(batch.context, batch.lengths), target, unit, levels)


def _check(
    network: GRUForecaster,
    held_out: Batch | None,
    state: _State,
    training_loss: float,
    share: float,
) -> None:
    """Judge the averaged weights on the validation window and remember the best."""
    if held_out is None:
        loss = -float(state.step)  # no judge: the newest is the best
    else:
        own = _weights(network)
        network.load_state_dict(state.average)
        network.eval()
        with torch.no_grad():
            loss = _loss(network, held_out).item()
        network.load_state_dict(own)
    state.curve.append((state.step, training_loss, loss))
    if loss < state.best_loss:
        state.best_loss, state.best_step, state.best_share = loss, state.step, share
        state.best = {name: weight.clone() for name, weight in state.average.items()}


def _weights(network: GRUForecaster) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.state_dict().items()}


def _save(
    path: Path,
    identity: str,
    network: GRUForecaster,
    optimiser: torch.optim.Optimizer,
    state: _State,
) -> None:
    """Write to a neighbour and rename: a kill in the middle leaves the previous checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "identity": identity,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "state": asdict(state),
    }
    unfinished = path.with_suffix(".unfinished")
    torch.save(content, unfinished)
    os.replace(unfinished, path)


def _load(
    path: Path, identity: str, network: GRUForecaster, optimiser: torch.optim.Optimizer
) -> _State:
    if not path.exists():
        raise CannotResume(f"nothing to resume: there is no {path}; train without --resume")
    content = torch.load(path, weights_only=True)
    if content["identity"] != identity:
        raise CannotResume(
            f"{path} belongs to another training (other data, horizon, seed or settings); repeat "
            "the command that was interrupted, or train without --resume"
        )
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"])
    return _State(**content["state"])
