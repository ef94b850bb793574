"""What to train and how: small frozen dataclasses, each field with its unit and reason."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Self

from service.contract.forecast import Covariates, ForecastSignature
from service.contract.frequency import Frequency
from training.data import Panel
from training.gru import Convention
from training.layers.calendar import DAY, Cycle
from training.origins import Origins

LONGEST_CONTEXT = 768  # steps; beyond, the cost of a forecast grows faster than its accuracy
LONG_SEASON = 24  # steps; four longer seasons fitted the past and not the future
RECURRENT_STEPS = 84  # more of them cost time and recall no better: longer contexts come in patches
REPEATS = 3  # of a cycle of the calendar, before it can be told from chance
DAYS = {Cycle.DAY_OF_WEEK: 7, Cycle.DAY_OF_MONTH: 30, Cycle.MONTH: 365}  # of a cycle
BUSINESS_DAYS = {Cycle.DAY_OF_WEEK: 5, Cycle.DAY_OF_MONTH: 21, Cycle.MONTH: 260}
FEW_WINDOWS = 1000
FEWEST_STEPS = 500
MOST_EPOCHS = 16  # on ett1/D, 80 of them took MASE from 0.94 of seasonal naive's to 0.99
# More changed nothing in the mean and let a few large series go: on m4_hourly, 680 s came to a WQL
# of 0.90 of seasonal naive's where 68 s had come to 0.61.
MOST_STEPS = 4000
NOTHING_ELSE = Covariates()
QUANTILE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of the forecaster."""

    freq: str  # pandas offset alias of the series
    horizon: int  # steps; all of them are forecast at once
    seasonality: int  # steps per season; 1 = none, the base is then the last value
    context_length: int  # steps; the newest part of a longer history is used
    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS  # 0.5 among them
    covariates: Covariates = NOTHING_ELSE
    calendar: tuple[Cycle, ...] = ()  # cycles whose phase the network is told; none: no timestamps
    long_season: int = 0  # steps of a second season, the week of hours; 0 = none
    hidden: int = 64  # units; beyond 64 the cost grows with the square
    layers: int = 1
    patch: int = 1  # steps per recurrent step; the cost divides by it
    signals: int = 8  # numbers that the state sends to each step of the horizon alone
    dropout: float = 0.1  # between layers and in the decoder, in training only
    base_seasons: int = 4  # seasons looked up behind each step of the horizon
    convention: Convention = Convention.RESET_AFTER

    @classmethod
    def for_panel(cls, panel: Panel, origins: Origins) -> Self:
        """A shape for this data, where most series are long enough.

        Four seasons of context, two of long ones; of steps shorter than a day, one or two weeks. A
        season longer than half of the median training history cannot be learnt; the network does
        without.
        """
        horizon = origins.horizon
        known = median(len(series.target) for series in panel.series) - origins.test_steps
        history = max(1, int(known) - horizon)  # before the last training target
        seasonality = panel.frequency.seasonality
        if 2 * seasonality > history:
            seasonality = 1
        seasons = 4 if seasonality <= LONG_SEASON else 2
        wanted = max(seasons * seasonality, 2 * horizon, 8)
        day = _steps_of_a_day(panel.frequency)
        weeks = [n * 7 * day for n in (2, 1) if n * 7 * day <= min(LONGEST_CONTEXT, history)]
        if day > 1 and weeks:
            wanted = max(wanted, weeks[0])
        context_length = min(wanted, LONGEST_CONTEXT, history)
        return cls(
            panel.frequency.alias,
            horizon,
            seasonality,
            context_length,
            covariates=panel.covariates,
            calendar=_calendar(panel.frequency, history),
            long_season=7 * day if day > 1 and weeks else 0,
            patch=max(1, context_length // RECURRENT_STEPS),
            base_seasons=max(1, min(4, context_length // seasonality)),
        )

    def with_levels(self, levels: Iterable[float]) -> Self:
        """The same network with more quantile levels."""
        return replace(self, quantile_levels=tuple(sorted({*self.quantile_levels, *levels})))

    @property
    def lags(self) -> tuple[tuple[int, int], ...]:
        """(season in steps, seasons back) of each value that is looked up, the season's first."""
        own = [(self.seasonality, back) for back in range(1, self.base_seasons + 1)]
        backs = range(1, 3) if self.long_season else ()
        fitting = [b for b in backs if b * self.long_season <= self.context_length]
        return (*own, *((self.long_season, back) for back in fitting))

    @property
    def signature(self) -> ForecastSignature:
        """What a client must know of such a network."""
        return ForecastSignature(
            freq=self.freq,
            seasonality=self.seasonality,
            context_length=self.context_length,
            minimum_context=1,
            horizon=self.horizon,
            quantile_levels=self.quantile_levels,
            covariates=self.covariates,
            calendar=bool(self.calendar),
        )

    def shape(self) -> dict[str, int | float | str]:
        """What the signature does not say, for people who read metadata.json."""
        told = {*ForecastSignature.model_fields, "calendar"}
        rest = {name: value for name, value in vars(self).items() if name not in told}
        return {**rest, "calendar": ", ".join(self.calendar)}


@dataclass(frozen=True)
class FitConfig:
    """How the weights are found."""

    seed: int = 0
    device: str = "cpu"  # cuda: in mixed precision, and not to the same bits every time
    devices: int = 1  # each takes batches of its own; the gradients are averaged
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
        """A schedule that does not learn few windows by heart, whatever the budget.

        With a validation, at most `MOST_EPOCHS` looks at each window. Without one, fewer and
        smaller steps: on the airline series, 1000 steps gave 0.48 of seasonal naive's error for
        1959, 500 gave 0.33.
        """
        if judged:
            most = max(FEWEST_STEPS, MOST_EPOCHS * count // self.batch_size)
            return replace(self, steps=min(self.steps, most))
        if count >= FEW_WINDOWS:
            return self
        steps = min(self.steps, FEWEST_STEPS)
        return replace(self, steps=steps, learning_rate=self.learning_rate / 3)

    def with_budget(self, seconds: float | None) -> Self:
        """The same fit with a longer schedule, or as much of it as fits into a time."""
        if seconds is None:
            return self
        return replace(self, steps=MOST_STEPS, budget_s=seconds)


def _steps_of_a_day(frequency: Frequency) -> int:
    """0 where a day is no whole number of steps."""
    if frequency.unit != "s" or DAY % frequency.count:
        return 0
    return DAY // frequency.count


def _calendar(frequency: Frequency, history: int) -> tuple[Cycle, ...]:
    """The cycles that the history repeats often enough to tell them from chance.

    Of steps shorter than a day, the season and the long season are the day and the week already:
    the calendar has news for them only where it knows the year.
    """
    business = frequency.unit == "B"
    day = 1 if business else _steps_of_a_day(frequency)
    lengths = BUSINESS_DAYS if business else DAYS
    seen = tuple(c for c, days in lengths.items() if day and history >= REPEATS * days * day)
    return seen if day == 1 or Cycle.MONTH in seen else ()
