"""From the state and what is known of each step to the quantiles of that step.

One small network for all steps of the horizon: a step is told apart by a learned vector of its
place, by a few signals that the state sends to it alone, and by what stands a season before it. A
long horizon then costs time but no weights.

Shapes: B batch, H horizon steps, F features of a step, N hidden units, A alternatives, Q levels.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from training.config import NetworkConfig


class Decoder(nn.Module):
    """Gates on the base, a centre per step, and positive gaps, so that levels cannot cross."""

    def __init__(self, config: NetworkConfig, features: int, alternatives: int) -> None:
        super().__init__()
        self.horizon, self.signals = config.horizon, config.signals
        self.alternatives = alternatives
        self.levels = len(config.quantile_levels)
        self.centre = min(range(self.levels), key=lambda k: abs(config.quantile_levels[k] - 0.5))
        hidden = config.hidden
        self.dropout = nn.Dropout(config.dropout)
        self.own = nn.Linear(hidden, config.horizon * config.signals)
        self.shared = nn.Linear(hidden, hidden)
        self.place = nn.Parameter(0.1 * torch.randn(config.horizon, hidden))
        self.local = nn.Linear(features + config.signals, hidden, bias=False)
        self.second = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, alternatives + self.levels)
        nn.init.zeros_(self.out.weight)  # untrained, it is the seasonal-naive forecast
        nn.init.zeros_(self.out.bias)

    def forward(self, state: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """State [B, N] and features of each step [B, H, F] -> what to add and how far to move.

        Returns:
            residual quantiles [B, H, Q] in units of scale, sorted along Q; gates [B, H, A], how far
            to go from the seasonal base towards each of the alternatives.
        """
        own = self.own(state).view(-1, self.horizon, self.signals)
        local = self.local(torch.cat([features, own], -1))
        x = self.dropout(silu(self.shared(state).unsqueeze(1) + self.place + local))  # [B, H, N]
        out = self.out(x + silu(self.second(x)))
        gates, raw = out[..., : self.alternatives], out[..., self.alternatives :]
        return self._around(raw[..., self.centre : self.centre + 1], _positive(raw)), gates

    def _around(self, centre: Tensor, gaps: Tensor) -> Tensor:
        """The centre [B, H, 1] less or plus the Q-th parts of all gaps [B, H, Q] to each level.

        In a graph that is one product: a node where slices, turns and sums were eight. Either way a
        level adds something positive to the sum of the one before it, so that none can cross.
        """
        if torch.onnx.is_in_onnx_export():
            return centre + gaps @ (_between(self.levels, self.centre) / self.levels)
        gaps = gaps / self.levels
        below = gaps[..., : self.centre].flip(-1).cumsum(-1).flip(-1)
        above = gaps[..., self.centre + 1 :].cumsum(-1)
        return torch.cat([centre - below, centre, centre + above], -1)


def _between(levels: int, centre: int) -> Tensor:
    """Where a gap lies between the centre and a level: 1 above it, -1 below it; [gaps, levels]."""
    gap, level = torch.arange(levels).unsqueeze(1), torch.arange(levels)
    above = (gap > centre) & (gap <= level)
    below = (gap < centre) & (gap >= level)
    return above.float() - below.float()


def _positive(x: Tensor) -> Tensor:
    """(x + sqrt(x^2 + 1)): smooth, positive, 1 at 0, and batch-invariant where softplus is not."""
    return x + torch.sqrt(x * x + 1.0)
