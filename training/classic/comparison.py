"""The protocol beside our own recipe and the baselines, on the steps that none of them has seen."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.evaluate import MODEL, Backtest, Scores, score

CLASSIC, OURS = "airline-classic", "airline"  # the recipes, as the table calls them


@dataclass(frozen=True, eq=False)
class Comparison:
    """Who forecast what, and how good it was."""

    point: NDArray[np.float64]  # [1, H] the protocol's forecast
    ours: Backtest  # our recipe as its model, and the baselines

    @property
    def scores(self) -> dict[str, Scores]:
        """The protocol as the model, then our recipe, then the baselines."""
        made = score(
            self.ours.actual, self.point[..., np.newaxis], (0.5,), self.ours.seasonal_errors
        )
        own = replace(made, wql=math.nan, coverage=math.nan)  # it has no quantiles
        return {MODEL: own, OURS: self.ours.scores[MODEL], **self._baselines}

    @property
    def judged(self) -> Backtest:
        """The protocol beside the baselines alone."""
        return replace(self.ours, scores={MODEL: self.scores[MODEL], **self._baselines})

    def table(self) -> str:
        """All scores as aligned text; "-" where one is undefined."""
        own, *others = self.scores.items()
        return replace(self.ours, scores=dict([(CLASSIC, own[1]), *others])).table()

    def verdict(self) -> str:
        """Whether the protocol is worth its trouble, and what our recipe makes of the same."""
        return (
            f"{self.judged.verdict()} The recipe {OURS} on the same {self.ours.horizon} steps: "
            f"MASE {self.scores[OURS].mase:.2f}."
        )

    @property
    def _baselines(self) -> dict[str, Scores]:
        return {name: found for name, found in self.ours.scores.items() if name != MODEL}
