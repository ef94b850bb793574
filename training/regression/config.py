"""What to train and how: two small frozen dataclasses, each field with its unit and reason."""

from dataclasses import dataclass, replace
from typing import Self

from training.gru import Convention

LARGEST_BATCH = 1024  # rows; beyond, a step takes longer and no fewer of them are needed


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of the regressor."""

    features: int  # columns of a row
    members: int = 8  # networks whose answers are averaged; whole packets of four
    hidden: int = 16  # units of each; 32 fitted no better in four times the file
    convention: Convention = Convention.RESET_AFTER


@dataclass(frozen=True)
class FitConfig:
    """How the weights are found."""

    seed: int = 0  # of the weights, the batches, and the choice of held-out rows
    steps: int = 2000  # optimiser steps of the whole schedule
    batch_size: int = 32  # rows
    learning_rate: float = 1e-2  # AdamW, after the warm-up; cosine to zero at the end
    warm_up: float = 0.1  # share of the schedule
    weight_decay: float = 1e-2
    average: float = 0.99  # decay of the moving average of the weights, which is what is kept
    check_every: int = 25  # steps between looks at the rows left out
    patience: float = 0.3  # share of the schedule without a better look before stopping

    def for_rows(self, count: int) -> Self:
        """Larger batches for larger tables: sixteen of them see every row once."""
        return replace(self, batch_size=min(max(self.batch_size, count // 16), LARGEST_BATCH))
