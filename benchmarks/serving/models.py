"""The two models that the speed of serving is measured with: S and L, of random weights.

Speed does not depend on what the weights are, so nothing is trained; everything else is the
project's own: export, golden answers, proof of parity.
"""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch

from service.contract import layout
from service.contract.forecast import Evaluation, ForecastMetadata, ForecastTraining
from service.contract.placement import History
from training import cases
from training.config import NetworkConfig
from training.network import GRUForecaster
from training.publication import Candidate, libraries, publish

SIZES = {  # the levels are the nine deciles
    "S": NetworkConfig("h", 24, 24, context_length=48, hidden=64, layers=1, base_seasons=2),
    "L": NetworkConfig("h", 24, 24, context_length=168, hidden=128, layers=2, base_seasons=4),
}


def write_all(models: Path) -> list[Path]:
    """S and L as version 1 of a folder of models; what is there already is left as it is."""
    return [_written(models, name, config) for name, config in SIZES.items()]


def _written(models: Path, name: str, config: NetworkConfig) -> Path:
    folder = layout.folder(models, name, 1)
    if folder.exists():
        return folder
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = GRUForecaster(config).eval()
    histories = [History(target) for target in _walks(config, rows=64)]
    candidate = Candidate(
        network=network,
        layers=[config.convention] * config.layers,
        signature=config.signature,
        families=cases.families(config.signature, histories),
        answer=partial(cases.torch_answer, network),
        kind=ForecastMetadata,
        training=ForecastTraining(
            data_fingerprint=hashlib.sha256(b"random weights").hexdigest(),
            series=0,
            observations=0,
            seed=0,
            steps=0,
            network=config.shape(),
            libraries=libraries(),
        ),
        evaluation=Evaluation(
            horizon=config.horizon, scores={}, best_baseline="none", beats_baselines=False
        ),
        draw=lambda _: None,
    )
    return publish(candidate, name, models, say=lambda _: None)


def _walks(config: NetworkConfig, rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Random walks with a season [rows, C]."""
    random = np.random.default_rng(0)
    season = 5 * np.sin(2 * np.pi * np.arange(config.context_length) / config.seasonality)
    walks: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    walks = 100 + season + random.normal(size=(rows, config.context_length)).cumsum(1)
    return walks
