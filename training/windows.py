"""Panel -> (context, horizon) windows. Splits by time: nothing after a cutoff enters an input.

The newest steps of every series are the test and appear in no window here. A few horizons before
them are for validation where the panel can spare them; all earlier cutoffs are training.
The panel stays a few flat tensors and windows are gathered from them, so a million windows cost no
more memory than the data.

A cutoff is the number of steps seen: the context ends just before it, the target begins at it.
Shapes: B batch, C context steps, H horizon steps, M steps of all series, N series, F features.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.contract.forecast import CATEGORIES, CONTEXT, KNOWN, LENGTHS, PAST, STATIC, TIMESTAMPS
from training.config import NetworkConfig
from training.data import InvalidTable, Panel
from training.origins import Origins

# With fewer validation windows their loss is noise: on the airline series alone, stopping early by
# its one window gave 0.88 of seasonal naive's error for 1959 where the whole schedule gave 0.33.
FEWEST_JUDGES = 32
MOST_SPARED = 0.25  # share of a series' history that may be kept from training for validation


@dataclass(frozen=True)
class Batch:
    """Windows as the network takes them."""

    inputs: tuple[Tensor, ...]  # the tensors of the signature, in its order
    target: Tensor  # [B, H] float32, NaN = missing


@dataclass(frozen=True)
class Flat:
    """What training may see of a panel: all series one after another, in data units."""

    target: Tensor  # [M] float32, NaN = missing
    starts: Tensor  # [N] where each series begins
    timestamps: Tensor  # [M] int64 seconds, or nothing without a calendar
    past: Tensor  # [M, F] float32, NaN = missing
    known: Tensor  # [M, F] float32, NaN = missing
    static: Tensor  # [N, F] float32, NaN = missing
    categories: Tensor  # [N, F] int64 codes, 0 = unknown

    @classmethod
    def of(cls, panel: Panel, lengths: NDArray[np.int64], config: NetworkConfig) -> Self:
        """The first steps of each series, as many as its length here says."""
        ends = np.cumsum(lengths)
        cut = list(zip(panel.series, lengths, strict=True))
        seconds = [np.empty(0, "M8[s]")]
        if config.calendar:
            seconds += [
                panel.frequency.timestamps(series.start, 0, int(length)).astype("M8[s]")
                for series, length in cut
            ]
        covariates = config.covariates
        codes = [covariates.codes(series.categories) for series in panel.series]
        return cls(
            target=_floats([series.target[:length] for series, length in cut]),
            starts=torch.from_numpy(ends - lengths),
            timestamps=torch.from_numpy(np.concatenate(seconds).astype(np.int64)),
            past=_floats([series.past[:length] for series, length in cut]),
            known=_floats([series.known[:length] for series, length in cut]),
            static=_floats([series.static[np.newaxis] for series in panel.series]),
            categories=torch.tensor(codes, dtype=torch.int64),
        )


@dataclass(frozen=True)
class Windows:
    """Windows at every `stride`-th cutoff from a first one to a last one of each series."""

    flat: Flat
    first: Tensor  # [N] first cutoff, steps from the start of the series
    ends: Tensor  # [N] cumulative number of windows, so window k belongs to the first end > k
    stride: int  # steps between cutoffs
    context_length: int
    horizon: int
    inputs: tuple[str, ...]  # names of the tensors of a batch

    def __len__(self) -> int:
        return int(self.ends[-1])

    def gather(self, index: Tensor) -> Batch:
        """The windows of these numbers, 0 <= index < len(self)."""
        flat = self.flat
        series = torch.searchsorted(self.ends, index, right=True)
        before = torch.where(series > 0, self.ends[series - 1], 0)
        cutoff = self.first[series] + (index - before) * self.stride  # [B]
        lengths = cutoff.clamp(max=self.context_length)
        origin = flat.starts[series] + cutoff  # [B] position of the first target step
        span = torch.arange(self.context_length + self.horizon, device=index.device)
        at = (origin - lengths).unsqueeze(1) + span  # [B, C + H]
        inside = span < (lengths + self.horizon).unsqueeze(1)
        at = torch.where(inside, at, 0)
        past = span[: self.context_length] < lengths.unsqueeze(1)  # [B, C]
        before_cutoff = at[:, : self.context_length]
        given = {
            CONTEXT: lambda: torch.where(past, flat.target[before_cutoff], torch.nan),
            LENGTHS: lambda: lengths,
            TIMESTAMPS: lambda: torch.where(inside, flat.timestamps[at], 0),
            PAST: lambda: torch.where(past.unsqueeze(-1), flat.past[before_cutoff], torch.nan),
            KNOWN: lambda: torch.where(inside.unsqueeze(-1), flat.known[at], torch.nan),
            STATIC: lambda: flat.static[series],
            CATEGORIES: lambda: flat.categories[series],
        }
        target = flat.target[origin.unsqueeze(1) + span[: self.horizon]]
        return Batch(tuple(given[name]() for name in self.inputs), target)

    def some(self, count: int) -> Batch:
        """At most so many windows, evenly spread over all."""
        count = min(count, len(self))
        return self.gather(torch.arange(count, device=self.ends.device) * len(self) // count)

    def to(self, device: torch.device) -> Self:
        """The same windows, gathered on a device."""
        flat = Flat(**{name: value.to(device) for name, value in vars(self.flat).items()})
        return replace(self, flat=flat, first=self.first.to(device), ends=self.ends.to(device))


def split(panel: Panel, config: NetworkConfig, origins: Origins) -> tuple[Windows, Windows | None]:
    """Training windows, and validation windows (None where the panel cannot spare enough).

    Validation windows lie a horizon apart; a series too short to spare one has none.

    Raises:
        InvalidTable: a series too short for one training window before its test.
    """
    horizon = config.horizon
    lengths = np.array([len(series.target) for series in panel.series])
    needed = horizon + origins.test_steps + 1
    short = np.flatnonzero(lengths < needed)
    if short.size:
        item = panel.series[short[0]]
        has = "1 step" if len(item.target) == 1 else f"{len(item.target)} steps"
        raise InvalidTable(
            f"item {item.item_id!r} has {has}; a horizon of {horizon} needs at "
            f"least {needed} ({horizon} to learn from, {origins.test_steps} to be tested on); "
            f"{short.size} of {len(lengths)} items are too short: drop them or shorten --horizon"
        )
    known = lengths - origins.test_steps
    flat = Flat.of(panel, known, config)
    end = known - _spared(known, horizon)  # training targets end here
    last = end - horizon
    first = np.minimum(config.seasonality + 1, last)
    training = _windows(flat, first, last, 1, config)
    if (end == known).all():
        return training, None
    return training, _windows(flat, end, known - horizon, horizon, config)


def _spared(known: NDArray[np.int64], horizon: int) -> NDArray[np.int64]:
    """Steps at the end of each series that are kept for validation: whole horizons, or none.

    As few for each as make enough windows in total; nothing where all together cannot.
    """
    most = (MOST_SPARED * known).astype(np.int64) // horizon  # windows that a series can spare
    for each in range(1, FEWEST_JUDGES + 1):
        spared = np.minimum(most, each)
        if spared.sum() >= FEWEST_JUDGES:
            return spared * horizon
    return np.zeros_like(known)


def _windows(
    flat: Flat,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    stride: int,
    config: NetworkConfig,
) -> Windows:
    return Windows(
        flat=flat,
        first=torch.from_numpy(first.astype(np.int64)),
        ends=torch.from_numpy(np.cumsum((last - first) // stride + 1)),
        stride=stride,
        context_length=config.context_length,
        horizon=config.horizon,
        inputs=tuple(spec.name for spec in config.signature.inputs),
    )


def _floats(parts: list[NDArray[np.float64]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))
