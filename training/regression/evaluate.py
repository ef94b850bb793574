"""How good a regressor is beside its baselines, on rows that training never saw.

What is judged is the very model that is published. The baselines learn from the same rows: ridge
regression, whose penalty is chosen by cross-validation, and gradient boosting of trees with
scikit-learn's own settings.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contract.regression import RegressionScores
from training.regression.table import Table

MODEL = "GRU"
RIDGE = "ridge regression"
BOOSTING = "gradient boosting"
PENALTIES = np.logspace(-3, 5, 17)  # of ridge regression, on standardised features
MANY = 10_000  # rows from which trees are grown on histograms, which is much faster

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What was predicted for the held-out rows, what stood there, and how good each model was."""

    target: str
    actual: Floats  # [N]
    predictions: dict[str, Floats]  # [N] the GRU first, then the baselines
    scores: dict[str, RegressionScores]

    @property
    def best_baseline(self) -> str:
        """The baseline of lowest RMSE."""
        names = [name for name in self.scores if name != MODEL]
        return min(names, key=lambda name: self.scores[name].rmse)

    @property
    def beats_baselines(self) -> bool:
        """Is the RMSE of the GRU below that of every baseline?"""
        return self.scores[MODEL].rmse < self.scores[self.best_baseline].rmse

    def table(self) -> str:
        """All scores as aligned text: the GRU, then the baselines."""
        rows = [("model", "R2", "RMSE")]
        rows += [(name, f"{s.r2:.3f}", f"{s.rmse:.4g}") for name, s in self.scores.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        )

    def verdict(self) -> str:
        """One plain sentence: is the GRU worth its trouble?"""
        ours, theirs = self.scores[MODEL].rmse, self.scores[self.best_baseline].rmse
        beats = "beats" if self.beats_baselines else "does NOT beat"
        return (
            f"On {len(self.actual)} held-out rows, the {MODEL} {beats} the best baseline, "
            f"{self.best_baseline}: RMSE {ours:.4g} against {theirs:.4g}"
            f"{_difference(ours, theirs)}."
        )


def evaluate(training: Table, held_out: Table, predict: Callable[[Floats], Floats]) -> HeldOut:
    """Predict the held-out rows with all models and score them.

    Args:
        held_out: at least two targets that differ.
        predict: the GRU; features [N, F] to predictions [N].
    """
    predictions = {MODEL: predict(held_out.features), **_baselines(training, held_out.features)}
    actual = held_out.targets
    scores = {name: score(actual, made) for name, made in predictions.items()}
    return HeldOut(held_out.target, actual, predictions, scores)


def score(actual: Floats, predicted: Floats) -> RegressionScores:
    """Judge predictions [N] by what happened [N].

    R2 is 1 - sum of squared errors / sum of squared distances from the mean of `actual`: 0 is what
    that mean would earn. RMSE is the root of the mean squared error.
    """
    squared = (actual - predicted) ** 2
    distances = (actual - actual.mean()) ** 2
    return RegressionScores(
        r2=float(1 - squared.sum() / distances.sum()), rmse=math.sqrt(squared.mean())
    )


def _baselines(training: Table, features: Floats) -> dict[str, Floats]:
    """Predictions of each for the features [N, F]."""
    from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    boosting = HistGradientBoostingRegressor if training.rows >= MANY else GradientBoostingRegressor
    models = {
        RIDGE: make_pipeline(StandardScaler(), RidgeCV(PENALTIES)),
        BOOSTING: boosting(random_state=0),
    }
    return {
        name: np.asarray(model.fit(training.features, training.targets).predict(features))
        for name, model in models.items()
    }


def _difference(ours: float, theirs: float) -> str:
    """How far apart two errors are, in percent of theirs; nothing where theirs is zero."""
    if ours == theirs:
        return " (equal)"
    if theirs == 0:
        return ""
    return f" ({100 * abs(ours - theirs) / theirs:.2g} % {'lower' if ours < theirs else 'higher'})"
