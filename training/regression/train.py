"""The story of a regression: table -> held-out rows -> fit -> evaluate -> export -> parity.

Read top to bottom; each step is one file of this package or of `training`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.contract.metadata import Training
from service.contract.regression import (
    RegressionEvaluation,
    RegressionMetadata,
    RegressionSignature,
)
from training.fit import LossCurve
from training.publication import Candidate, libraries, publish
from training.regression import cases, report
from training.regression.config import FitConfig, NetworkConfig
from training.regression.evaluate import evaluate
from training.regression.fit import fit
from training.regression.network import GRURegressor
from training.regression.table import Table
from training.tables.source import InvalidTable


def train(
    table: Table,
    config: FitConfig,
    name: str,
    models: Path,
    *,
    held_out: float = 0.2,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train, judge and publish one version; returns its folder.

    Args:
        held_out: the share of the rows, chosen at random, that training never sees.
        progress: called after every step with the share of the schedule that is over, and the loss.
        say: receives the table of scores, the verdict and the parity table.

    Raises:
        InvalidTable: the target is constant among the held-out rows or among the others.
        Diverged: from the fit.
        ExportFailed, InvalidArtifact, ParityFailed: nothing is published.
    """
    training, judged = split(table, held_out, config.seed)
    network, curve = fit_table(training, config, progress)
    scores = evaluate(training, judged, partial(predict, network))
    say(scores.table())
    say(scores.verdict())
    candidate = Candidate(
        network=network,
        layers=[network.config.convention],
        signature=RegressionSignature(features=table.names, target=table.target),
        families=cases.families(training.features),
        answer=partial(cases.torch_answer, network),
        kind=RegressionMetadata,
        training=Training(
            data_fingerprint=training.fingerprint,
            observations=training.rows,
            seed=config.seed,
            steps=curve.best_step,
            network=vars(network.config),
            libraries=libraries("scikit-learn"),
        ),
        evaluation=RegressionEvaluation(
            rows=len(scores.actual),
            scores=scores.scores,
            best_baseline=scores.best_baseline,
            beats_baselines=scores.beats_baselines,
        ),
        draw=partial(report.write, curve=curve, held_out=scores),
    )
    return publish(candidate, name, models, say)


def split(table: Table, held_out: float, seed: int) -> tuple[Table, Table]:
    """Rows to train on, and a share of the rows to judge by, both in random order.

    Raises:
        InvalidTable: the target never differs in one of the two.
    """
    order = np.random.default_rng(seed).permutation(table.rows)
    count = round(held_out * table.rows)
    parts = table.take(order[count:]), table.take(order[:count])
    for part in parts:
        if not np.ptp(part.targets):
            raise InvalidTable(
                f"{table.source}: {table.target} is {part.targets[0]:g} in all {part.rows} rows of "
                f"a part of the table; choose another --seed or --held-out, or add rows"
            )
    return parts


def fit_table(
    training: Table,
    config: FitConfig,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
) -> tuple[GRURegressor, LossCurve]:
    """Fit a network of the usual shape to all rows of a table.

    Raises:
        Diverged: see `fit`.
    """
    torch.set_num_threads(1)  # a small GRU gains nothing from two, and sums stay in one order
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = GRURegressor(NetworkConfig(len(training.names)))
    return network, fit(network, training, config.for_rows(training.rows), progress)


def predict(network: GRURegressor, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Torch's predictions [N] for the features [N, F]."""
    answers, _ = cases.torch_answer(network, (features.astype(np.float32),))
    return answers.astype(np.float64)
