"""`GRUForecaster`: raw values in, raw quantiles out.

Everything between a user's number and a forecast in the same units happens here, and so inside the
exported graph: the mask of missing values, the scale of each series, the seasonal base, the
recurrence, the quantile head and the way back to data units.

Nothing here may look across rows, and every reduction runs over the last axis: that is what makes
a series get the same bits alone and in any batch (ONNX Runtime reduces other axes, `Log` and
`Softplus` in an order that depends on the neighbours).

Shapes: B batch, C context steps, S recurrent steps, P patch, F features, N hidden units,
H horizon steps, Q quantile levels.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.config import NetworkConfig
from training.gru import GRULayer

# A series whose steps never change has no scale of its own; one ten-thousandth of its magnitude
# keeps its forecast finite and its interval tight.
SMALLEST_SCALE = 1e-4
OTHERS = 3  # what the base may move towards: last value, mean of the seasons, mean of the context
FEATURES = 4  # value, seasonal change, and whether each of the two is known


class Scaled(NamedTuple):
    """A batch of series in units of their own; NaN = missing, also in the padding."""

    values: Tensor  # [B, C] within [-1, 1]
    change: Tensor  # [B, C] difference to the value one season earlier
    last: Tensor  # [B, 1] the newest observed value, 0 when there is none
    magnitude: Tensor  # [B, 1] largest absolute value, data units; 0 for an all-zero series
    scale: Tensor  # [B, 1] typical seasonal change, in units of magnitude


class Base(NamedTuple):
    """What a forecast starts from, in units of magnitude."""

    seasonal: Tensor  # [B, H] the seasonal-naive forecast
    others: Tensor  # [B, H, 3] last value, mean over the newest seasons, mean of the context
    change: Tensor  # [B, H] asinh of the newest seasonal change in units of scale, 0 if unknown


class GRUForecaster(nn.Module):
    """All horizon steps at once from the final state of a GRU over the context."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        sizes = [FEATURES * config.patch] + [config.hidden] * config.layers
        self.recurrent = nn.ModuleList(
            GRULayer(inputs, hidden, config.convention) for inputs, hidden in pairwise(sizes)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = QuantileHead(config)

    def forward(self, context: Tensor, lengths: Tensor) -> Tensor:
        """Forecast the `horizon` steps after each row's last valid step.

        Args:
            context: [B, C] float32 in data units, NaN = missing, right-padded.
            lengths: [B] int64, the number of valid steps in each row, 1..C.

        Returns:
            quantiles [B, H, Q] in data units, non-decreasing along Q.
        """
        scaled = self.rescale(context, lengths)
        base = self.base(scaled, lengths)
        state = self.encode(self.features(scaled), lengths)  # [B, N]
        residual, gates = self.head(state, base.change)  # [B, H, Q], [B, H, 3]
        moves = gates * (base.others - base.seasonal.unsqueeze(-1))
        start = base.seasonal + moves.sum(-1)  # [B, H]
        quantiles: Tensor = start.unsqueeze(-1) + residual * scaled.scale.unsqueeze(-1)
        return quantiles * scaled.magnitude.unsqueeze(-1)

    def rescale(self, context: Tensor, lengths: Tensor) -> Scaled:
        """Measure each row: its magnitude, then its typical change over one season.

        The scale is the mean absolute seasonal difference (the denominator of MASE); before a
        season has passed, the mean absolute distance to the last value.
        """
        position = torch.arange(context.shape[1], device=context.device).unsqueeze(0)  # [1, C]
        observed = (position < lengths.unsqueeze(1)) & ~torch.isnan(context)
        known = torch.where(observed, context, 0.0)
        magnitude = known.abs().amax(-1, keepdim=True)  # [B, 1]
        known = known / torch.where(magnitude > 0, magnitude, 1.0)
        newest = torch.where(observed, position, 0).amax(-1, keepdim=True)
        last = known.gather(1, newest)
        values = torch.where(observed, known, torch.nan)
        change = values - self._seasons_earlier(values, position, 1)
        scale = torch.where(
            torch.isnan(change).all(-1, keepdim=True),
            _mean_known((values - last).abs()),
            _mean_known(change.abs()),
        )
        return Scaled(values, change, last, magnitude, scale.clamp(min=SMALLEST_SCALE))

    def base(self, scaled: Scaled, lengths: Tensor) -> Base:
        """The seasonal-naive forecast (last value for seasonality 1), and what else could serve.

        A missing value is replaced by the one a season earlier, `base_seasons` deep, then by the
        last observed value.
        """
        config = self.config
        step = torch.arange(config.horizon, device=lengths.device) % config.seasonality  # [H]
        future = lengths.unsqueeze(1) + step
        earlier = [
            self._seasons_earlier(scaled.values, future, back)
            for back in range(1, config.base_seasons + 1)
        ]
        seasonal = scaled.last
        for values in reversed(earlier):
            seasonal = torch.where(torch.isnan(values), seasonal, values)
        seasons = torch.stack(earlier, -1)  # [B, H, base_seasons]
        unknown = torch.isnan(seasons).all(-1)
        mean = torch.where(unknown, scaled.last, _mean_known(seasons).squeeze(-1))
        level = _mean_known(scaled.values)
        others = torch.stack([part.expand_as(mean) for part in (scaled.last, mean, level)], -1)
        change = torch.asinh((earlier[0] - earlier[1]) / scaled.scale)
        return Base(seasonal, others, _known_or_zero(change))

    def features(self, scaled: Scaled) -> Tensor:
        """What the recurrence sees at each step: [B, C, F].

        The value relative to the last observed one and its seasonal change, both in units of scale
        and squashed by asinh against heavy tails, and whether each is known.
        """
        level = torch.asinh((scaled.values - scaled.last) / scaled.scale)
        change = torch.asinh(scaled.change / scaled.scale)
        features = torch.stack([level, change], -1)  # [B, C, 2]
        return torch.cat([_known_or_zero(features), (~torch.isnan(features)).float()], -1)

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Final state of the last layer [B, N], each row at its own last patch."""
        x, steps = self._patches(features, lengths)
        final = x[:, 0]
        for layer in self.recurrent:
            x, final = layer(x, steps)
            x, final = self.dropout(x), self.dropout(final)
        return final

    def _patches(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Group P steps into one recurrent step, aligned so that each row's last patch is full.

        Returns [B, S, P * F] and the number of valid patches of each row [B].
        """
        patch = self.config.patch
        if patch == 1:
            return features, lengths
        steps = (lengths + patch - 1) // patch
        padded = (features.shape[1] + patch - 1) // patch * patch
        at = torch.arange(padded, device=lengths.device).unsqueeze(0)
        at = at - (steps * patch - lengths).unsqueeze(1)  # [B, S * P]
        index = at.clamp(min=0).minimum(lengths.unsqueeze(1) - 1).unsqueeze(-1)
        aligned = features.gather(1, index.expand(-1, -1, FEATURES))
        aligned = torch.where((at >= 0).unsqueeze(-1), aligned, 0.0)
        return aligned.reshape(features.shape[0], -1, patch * FEATURES), steps

    def _seasons_earlier(self, values: Tensor, position: Tensor, back: int) -> Tensor:
        """values [B, C], `back` seasons before position [B, K]: [B, K], NaN before the start."""
        at = (position - back * self.config.seasonality).expand(values.shape[0], -1)
        return torch.where(at >= 0, values.gather(1, at.clamp(min=0)), torch.nan)


class QuantileHead(nn.Module):
    """Gates on the base, a centre per step, and positive gaps, so that levels cannot cross."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.horizon = config.horizon
        self.levels = len(config.quantile_levels)
        self.centre = min(range(self.levels), key=lambda k: abs(config.quantile_levels[k] - 0.5))
        self.hidden = nn.Linear(config.hidden + config.horizon, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.gates = nn.Linear(config.hidden, config.horizon * OTHERS)
        self.out = nn.Linear(config.hidden, config.horizon * self.levels)
        for layer in (self.gates, self.out):  # untrained, it is the seasonal-naive forecast
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, state: Tensor, base_change: Tensor) -> tuple[Tensor, Tensor]:
        """State [B, N] and the base's change [B, H] -> what to add to the base and how to move it.

        Returns:
            residual quantiles [B, H, Q] in units of scale, sorted along Q; gates [B, H, 3], how far
            to go from the seasonal base towards each of the others.
        """
        hidden = self.dropout(torch.tanh(self.hidden(torch.cat([state, base_change], -1))))
        gates = self.gates(hidden).view(-1, self.horizon, OTHERS)
        raw = self.out(hidden).view(-1, self.horizon, self.levels)
        centre = raw[..., self.centre : self.centre + 1]
        gaps = _positive(raw) / self.levels
        below = gaps[..., : self.centre].flip(-1).cumsum(-1).flip(-1)
        above = gaps[..., self.centre + 1 :].cumsum(-1)
        return torch.cat([centre - below, centre, centre + above], -1), gates


def _positive(x: Tensor) -> Tensor:
    """(x + sqrt(x^2 + 1)): smooth, positive, 1 at 0, and batch-invariant where softplus is not."""
    return x + torch.sqrt(x * x + 1.0)


def _known_or_zero(x: Tensor) -> Tensor:
    """NaN -> 0."""
    return torch.where(torch.isnan(x), 0.0, x)


def _mean_known(x: Tensor) -> Tensor:
    """Mean over the last axis of what is not NaN, 0 where nothing is. [B, C] -> [B, 1]."""
    count = (~torch.isnan(x)).float().sum(-1, keepdim=True)
    return _known_or_zero(x).sum(-1, keepdim=True) / count.clamp(min=1.0)
