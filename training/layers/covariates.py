"""Covariates inside the graph: standardised, masked where missing, unknown categories included.

Statistics come from the training steps and travel with the weights. A covariate that is not known
adds nothing but its mask, and the fit hides some at random, so a forecast without it is one the
network has practised.

Shapes: B batch, K steps, F numbers, N hidden units.
"""

from functools import reduce

import torch
from torch import Tensor, nn

from training.layers.scaling import known_or_zero, with_mask

# Share of series in a training batch that lose a covariate or a category. Enough to learn what to
# do without it, too little to blur what it says.
HIDDEN = 0.05


class Numbers(nn.Module):
    """Numeric covariates -> each in units of its own spread, squashed, and whether it is known."""

    mean: Tensor
    spread: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.size = 2 * count  # features of what comes out
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))

    def measure(self, values: Tensor) -> None:
        """Take the statistics from values [M, F]; NaN = missing."""
        values = values.double()
        count = (~torch.isnan(values)).sum(0).clamp(min=1)
        mean = known_or_zero(values).sum(0) / count
        variance = known_or_zero((values - mean) ** 2).sum(0) / count
        self.mean.copy_(mean)
        self.spread.copy_(torch.where(variance > 0, variance.sqrt(), 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """[B, F] or [B, K, F], NaN = missing -> twice as many features."""
        if self.training:
            shape = (values.shape[0], *[1] * (values.ndim - 2), values.shape[-1])
            values = torch.where(
                torch.rand(shape, device=values.device) < HIDDEN, torch.nan, values
            )
        return with_mask(torch.asinh((values - self.mean) / self.spread))


class Categories(nn.Module):
    """Static categories -> the sum of one learned vector each; code 0 is any unknown value."""

    def __init__(self, counts: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.vectors = nn.ModuleList(nn.Embedding(count + 1, size) for count in counts)

    def forward(self, codes: Tensor) -> Tensor:
        """codes [B, F] int64 -> [B, N]."""
        if self.training:
            shown = torch.rand(codes.shape, device=codes.device) >= HIDDEN
            codes = codes * shown
        vectors = [table(codes[:, at]) for at, table in enumerate(self.vectors)]
        total: Tensor = reduce(torch.add, vectors)  # one by one: the same order for every row
        return total
