"""Find the weights: pinball loss in units of each series' scale, AdamW, cosine, early stopping.

What is kept is the moving average of the weights at the best validation, or at the end of the
schedule where there is no validation. Every random number comes from one seed and the whole state
is saved at every check, so an interrupted fit continues to the same bits as an uninterrupted one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from training.checkpoint import State, load, read, save, weights
from training.config import FitConfig
from training.devices import close_devices, open_devices
from training.network import GRUForecaster
from training.windows import Batch, Windows

# Share of a series' magnitude: one that hardly moved before must not shout down all others when it
# does move.
SMALLEST_UNIT = 1e-2
# Windows that a check looks at. All those of a wide panel would take longer than the steps between
# two checks.
MOST_JUDGES = 1024

Progress = Callable[[float, float], None]  # share of the schedule that is over, and the loss


class Diverged(RuntimeError):
    """The loss is no longer a number; nothing of such a fit may be published."""


@dataclass(frozen=True)
class LossCurve:
    """Pinball loss on scaled values at every check."""

    steps: tuple[int, ...]
    training: tuple[float, ...]  # mean over the steps since the last check
    validation: tuple[float, ...]  # empty without a validation window
    best_step: int  # the step whose averaged weights were kept


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
    progress: Progress = lambda _share, _loss: None,
) -> LossCurve:
    """Fit the network in place, from its present weights; the best ones are in it afterwards.

    Args:
        checkpoint: file that holds the state, also of a finished fit; the caller removes it.
        identity: what is trained on what; a checkpoint of another identity is refused.
        resume: continue from the checkpoint.
        progress: called after every step where there is one device.

    Raises:
        Diverged: a loss that is not finite.
        CannotResume: `resume` without a fitting checkpoint.
        DeviceUnavailable: see `devices.open_devices`.
    """
    fabric = open_devices(config.device, config.devices)
    part = partial(
        _fit,
        network=network,
        training=training,
        validation=validation,
        config=config,
        checkpoint=checkpoint,
        identity=identity,
        resume=resume,
        progress=progress if config.devices == 1 else _unseen,  # processes of their own
    )
    fabric.launch(part)
    state = read(checkpoint)  # a process of its own could not hand it over
    network.cpu().load_state_dict(state.best)
    steps, losses, validations = zip(*state.curve, strict=True)
    return LossCurve(steps, losses, validations if validation else (), state.best_step)


def _unseen(_share: float, _loss: float) -> None:
    """Progress that nobody sees."""


def _fit(
    fabric: Fabric,
    network: GRUForecaster,
    training: Windows,
    validation: Windows | None,
    config: FitConfig,
    checkpoint: Path,
    identity: str,
    resume: bool,
    progress: Progress,
) -> None:
    """The fit on one device, or one device's part of it; all come to the same checkpoint."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + fabric.global_rank)  # each device draws its own windows
        made = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        wrapped, optimiser = fabric.setup(network, made)
        fitter = _Fitter(fabric, network, wrapped, optimiser, training.to(fabric.device), config)
        state = State(average=weights(network))
        if resume:
            state = load(checkpoint, identity, network, made)
        held_out = validation.to(fabric.device).some(MOST_JUDGES) if validation else None
        recent: list[float] = []
        origin = time.monotonic() - state.seconds
        while not state.finished:
            recent.append(loss := fitter.step(state))
            state.seconds = _agreed(fabric, time.monotonic() - origin)
            share = _share(state, config)
            if state.step % config.check_every == 0 or share >= 1:
                _check(network, held_out, state, sum(recent) / len(recent), share)
                recent.clear()
                state.finished = share >= 1 or share >= state.best_share + config.patience
                if fabric.is_global_zero:
                    save(checkpoint, identity, network, made, state)
            progress(share, loss)
        close_devices(fabric)


def _agreed(fabric: Fabric, seconds: float) -> float:
    """The clock of the first device, so that all end at the same step."""
    return fabric.broadcast(seconds) if fabric.world_size > 1 else seconds


def _share(state: State, config: FitConfig) -> float:
    """How much of the schedule is over: by steps, or by time where that is nearer to its end."""
    by_time = state.seconds / config.budget_s if config.budget_s else 0.0
    return max(state.step / config.steps, by_time)


@dataclass(frozen=True)
class _Fitter:
    """What an optimiser step needs."""

    fabric: Fabric
    network: GRUForecaster
    forward: Callable[..., Tensor]  # the network, in the precision and on the devices of the fit
    optimiser: torch.optim.Optimizer
    windows: Windows
    config: FitConfig

    def step(self, state: State) -> float:
        """One optimiser step on a random batch; the loss before it."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(_share(state, config), config.warm_up)
        index = torch.randint(len(self.windows), (config.batch_size,))
        self.network.train()
        batch = self.windows.gather(index.to(self.fabric.device))
        loss = _loss(self.network, self.forward, batch)
        if not torch.isfinite(loss):
            raise Diverged(
                f"the loss is {loss.item()} at step {state.step + 1}; nothing is published. Look "
                "for extreme values in the target"
            )
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_norm)
        self.optimiser.step()
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                state.average[name].lerp_(weight, 1 - config.average)
        state.step += 1
        return loss.item()


def _schedule(share: float, warm_up: float) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to zero."""
    if share < warm_up:
        return share / warm_up
    return 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))


def _loss(network: GRUForecaster, forward: Callable[..., Tensor], batch: Batch) -> Tensor:
    context, lengths, *_ = batch.inputs
    scaled = network.rescale(context, lengths)
    magnitude, scale = scaled.magnitude.squeeze(-1), scaled.scale.squeeze(-1)  # [B, 1]
    silent = magnitude == 0  # forecast as zero whatever the weights are
    unit = scale.clamp(min=SMALLEST_UNIT) * torch.where(silent, 1.0, magnitude)
    target = torch.where(silent, torch.nan, batch.target)
    levels = torch.tensor(network.config.quantile_levels, device=target.device)
    return pinball_loss(forward(*batch.inputs), target, unit, levels)


def _check(
    network: GRUForecaster,
    held_out: Batch | None,
    state: State,
    training_loss: float,
    share: float,
) -> None:
    """Judge the averaged weights on the validation window and remember the best."""
    if held_out is None:
        loss = -float(state.step)  # no judge: the newest is the best
    else:
        own = weights(network)
        network.load_state_dict(state.average)
        network.eval()
        with torch.no_grad():
            loss = _loss(network, network, held_out).item()
        network.load_state_dict(own)
    state.curve.append((state.step, training_loss, loss))
    if loss < state.best_loss:
        state.best_loss, state.best_step, state.best_share = loss, state.step, share
        state.best = {name: weight.clone() for name, weight in state.average.items()}
