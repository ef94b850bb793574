"""How close two answers to the same input must be, in units of each row's own scale."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tolerance:
    """|expected - got| <= atol + rtol * |expected|, everything divided by the row's scale."""

    atol: float
    rtol: float

    def compare(
        self, expected: NDArray[np.float32], got: NDArray[np.float32], scale: NDArray[np.float32]
    ) -> "Difference":
        """Compare [B, ...] answers; scale [B] in data units, 0 for an all-zero series."""
        unit = np.where(scale > 0, scale, 1.0).astype(np.float64)
        unit = unit.reshape(-1, *[1] * (expected.ndim - 1))
        want = expected.astype(np.float64) / unit
        difference = np.abs(want - got.astype(np.float64) / unit)
        share = difference / (self.atol + self.rtol * np.abs(want))
        return Difference(float(difference.max(initial=0.0)), float(share.max(initial=0.0)))


@dataclass(frozen=True)
class Difference:
    """The largest disagreement between two answers."""

    worst: float  # in units of the row's scale
    share: float  # of what the tolerance allows there

    @property
    def acceptable(self) -> bool:
        """Whether every element is within the tolerance."""
        return self.share <= 1.0


# The CPU provider is as close to float64 as torch is. CUDA sums in another order.
TOLERANCES = {"cpu": Tolerance(2e-6, 1e-5), "cuda": Tolerance(1e-4, 1e-4)}
