"""Where a backtest cuts: one definition for what training may see and for what is forecast."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Origins:
    """So many cutoffs of each series, a step apart, the last one a horizon before the end."""

    horizon: int  # steps forecast from each cutoff
    windows: int = 1
    step: int = 0  # steps between cutoffs; 0 = the horizon, so that no step is forecast twice

    @property
    def test_steps(self) -> int:
        """The newest steps of every series, which no training may see."""
        return self.horizon + (self.windows - 1) * (self.step or self.horizon)

    def cutoffs(self, length: int) -> range:
        """The cutoffs of a series of this length, oldest first."""
        return range(length - self.test_steps, length - self.horizon + 1, self.step or self.horizon)
