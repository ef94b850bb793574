"""Panel -> (context, horizon) windows. Splits by time: nothing after a cutoff enters an input.

The newest steps of every series are the test and appear in no window here. A few horizons before
them are for validation where the panel can spare them; all earlier cutoffs are training.
The panel stays one flat tensor and windows are gathered from it, so a million windows cost no more
memory than the data.

A cutoff is the number of steps seen: the context ends just before it, the target begins at it.
Shapes: B batch, C context steps, H horizon steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.config import NetworkConfig
from training.data import InvalidTable, Panel
from training.origins import Origins

# With fewer validation windows their loss is noise: on the airline series alone, stopping early by
# its one window gave 0.88 of seasonal naive's error for 1959 where the whole schedule gave 0.33.
FEWEST_JUDGES = 32
MOST_SPARED = 0.25  # share of the shortest history that may be kept from training for validation


@dataclass(frozen=True)
class Batch:
    """Windows as the network takes them."""

    context: Tensor  # [B, C] float32, right-padded, NaN = missing
    lengths: Tensor  # [B] int64
    target: Tensor  # [B, H] float32, NaN = missing


@dataclass(frozen=True)
class Windows:
    """Windows at every `stride`-th cutoff from a first one to a last one of each series."""

    values: Tensor  # all series one after another, float32
    starts: Tensor  # [N] where each series begins in `values`
    first: Tensor  # [N] first cutoff, steps from the start of the series
    ends: Tensor  # [N] cumulative number of windows, so window k belongs to the first end > k
    stride: int  # steps between cutoffs
    context_length: int
    horizon: int

    def __len__(self) -> int:
        return int(self.ends[-1])

    def gather(self, index: Tensor) -> Batch:
        """The windows of these numbers, 0 <= index < len(self)."""
        series = torch.searchsorted(self.ends, index, right=True)
        before = torch.where(series > 0, self.ends[series - 1], 0)
        cutoff = self.first[series] + (index - before) * self.stride  # [B]
        lengths = cutoff.clamp(max=self.context_length)
        origin = self.starts[series] + cutoff  # [B] position of the first target step
        step = torch.arange(self.context_length)
        at = (origin - lengths).unsqueeze(1) + step
        inside = step < lengths.unsqueeze(1)
        context = torch.where(inside, self.values[torch.where(inside, at, 0)], torch.nan)
        target = self.values[origin.unsqueeze(1) + torch.arange(self.horizon)]
        return Batch(context, lengths, target)

    def all(self) -> Batch:
        """Every window at once."""
        return self.gather(torch.arange(len(self)))


def split(panel: Panel, config: NetworkConfig, origins: Origins) -> tuple[Windows, Windows | None]:
    """Training windows, and validation windows (None where the panel cannot spare enough).

    Validation windows lie a horizon apart, as many per series as make `FEWEST_JUDGES` in total.

    Raises:
        InvalidTable: a series too short for one training window before its test.
    """
    horizon = config.horizon
    lengths = np.array([len(series.target) for series in panel.series])
    needed = horizon + origins.test_steps + 1
    short = np.flatnonzero(lengths < needed)
    if short.size:
        item = panel.series[short[0]]
        raise InvalidTable(
            f"item {item.item_id!r} has {len(item.target)} steps; a horizon of {horizon} needs at "
            f"least {needed} ({horizon} to learn from, {origins.test_steps} to be tested on); "
            f"{short.size} of {len(lengths)} items are too short: drop them or shorten --horizon"
        )
    values, starts = _flat(panel)
    known = lengths - origins.test_steps
    spared = -(-FEWEST_JUDGES // len(lengths)) * horizon  # steps of each series
    judged = spared <= MOST_SPARED * known.min()
    end = known - spared if judged else known  # training targets end here
    last = end - horizon
    first = np.minimum(config.seasonality + 1, last)
    training = _windows(values, starts, first, last, 1, config)
    if not judged:
        return training, None
    return training, _windows(values, starts, end, known - horizon, horizon, config)


def _flat(panel: Panel) -> tuple[Tensor, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    lengths: Sequence[int] = [len(series.target) for series in panel.series]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    flat = np.concatenate([series.target for series in panel.series]).astype(np.float32)
    return torch.from_numpy(flat), starts


def _windows(
    values: Tensor,
    starts: np.ndarray[tuple[int], np.dtype[np.int64]],
    first: np.ndarray[tuple[int], np.dtype[np.int64]],
    last: np.ndarray[tuple[int], np.dtype[np.int64]],
    stride: int,
    config: NetworkConfig,
) -> Windows:
    return Windows(
        values=values,
        starts=torch.from_numpy(starts),
        first=torch.from_numpy(first.astype(np.int64)),
        ends=torch.from_numpy(np.cumsum((last - first) // stride + 1)),
        stride=stride,
        context_length=config.context_length,
        horizon=config.horizon,
    )
