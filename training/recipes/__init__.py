"""Worked examples by name: data that network and fit follow from, or a protocol of their own."""

from collections.abc import Callable
from dataclasses import dataclass

from training.data import Panel
from training.recipes import airline, airline_classic


@dataclass(frozen=True)
class Recipe:
    """Data that a library ships, and how far ahead to forecast it."""

    load: Callable[[], Panel]
    horizon: int  # steps


RECIPES = {"airline": Recipe(airline.load, horizon=12)}
PROTOCOLS = {"airline-classic": airline_classic.train}  # which leave nothing to choose but a seed
