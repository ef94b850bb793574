"""The story of the protocol: data -> fit -> our recipe beside it -> export -> parity -> report."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.contract.forecast import Evaluation, ForecastMetadata, ForecastTraining, Scores
from service.contract.metadata import Inputs
from service.contract.placement import place
from training import cases
from training.classic import report
from training.classic.comparison import Comparison
from training.classic.fit import fit
from training.classic.network import RolledForecaster
from training.classic.protocol import Protocol
from training.config import FitConfig, NetworkConfig
from training.data import Panel
from training.histories import at_cutoffs
from training.origins import Origins
from training.publication import Candidate, libraries, publish
from training.rolling import rolling

Floats = NDArray[np.float32]


def train(
    panel: Panel,
    protocol: Protocol,
    fit_config: FitConfig,
    name: str,
    models: Path,
    *,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Follow the protocol, judge it beside our own recipe, and publish it; returns its folder.

    Args:
        panel: one series without gaps.
        fit_config: of our recipe; its seed is the protocol's too.
        progress: called with the share that is over, our recipe the last quarter, and the loss.
        say: receives the table, the verdict and the parity table.

    Raises:
        Diverged: from a fit.
        ExportFailed, InvalidArtifact, ParityFailed: nothing is published.
    """
    torch.set_num_threads(1)  # a small GRU gains nothing from two, and sums stay in one order
    (series,) = panel.series
    origins = Origins(protocol.horizon)
    known = len(series.target) - protocol.horizon
    signature = protocol.signature(panel.frequency.alias, panel.frequency.seasonality)
    torch.manual_seed(fit_config.seed)
    network = RolledForecaster(protocol)
    seen = torch.from_numpy(series.target[:known].astype(np.float32))
    losses = fit(network, seen, protocol, lambda share, loss: progress(0.75 * share, loss))
    ours, _ = rolling(
        panel,
        origins,
        signature.seasonality,
        NetworkConfig.for_panel(panel, origins),
        fit_config,
        lambda share, loss: progress(0.75 + 0.25 * share, loss),
    )
    (block,) = place(at_cutoffs(panel, [(series, known)], signature), signature)
    point, _ = answer(network, block.inputs)
    comparison = Comparison(point[..., 0].astype(np.float64), ours)
    say(comparison.table())
    say(comparison.verdict())

    newest = at_cutoffs(panel, [(series, len(series.target))], signature)
    candidate = Candidate(
        network=network,
        layers=network.layers,
        signature=signature,
        families=cases.families(signature, newest),
        answer=partial(answer, network),
        kind=ForecastMetadata,
        training=_training(network, panel, protocol, fit_config.seed),
        evaluation=Evaluation(
            horizon=protocol.horizon,
            scores={m: Scores(**found.defined()) for m, found in comparison.scores.items()},
            best_baseline=comparison.judged.best_baseline,
            beats_baselines=comparison.judged.beats_baselines,
        ),
        draw=partial(report.write, panel=panel, comparison=comparison, losses=losses),
    )
    return publish(candidate, name, models, say)


def answer(network: RolledForecaster, inputs: Inputs) -> tuple[Floats, Floats]:
    """Torch's forecasts [B, H, 1], and the unit of every row [B] in data units.

    It is the network's own and not the row's: whatever the row, the forecast is of the size of the
    training values.
    """
    network.eval()
    with torch.no_grad():
        forecasts = network(*map(torch.from_numpy, inputs))
    return forecasts.numpy(), np.full(len(forecasts), network.unit.item(), np.float32)


def _training(
    network: RolledForecaster, panel: Panel, protocol: Protocol, seed: int
) -> ForecastTraining:
    values = len(panel.series[0].target)
    scale = {"low": network.low.item(), "high": network.high.item()}
    return ForecastTraining(
        data_fingerprint=panel.fingerprint,
        series=1,
        observations=values,
        seed=seed,
        steps=protocol.epochs * (values - protocol.horizon - protocol.window),
        network={**asdict(protocol), **scale, "convention": network.recurrent.convention},
        libraries=libraries("statsforecast"),
    )
