"""Worked examples by name: what data, what horizon; network and fit follow from the data."""

from collections.abc import Callable
from dataclasses import dataclass

from training.data import Panel
from training.recipes import airline


@dataclass(frozen=True)
class Recipe:
    """Data that a library ships, and how far ahead to forecast it."""

    load: Callable[[], Panel]
    horizon: int  # steps


RECIPES = {"airline": Recipe(airline.load, horizon=12)}
