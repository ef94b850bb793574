"""Make the artifact that the service's tests load: `python -m tests.artifacts.build`.

A real training of a very small network on a made-up panel, published by the project's own export.
"""

import shutil
from pathlib import Path

import numpy as np

from service.contract.artifact import REPORT
from service.contract.frequency import Frequency
from training.config import FitConfig, NetworkConfig
from training.data import Panel, Series
from training.train import train

ARTIFACTS = Path(__file__).parent
NAME = "tiny"


def panel() -> Panel:
    """Six seasonal series of 60 hours with a trend and some gaps."""
    random = np.random.default_rng(7)
    hours = np.arange(60)
    series = []
    for number in range(6):
        target = 10 * (number + 1) + 0.1 * hours + 3 * np.sin(2 * np.pi * hours / 6)
        target += random.normal(scale=0.3, size=len(hours))
        target[random.random(len(hours)) < 0.05] = np.nan
        series.append(Series(f"sensor-{number}", np.datetime64("2024-01-01T00", "us"), target))
    return Panel(tuple(series), Frequency.parse("4h"))


def build() -> Path:
    """Train and publish into this folder, in place of what was there."""
    shutil.rmtree(ARTIFACTS / NAME, ignore_errors=True)
    network = NetworkConfig("4h", horizon=6, seasonality=6, context_length=24, hidden=8)
    fit = FitConfig(steps=200, check_every=50)
    folder = train(panel(), network, fit, NAME, ARTIFACTS)
    shutil.rmtree(folder / REPORT)  # pictures are not what the service reads
    return folder


if __name__ == "__main__":
    print(build())
