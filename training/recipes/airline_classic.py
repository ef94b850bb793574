"""Airline passengers by the protocol of the tutorials, beside our own recipe for the same months.

Nothing here follows from the data: network, scale and passes are those of `Protocol`.
"""

from collections.abc import Callable
from pathlib import Path

from training.classic import train as story
from training.classic.protocol import Protocol
from training.config import FitConfig
from training.recipes.airline import load


def train(
    seed: int,
    name: str,
    models: Path,
    *,
    progress: Callable[[float, float], None],
    say: Callable[[str], None],
) -> Path:
    """See `classic.train`."""
    fit_config = FitConfig(seed)
    return story.train(load(), Protocol(), fit_config, name, models, progress=progress, say=say)
