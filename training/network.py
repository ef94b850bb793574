"""`GRUForecaster`: raw values in, raw quantiles out.

Everything between a user's number and a forecast in the same units happens here, and so inside the
exported graph: the mask of missing values, the scale of each series, the calendar, the covariates,
the seasonal base, the recurrence, the quantiles and the way back to data units.

Nothing here may look across rows, and every reduction runs over the last axis: that is what makes
a series get the same bits alone and in any batch (ONNX Runtime reduces other axes, `Log` and
`Softplus` in an order that depends on the neighbours).

Shapes: B batch, C context steps, H horizon steps, S recurrent steps, P patch, F features,
N hidden units, Q quantile levels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from service.contract.forecast import CATEGORIES, CONTEXT, KNOWN, LENGTHS, PAST, STATIC, TIMESTAMPS
from training.config import NetworkConfig
from training.gru import GRULayer
from training.layers import base
from training.layers.calendar import Calendar
from training.layers.covariates import Categories, Numbers
from training.layers.decoder import Decoder
from training.layers.scaling import Scaled, rescale
from training.windows import Flat

OF_TARGET = 4  # features of a past step: value, seasonal change, and whether each of them is known
OF_CALENDAR = 8  # features of a step's place in the calendar


class GRUForecaster(nn.Module):
    """All horizon steps at once from the final state of a GRU over the context."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.inputs = tuple(spec.name for spec in config.signature.inputs)
        wanted = config.covariates
        self.calendar = Calendar(config.calendar, OF_CALENDAR) if config.calendar else None
        self.known = Numbers(len(wanted.known)) if wanted.known else None
        self.past = Numbers(len(wanted.past)) if wanted.past else None
        self.static = Numbers(len(wanted.static)) if wanted.static else None
        self.from_static = nn.Linear(self.static.size, config.hidden) if self.static else None
        counts = tuple(len(category.values) for category in wanted.categories)
        self.categories = Categories(counts, config.hidden) if counts else None
        future = (OF_CALENDAR if config.calendar else 0) + 2 * len(wanted.known)
        self.features = OF_TARGET + future + 2 * len(wanted.past)
        sizes = [self.features * config.patch] + [config.hidden] * config.layers
        self.recurrent = nn.ModuleList(
            GRULayer(inputs, hidden, config.convention) for inputs, hidden in pairwise(sizes)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = Decoder(config, base.features(config) + future, base.alternatives(config))

    def measure(self, flat: Flat) -> None:
        """Take the statistics of the covariates from the training steps."""
        for numbers, values in (
            (self.past, flat.past),
            (self.known, flat.known),
            (self.static, flat.static),
        ):
            if numbers:
                numbers.measure(values)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Forecast the `horizon` steps after each row's last valid step.

        Args:
            inputs: the tensors of the signature, in its order. Always context [B, C] float32 in
                data units, NaN = missing, right-padded; and lengths [B] int64, 1..C.

        Returns:
            quantiles [B, H, Q] in data units, non-decreasing along Q.
        """
        given = dict(zip(self.inputs, inputs, strict=True))
        lengths = given[LENGTHS]
        scaled = self.rescale(given[CONTEXT], lengths)
        start = base.base(scaled, lengths, self.config)
        steps = self._of_steps(given)  # [B, C + H, F] or none
        past = [self._of_target(scaled), *(part[:, : -self.config.horizon] for part in steps)]
        if self.past:
            past.append(self.past(given[PAST]))
        state = self._with_series(self.encode(torch.cat(past, -1), lengths), given)  # [B, N]
        ahead = [start.features, *(self._horizon_of(part, lengths) for part in steps)]
        residual, gates = self.decoder(state, torch.cat(ahead, -1))  # [B, H, Q], [B, H, A]
        moves = gates * (start.alternatives - start.seasonal)
        moved = start.seasonal + moves.sum(-1, keepdim=True)  # [B, H, 1]
        quantiles: Tensor = moved + residual * scaled.scale
        return quantiles * scaled.magnitude

    def rescale(self, context: Tensor, lengths: Tensor) -> Scaled:
        """The context in units of each row; see `scaling.rescale`."""
        return rescale(context, lengths, self.config.seasonality, base.reach(self.config))

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features of the past [B, C, F] -> final state of the last layer [B, N]."""
        x, steps = self._patches(features, lengths)
        x, final = self.recurrent[0](x, steps)
        for layer in self.recurrent[1:]:
            x, final = layer(self.dropout(x), steps)
        state: Tensor = self.dropout(final)
        return state

    def _of_target(self, scaled: Scaled) -> Tensor:
        """Features of each past step [B, C, 4].

        The value relative to the last observed one and its seasonal change, both in units of scale
        and squashed by asinh against heavy tails, and whether each is known.
        """
        moves = torch.asinh(scaled.moves / scaled.scale)  # [B, 2, C]
        return torch.cat([moves, scaled.known], 1).transpose(1, 2)

    def _of_steps(self, given: dict[str, Tensor]) -> list[Tensor]:
        """What is known of past and future steps alike: parts of [B, C + H, F]."""
        parts = []
        if self.calendar:
            parts.append(self.calendar(given[TIMESTAMPS]))
        if self.known:
            parts.append(self.known(given[KNOWN]))
        return parts

    def _horizon_of(self, part: Tensor, lengths: Tensor) -> Tensor:
        """The H steps right behind each row's context: [B, C + H, F] -> [B, H, F]."""
        step = torch.arange(self.config.horizon, device=lengths.device)
        at = (lengths.unsqueeze(1) + step).unsqueeze(-1)
        return part.gather(1, at.expand(-1, -1, part.shape[-1]))

    def _with_series(self, state: Tensor, given: dict[str, Tensor]) -> Tensor:
        """The state, and what is known of the series as a whole."""
        if self.static and self.from_static:
            state = state + self.from_static(self.static(given[STATIC]))
        if self.categories:
            state = state + self.categories(given[CATEGORIES])
        return state

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
        aligned = features.gather(1, index.expand(-1, -1, self.features))
        aligned = torch.where((at >= 0).unsqueeze(-1), aligned, 0.0)
        return aligned.reshape(features.shape[0], -1, patch * self.features), steps
