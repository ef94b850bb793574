"""What to train and how: small frozen dataclasses, each field with its unit and reason."""

from dataclasses import dataclass, replace
from statistics import median
from typing import Self

from training.data import Panel
from training.gru import Convention
from training.origins import Origins

LONGEST_CONTEXT = 512  # steps; beyond, the cost of a forecast grows faster than its accuracy
LONGEST_WEEK = 256  # steps; a week of hours helps, a week of quarter hours did not
FEW_WINDOWS = 1000
QUANTILE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of the forecaster."""

    horizon: int  # steps; all of them are forecast at once
    seasonality: int  # steps per season; 1 = none, the base is then the last value
    context_length: int  # steps; the newest part of a longer history is used
    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS  # 0.5 among them
    hidden: int = 64  # units; beyond 64 the cost grows with the square
    layers: int = 1
    patch: int = 1  # steps per recurrent step; the cost divides by it
    dropout: float = 0.1  # between layers and before the head, in training only
    base_seasons: int = 4  # seasons searched backwards for an observed base value, at least 2
    convention: Convention = Convention.RESET_AFTER

    @classmethod
    def for_panel(cls, panel: Panel, origins: Origins) -> Self:
        """A shape for this data: four seasons of context where most series are long enough.

        A season longer than half of the median training history cannot be learnt; the network then
        does without. Where a season is a day, a whole week is kept if it is not too long.
        """
        horizon = origins.horizon
        known = median(len(series.target) for series in panel.series) - origins.test_steps
        history = max(1, int(known) - horizon)  # before the last training target
        seasonality = panel.frequency.seasonality
        if 2 * seasonality > history:
            seasonality = 1
        wanted = max(4 * seasonality, 2 * horizon, 8)
        shorter_than_a_day = panel.frequency.unit == "s" and panel.frequency.count < 86_400
        if shorter_than_a_day and 7 * seasonality <= LONGEST_WEEK:
            wanted = max(wanted, 7 * seasonality)
        context_length = min(wanted, LONGEST_CONTEXT, history)
        patch = max(1, context_length // 96)  # fewer than 192 recurrent steps
        return cls(horizon, seasonality, context_length, patch=patch)


@dataclass(frozen=True)
class FitConfig:
    """How the weights are found."""

    seed: int = 0
    steps: int = 1000  # optimiser steps of the whole schedule
    budget_s: float | None = None  # seconds of the whole schedule, where they end before the steps
    batch_size: int = 64  # windows
    learning_rate: float = 3e-3  # AdamW, after the warm-up; cosine to zero at the end
    warm_up: float = 0.1  # share of the schedule
    weight_decay: float = 1e-2
    gradient_norm: float = 1.0  # larger gradients are scaled down to it
    average: float = 0.99  # decay of the moving average of the weights, which is what is kept
    check_every: int = 50  # steps between validations and checkpoints
    patience: float = 0.3  # share of the schedule without a better validation before stopping

    def for_windows(self, count: int, judged: bool) -> Self:
        """Fewer and smaller steps where there are few windows and no validation to say stop.

        More would learn them by heart: on the airline series, 1000 steps gave 0.48 of seasonal
        naive's error for 1959, 500 gave 0.33.
        """
        if judged or count >= FEW_WINDOWS:
            return self
        return replace(self, steps=min(self.steps, 500), learning_rate=self.learning_rate / 3)

    def with_budget(self, seconds: float | None) -> Self:
        """The same fit with its schedule stretched over a time instead of a number of steps."""
        if seconds is None:
            return self
        return replace(self, steps=1_000_000, budget_s=seconds)
