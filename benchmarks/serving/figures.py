"""The arithmetic of the benchmark: floors, efficiencies, percentiles, medians over rounds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Figure:
    """One measured number and what it must be."""

    group: str  # what was asked, in which way
    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        """For people; empty where nothing is promised."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    @property
    def reached(self) -> bool:
        """Whether the number is what it must be."""
        low = -math.inf if self.at_least is None else self.at_least
        return low <= self.value <= (math.inf if self.at_most is None else self.at_most)


def floor(http: float, raw: float, rows: int) -> float:
    """Requests per second if HTTP and the model cost what they cost alone, and nothing else did.

    F = 1 / (1 / H + k / R): a request keeps the machine busy for the time of an empty one and of
    its k rows.

    Args:
        http: H, empty requests per second.
        raw: R, rows per second of the runtime alone.
        rows: k, series in a request.
    """
    return 1 / (1 / http + rows / raw)


def efficiency(measured: float, http: float, raw: float, rows: int) -> float:
    """Measured requests per second as a share of the floor throughput."""
    return measured / floor(http, raw, rows)


def batch_ms(raw: float, cores: int, rows: int) -> float:
    """Milliseconds of one batch on one core, where all cores together do `raw` rows per second."""
    return 1e3 * rows / (raw / cores)


def percentile(values: ArrayLike, percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed (nearest rank).

    Raises:
        ValueError: no values.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if not ordered.size:
        raise ValueError("a percentile of no values was asked for")
    rank = math.ceil(percent * ordered.size / 100)
    return float(ordered[max(rank, 1) - 1])


def medians(rounds: Iterable[Sequence[Figure]]) -> list[tuple[Figure, list[float]]]:
    """Each figure with the median of its rounds, and what each round gave; in their first order."""
    seen: dict[tuple[str, str], list[Figure]] = {}
    for figures in rounds:
        for one in figures:
            seen.setdefault((one.group, one.name), []).append(one)
    found = []
    for (group, name), ones in seen.items():
        values = [one.value for one in ones]
        middle = statistics.median(values)
        found.append((Figure(group, name, middle, ones[0].at_least, ones[0].at_most), values))
    return found


def table(rows: Iterable[tuple[Figure, Sequence[float]]]) -> str:
    """Aligned text: a heading for each group, then its figures beside their targets."""
    lines, group = [], ""
    for figure, values in rows:
        if figure.group != group:
            group = figure.group
            lines.append(f"\n{group}")
        verdict = ("reached" if figure.reached else "MISSED") if figure.target else ""
        each = ", ".join(map(_number, values)) if len(values) > 1 else ""
        lines.append(
            f"  {figure.name:<44}{_number(figure.value):>10}  {figure.target:<9}{verdict:<9}{each}"
        )
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float) -> str:
    """Three digits or more; whole numbers as such."""
    if abs(value) >= 1000 or value == int(value if math.isfinite(value) else 0):
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
