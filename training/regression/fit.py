"""Find the weights: mean squared error on a standardised target, AdamW, cosine, early stopping.

Of M members, each leaves an M-th of the rows out and is judged by them. So every row trains most
members and judges one, and no row has to be set aside. What is kept is the moving average of the
weights where the rows left out were predicted best.

Shapes: B batch, F features, M members.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.fit import Diverged, LossCurve
from training.regression.config import FitConfig
from training.regression.network import GRURegressor
from training.regression.table import Table

MOST_JUDGES = 8192  # rows that a look at those left out takes

Progress = Callable[[float, float], None]  # share of the schedule that is over, and the loss


@dataclass(frozen=True)
class Examples:
    """Rows as the members see them."""

    standard: Tensor  # [B, F]
    target: Tensor  # [B, 1] standardised
    seen: Tensor  # [B, M] 1 where the row may train the member, 0 where it judges it

    def at(self, index: Tensor | slice) -> "Examples":
        """Some of them."""
        return Examples(self.standard[index], self.target[index], self.seen[index])


def examples(network: GRURegressor, table: Table) -> Examples:
    """All rows, dealt to the members that leave them out in the order of the table."""
    members = network.config.members
    features = torch.from_numpy(table.features.astype("float32"))
    with torch.no_grad():
        standard = network.standardise(features)
    targets = torch.from_numpy(table.targets).unsqueeze(1)
    target = (targets - network.target_mean) / network.target_scale
    judges = torch.arange(table.rows).unsqueeze(1) % members == torch.arange(members)
    return Examples(standard, target.float(), (~judges).float())


def fit(
    network: GRURegressor,
    table: Table,
    config: FitConfig,
    progress: Progress = lambda _share, _loss: None,
) -> LossCurve:
    """Fit the network in place to rows in random order; the best weights are in it afterwards.

    Args:
        progress: called after every step.

    Returns:
        mean squared errors, in units of the target's variance: 1 is the error of the mean.

    Raises:
        Diverged: a loss that is not finite.
    """
    network.measure(table.features, table.targets)
    network.train()
    all_rows = examples(network, table)
    some_rows = all_rows.at(slice(MOST_JUDGES))
    weigh = get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=weigh)
    averaged = cast(GRURegressor, average.module)
    optimiser = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    random = torch.Generator().manual_seed(config.seed)
    curve: list[tuple[int, float, float]] = []
    best_loss, best_step, best = math.inf, 0, network.state_dict()
    for step in range(1, config.steps + 1):
        index = torch.randint(table.rows, (config.batch_size,), generator=random)
        loss = _step(network, optimiser, all_rows.at(index), config, step)
        average.update_parameters(network)
        progress(step / config.steps, loss)
        if step % config.check_every and step < config.steps:
            continue
        training, left_out = errors(averaged, some_rows)
        curve.append((step, training, left_out))
        if left_out < best_loss:
            best_loss, best_step = left_out, step
            best = copy.deepcopy(averaged.state_dict())
        if step >= best_step + config.patience * config.steps:
            break
    network.load_state_dict(best)
    network.eval()
    steps, trainings, validations = zip(*curve, strict=True)
    return LossCurve(steps, trainings, validations, best_step)


def errors(network: GRURegressor, rows: Examples) -> tuple[float, float]:
    """Mean squared error of members on the rows that train them, and on those they leave out."""
    with torch.no_grad():
        squared = (network.members(rows.standard) - rows.target) ** 2
        seen = _mean(squared, rows.seen)
        return seen.item(), _mean(squared, 1 - rows.seen).item()


def _step(
    network: GRURegressor,
    optimiser: torch.optim.Optimizer,
    batch: Examples,
    config: FitConfig,
    step: int,
) -> float:
    """One optimiser step; the loss before it."""
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * _schedule(step / config.steps, config.warm_up)
    loss = _mean((network.members(batch.standard) - batch.target) ** 2, batch.seen)
    if not torch.isfinite(loss):
        raise Diverged(
            f"the loss is {loss.item()} at step {step}; nothing is published. Look for extreme "
            "values in the table"
        )
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.item()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()


def _schedule(share: float, warm_up: float) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to zero."""
    if share < warm_up:
        return share / warm_up
    return 0.5 * (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up)))
