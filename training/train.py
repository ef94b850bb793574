"""The story of a training: data -> windows -> network -> fit -> evaluate -> export -> parity.

Read top to bottom; each step is one file of this package.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.contract.forecast import Evaluation, ForecastMetadata, ForecastTraining, Scores, Seen
from service.contract.placement import place
from training import cases, report, windows
from training.config import FitConfig, NetworkConfig
from training.data import Panel
from training.evaluate import backtest, seasonal_error
from training.fit import Diverged, LossCurve, fit
from training.histories import Cutoff, at_cutoffs
from training.network import GRUForecaster
from training.origins import Origins
from training.publication import Candidate, libraries, publish

ROWS = 1024  # forecast at once; bounds the memory that a wide panel takes
BASELINE_LIMIT_S = 120.0  # for each baseline; on a large panel they take longer than the fit


def train(
    panel: Panel,
    network_config: NetworkConfig,
    fit_config: FitConfig,
    name: str,
    models: Path,
    *,
    resume: bool = False,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train, judge and publish one version; returns its folder.

    Args:
        progress: called after every step with the share of the schedule that is over, and the loss.
        say: receives the backtest table, the verdict and the parity table.

    Raises:
        InvalidTable: series too short for the horizon.
        Diverged, CannotResume: from the fit.
        ExportFailed, InvalidArtifact, ParityFailed: nothing is published.
    """
    config = network_config
    origins = Origins(config.horizon)
    checkpoint = models / ".checkpoints" / f"{name}.pt"
    try:
        network, curve = fit_panel(
            panel, origins, config, fit_config, checkpoint, resume=resume, progress=progress
        )
    except Diverged as error:
        if not checkpoint.exists():
            raise
        raise Diverged(f"{error}. The last good state is kept in {checkpoint}") from error
    table = backtest(
        panel,
        origins,
        config.seasonality,
        config.quantile_levels,
        partial(forecast, network, panel),
        BASELINE_LIMIT_S,
    )
    say(table.table())
    say(table.verdict())

    signature = config.signature
    newest = [(series, len(series.target)) for series in panel.series[: cases.PROVEN]]
    candidate = Candidate(
        network=network,
        layers=[config.convention] * config.layers,
        signature=signature,
        families=cases.families(signature, at_cutoffs(panel, newest, signature)),
        answer=partial(cases.torch_answer, network),
        kind=ForecastMetadata,
        training=_training(network, panel, origins, fit_config, curve),
        evaluation=Evaluation(
            horizon=config.horizon,
            scores={model: Scores(**found.defined()) for model, found in table.scores.items()},
            best_baseline=table.best_baseline,
            beats_baselines=table.beats_baselines,
        ),
        draw=partial(report.write, curve=curve, backtest=table),
    )
    published = publish(candidate, name, models, say)
    checkpoint.unlink(missing_ok=True)
    return published


def fit_panel(
    panel: Panel,
    origins: Origins,
    network_config: NetworkConfig,
    fit_config: FitConfig,
    checkpoint: Path,
    *,
    resume: bool = False,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
) -> tuple[GRUForecaster, LossCurve]:
    """Fit a network on what lies before the first cutoff of every series.

    Raises:
        InvalidTable, Diverged, CannotResume: see `windows.split` and `fit`.
    """
    torch.set_num_threads(1)  # a small GRU gains nothing from two, and sums stay in one order
    training, validation = windows.split(panel, network_config, origins)
    torch.manual_seed(fit_config.seed)
    network = GRUForecaster(network_config)
    network.measure(training.flat)
    curve = fit(
        network,
        training,
        validation,
        fit_config.for_windows(len(training), judged=validation is not None),
        checkpoint=checkpoint,
        identity=_identity(panel, origins, network_config, fit_config),
        resume=resume,
        progress=progress,
    )
    return network, curve


def forecast(
    network: GRUForecaster, panel: Panel, cutoffs: Sequence[Cutoff]
) -> NDArray[np.float64]:
    """Torch's quantiles [N, H, Q] after each cutoff, placed as the service does."""
    config = network.config
    quantiles = np.empty((len(cutoffs), config.horizon, len(config.quantile_levels)))
    for begin in range(0, len(cutoffs), ROWS):
        some = cutoffs[begin : begin + ROWS]
        for block in place(at_cutoffs(panel, some, config.signature), config.signature):
            quantiles[begin + block.rows], _ = cases.torch_answer(network, block.inputs)
    return quantiles


def _identity(panel: Panel, origins: Origins, network: NetworkConfig, fit_config: FitConfig) -> str:
    """What is trained on what; equal for two runs that must give equal weights."""
    text = f"{panel.fingerprint} {origins} {network} {fit_config} torch {torch.__version__}"
    return hashlib.sha256(text.encode()).hexdigest()


def _training(
    network: GRUForecaster,
    panel: Panel,
    origins: Origins,
    fit_config: FitConfig,
    curve: LossCurve,
) -> ForecastTraining:
    return ForecastTraining(
        data_fingerprint=panel.fingerprint,
        series=len(panel.series),
        seen=_seen(panel, origins, network.config.seasonality),
        observations=sum(int(np.isfinite(s.target).sum()) for s in panel.series),
        seed=fit_config.seed,
        steps=curve.best_step,
        network=network.config.shape(),
        libraries=libraries("statsforecast"),
    )


def _seen(panel: Panel, origins: Origins, seasonality: int) -> Seen | None:
    """The range and scale of what lies before the first cutoff of every series."""
    targets = [one.target[: origins.cutoffs(len(one.target))[0]] for one in panel.series]
    peaks = [(np.fmin.reduce(target), np.fmax.reduce(target)) for target in targets]
    low, high = (float(values) for values in (np.fmin.reduce(peaks)[0], np.fmax.reduce(peaks)[1]))
    if not np.isfinite([low, high]).all():
        return None
    errors = np.array([seasonal_error(target, seasonality) for target in targets])
    scales = errors[errors > 0]  # not NaN
    return Seen(low=low, high=high, log_scale=float(np.log(scales).mean()) if scales.size else None)
