"""Questions that were answered, asked once more of another version, and the answers compared.

Nobody waits for it and nobody sees it: it begins after the answer, with a deadline so far away that
every request goes first, one at a time, and not at all while anybody waits for a lane. It costs
others at most the one batch that runs when they come. Texts are not compared: from the first other
token on, they are two stories.

Shape letters: B series, Q quantile levels, H horizon steps.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.contract.metadata import Array
from service.engine.batcher import Batcher
from service.forecasting.inquiry import Series
from service.repository.live import AnyModel, Repository
from service.telemetry import version_metrics

PATIENCE_S = 600.0  # of a comparison: far behind the deadline of any caller

log = logging.getLogger("gatecast")

Levels = tuple[float, ...]
Again = Callable[[AnyModel], Awaitable[float]]  # by the shadow: the mean difference


class Incomparable(Exception):
    """Two answers that have nothing in common."""


class Shadow:
    """Compares a share of the answers, while there is time. On the event loop."""

    def __init__(self, repository: Repository, batcher: Batcher) -> None:
        self._repository = repository
        self._batcher = batcher
        self._owed: dict[str, float] = {}  # percent, by model: at 100, one is compared
        self._task: asyncio.Task[None] | None = None

    def offer(self, model: AnyModel, again: Again) -> None:
        """A question has been answered by this model; perhaps it is asked again."""
        found = self._repository.shadow_of(model)
        if found is None:
            return
        shadow, share = found
        name = model.metadata.name
        owed = self._owed.get(name, 0.0) + share
        self._owed[name] = owed % 100.0
        if owed < 100.0:
            return
        if self._task is not None or self._batcher.waiting_rows:
            version_metrics.observe_shadow(name, shadow.metadata.version, "dropped")
            return
        self._task = asyncio.get_running_loop().create_task(self._compare(shadow, again))

    async def _compare(self, shadow: AnyModel, again: Again) -> None:
        of = (shadow.metadata.name, shadow.metadata.version)
        try:
            difference = await again(shadow)
        except Exception as error:  # whatever it is, it is the shadow's own
            log.debug("shadow %s@%s: %s: %s", *of, type(error).__name__, error)
            version_metrics.observe_shadow(*of, "failed")
        else:
            version_metrics.observe_shadow(*of, "compared", difference)
        finally:
            self._task = None


def forecasts_apart(
    ours: NDArray[np.float32],
    theirs: NDArray[np.float32],
    levels: tuple[Levels, Levels],
    many: Sequence[Series],
    context_length: int,
) -> float:
    """How far two forecasts [B, Q, H] are apart, in units of how far each series itself varies.

    That is the mean absolute distance of its newest values from their mean; where all are equal, it
    is their magnitude. Only the levels and steps that both have are compared.

    Args:
        levels: the quantile levels of each.

    Raises:
        Incomparable: they have none in common.
    """
    common = [level for level in levels[0] if level in levels[1]]
    steps = min(ours.shape[2], theirs.shape[2])
    if not common:
        raise Incomparable(f"quantile levels {levels[0]} and {levels[1]}")
    mine = ours[:, [levels[0].index(level) for level in common], :steps]
    other = theirs[:, [levels[1].index(level) for level in common], :steps]
    units = [_spread(series.target[-context_length:]) for series in many]
    return _mean_apart(mine, other, np.array(units))


def tensors_apart(ours: Array, theirs: Array) -> float:
    """How far two answers [B, ...] are apart, in units of the mean magnitude of each row of ours.

    Raises:
        Incomparable: they are of other shapes.
    """
    if ours.shape != theirs.shape:
        raise Incomparable(f"shapes {ours.shape} and {theirs.shape}")
    return _mean_apart(ours, theirs, np.abs(ours, dtype=np.float64).reshape(len(ours), -1).mean(1))


def _mean_apart(ours: Array, theirs: Array, units: NDArray[np.float64]) -> float:
    rows = np.abs(ours.astype(np.float64) - theirs).reshape(len(ours), -1).mean(axis=1)
    return float((rows / np.where(units > 0, units, 1.0)).mean())


def _spread(target: NDArray[np.float64]) -> float:
    known = target[~np.isnan(target)]
    return float(np.abs(known - known.mean()).mean() or np.abs(known).mean())
