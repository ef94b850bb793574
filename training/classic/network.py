"""`RolledForecaster`: a one-step GRU, rolled forward over its own forecasts inside the graph.

Each forecast is a GRU of its own over the window before it, from a state of zeros, because that is
how the step is trained. The graph has one GRU node for each step of the horizon.

The scale is two constants, the least and the largest training value. So the answer to a series of
another size is finite, but it is not scaled with the series: the gates are then saturated.

Shapes: B batch, C context steps, W window, H horizon steps, N hidden units.
"""

import torch
from torch import Tensor, nn

from training.classic.protocol import Protocol
from training.gru import Convention, GRULayer
from training.layers.scaling import known_or_zero


class RolledForecaster(nn.Module):
    """The next step of a window, as often as the horizon asks."""

    low: Tensor  # [] data units, scaled to -1
    high: Tensor  # [] data units, scaled to 1

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.window, self.horizon = protocol.window, protocol.horizon
        self.register_buffer("low", torch.tensor(-1.0))
        self.register_buffer("high", torch.tensor(1.0))
        self.recurrent = GRULayer(1, protocol.hidden, Convention.RESET_AFTER)
        self.out = nn.Linear(protocol.hidden, 1)

    @property
    def unit(self) -> Tensor:
        """Data units of one unit of the scaled values: []."""
        return (self.high - self.low) / 2

    @property
    def layers(self) -> list[Convention]:
        """The GRU nodes of the graph."""
        return [self.recurrent.convention] * self.horizon

    def measure(self, values: Tensor) -> None:
        """Take the scale from the training values [M] in data units."""
        self.low.copy_(values.min())
        self.high.copy_(values.max())

    def scale(self, values: Tensor) -> Tensor:
        """Data units -> [-1, 1] for what lies in the range of the training values."""
        return (values - self.low) / self.unit - 1.0

    def forward(self, context: Tensor, lengths: Tensor) -> Tensor:
        """Forecast the `horizon` steps after each row's last valid step.

        A missing value of the newest W, and what lies before the start of a shorter row, becomes
        the mean of the known ones; where none is known, the middle of the training range.

        Args:
            context: [B, C] float32 in data units, NaN = missing, right-padded.
            lengths: [B] int64, 1..C.

        Returns:
            the forecasts as quantiles of one level [B, H, 1], in data units.
        """
        newest = torch.arange(-self.window, 0, device=lengths.device)
        scaled = self.scale(_values_at(context, lengths.unsqueeze(1) + newest))
        window = torch.where(torch.isnan(scaled), _mean_known(scaled), scaled)  # [B, W]
        made = []
        for _ in range(self.horizon):
            made.append(self.following(window))
            window = torch.cat([window[:, 1:], made[-1]], -1)
        return ((torch.cat(made, -1) + 1.0) * self.unit + self.low).unsqueeze(-1)

    def following(self, window: Tensor) -> Tensor:
        """The step after each window [B, W], scaled: [B, 1].

        A product with one column is rounded in another order in other batches; a sum over the last
        axis is not.
        """
        steps = torch.full_like(window[:, 0], self.window, dtype=torch.int64)
        _, state = self.recurrent(window.unsqueeze(-1), steps)
        following: Tensor = (state * self.out.weight).sum(-1, keepdim=True) + self.out.bias
        return following


def _values_at(values: Tensor, position: Tensor) -> Tensor:
    """values [B, C] at position [B, K]: [B, K], NaN before the start."""
    return torch.where(position >= 0, values.gather(1, position.clamp(min=0)), torch.nan)


def _mean_known(x: Tensor) -> Tensor:
    """Mean over the last axis of what is not NaN, 0 where nothing is. [..., K] -> [..., 1].

    Batch-invariant where K is a multiple of `PACKET`, as the padded contexts of the service are.
    """
    count = (~torch.isnan(x)).float().sum(-1, keepdim=True)
    return known_or_zero(x).sum(-1, keepdim=True) / count.clamp(min=1.0)
