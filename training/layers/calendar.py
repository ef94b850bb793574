"""Where a step lies in the cycles of the calendar, computed inside the graph from integer time.

Whole-number arithmetic only, so training, ONNX Runtime and any other runtime agree to the bit. The
way from days to month and day is that of the proleptic Gregorian calendar with years that begin in
March, so that the leap day is the last of its year: H. Hinnant, chrono-Compatible Low-Level Date
Algorithms (2013).

Shapes: B batch, K steps, N size of a learned vector.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import reduce

import torch
from torch import Tensor, nn

DAY = 86_400  # seconds
_DAYS_BEFORE_1970 = 719_468  # since 0000-03-01
_DAYS_OF_400_YEARS = 146_097


class Cycle(StrEnum):
    """A cycle of the calendar; its phases count from 0."""

    TIME_OF_DAY = "time_of_day"  # quarters of an hour
    DAY_OF_WEEK = "day_of_week"  # Monday first
    DAY_OF_MONTH = "day_of_month"
    MONTH = "month"

    @property
    def phases(self) -> int:
        """How many there are."""
        return {"time_of_day": 96, "day_of_week": 7, "day_of_month": 31, "month": 12}[self]


class Calendar(nn.Module):
    """The sum of one learned vector per cycle, for the phase that a step has in it."""

    def __init__(self, cycles: Sequence[Cycle], size: int) -> None:
        super().__init__()
        self.cycles = tuple(cycles)
        self.vectors = nn.ModuleList(nn.Embedding(cycle.phases, size) for cycle in cycles)
        for table in self.vectors:
            nn.init.normal_(table.weight, std=0.1)  # type: ignore[arg-type]

    def forward(self, timestamps: Tensor) -> Tensor:
        """timestamps [B, K] int64, seconds since 1970 -> [B, K, N]."""
        found = phases(timestamps)
        vectors = [table(found[at]) for at, table in zip(self.cycles, self.vectors, strict=True)]
        total: Tensor = reduce(torch.add, vectors)  # one by one: the same order for every row
        return total


def phases(timestamps: Tensor) -> dict[Cycle, Tensor]:
    """Seconds since 1970 (years 1 to 9999) -> the phase in every cycle, each of the same shape."""
    since = timestamps + _DAYS_BEFORE_1970 * DAY  # positive, so division rounds down
    days = _over(since, DAY)
    of_era = days - _over(days, _DAYS_OF_400_YEARS) * _DAYS_OF_400_YEARS
    leap_days = _over(of_era, 1460) - _over(of_era, 36_524) + _over(of_era, 146_096)
    year = _over(of_era - leap_days, 365)
    day = of_era - (365 * year + _over(year, 4) - _over(year, 100))
    month = _over(5 * day + 2, 153)  # from March
    return {
        Cycle.TIME_OF_DAY: _over(since - days * DAY, 900),
        Cycle.DAY_OF_WEEK: _rest(days + 2, 7),  # 0000-03-01 was a Wednesday
        Cycle.DAY_OF_MONTH: day - _over(153 * month + 2, 5),
        Cycle.MONTH: _rest(month + 2, 12),
    }


def _over(x: Tensor, divisor: int) -> Tensor:
    """x // divisor for x >= 0: one integer division, where the exporter would go through floats."""
    if torch.onnx.is_in_onnx_export():
        quotient: Tensor = torch.onnx.ops.symbolic(
            "Div", (x, torch.tensor(divisor)), dtype=torch.int64, shape=x.shape, version=20
        )
        return quotient
    return torch.div(x, divisor, rounding_mode="floor")


def _rest(x: Tensor, divisor: int) -> Tensor:
    return x - _over(x, divisor) * divisor
