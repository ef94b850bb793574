"""A series of a panel at a cutoff, as the service would be told of it: `History`.

Offline and online forecasts start from the same thing, so a backtest measures what is served.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.contract.forecast import ForecastSignature
from service.contract.placement import History
from training.data import Panel, Series

Cutoff = tuple[Series, int]  # a series, and how many of its steps are seen


def at_cutoffs(
    panel: Panel, cutoffs: Sequence[Cutoff], signature: ForecastSignature
) -> list[History]:
    """What is known at each cutoff: nothing of the target after it.

    Known covariates that the panel does not hold over the horizon are missing.
    """
    length, horizon = signature.context_length, signature.horizon
    seconds = _seconds(panel, cutoffs, signature)
    found = []
    for row, (series, cutoff) in enumerate(cutoffs):
        begin = max(0, cutoff - length)
        codes = panel.covariates.codes(series.categories)
        found.append(
            History(
                target=series.target[begin:cutoff],
                timestamps=seconds[row, : cutoff - begin + horizon],
                past=series.past[begin:cutoff],
                known=_padded(series.known[begin : cutoff + horizon], cutoff - begin + horizon)
                if signature.covariates.known
                else None,
                static=series.static,
                categories=np.array(codes, np.int64),
            )
        )
    return found


def _seconds(
    panel: Panel, cutoffs: Sequence[Cutoff], signature: ForecastSignature
) -> NDArray[np.int64]:
    """Seconds since 1970 of the longest context and the horizon of each cutoff: [B, C + H]."""
    span = signature.context_length + signature.horizon
    if not signature.calendar:
        return np.zeros((len(cutoffs), span), np.int64)
    starts = np.array([series.start for series, _ in cutoffs], "datetime64[us]")
    seen = np.array([cutoff for _, cutoff in cutoffs], np.int64)
    begin = np.maximum(0, seen - signature.context_length)
    steps = panel.frequency.timestamps(starts, begin, span)
    return steps.astype("datetime64[s]").astype(np.int64)


def _padded(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    if len(values) == steps:
        return values
    missing = np.full((steps - len(values), values.shape[1]), np.nan)
    return np.concatenate([values, missing])
