"""`GRURegressor`: numbers of a row in, one number out, both in the units of the table.

The statistics that standardise are buffers, and so inside the exported graph. A row is one step of
a GRU from a state of zeros: the gates weigh what the row says, and the recurrent matrix, which
would multiply the zeros, has no effect. No unit sees another then, so one wide layer holds an
ensemble of small networks, and all of them cost one node.

Nothing here looks across rows, and every sum runs over the last axis in whole packets of four: a
row gets the same bits alone and in any batch.

Shapes: B batch, F features, M members, N hidden units of a member.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.gru import GRULayer
from training.regression.config import NetworkConfig

# Standard deviations up to which a feature acts in proportion; beyond, by its logarithm. Without
# it, the gates of a row far out would be differences of huge numbers, whose last digits are noise.
USUAL = 8.0


class GRURegressor(nn.Module):
    """The mean of `members` small networks, each of one GRU step and a linear way out."""

    mean: Tensor  # [F] of the training rows
    inverse: Tensor  # [F] 1 / standard deviation; 0 for a feature that never differs
    target_mean: Tensor  # []
    target_scale: Tensor  # [] standard deviation

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.recurrent = GRULayer(
            config.features, config.members * config.hidden, config.convention
        )
        spread = 0.5 / config.hidden**0.5
        self.out = nn.Parameter(spread * torch.randn(config.members, config.hidden))
        self.bias = nn.Parameter(torch.zeros(config.members))
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("inverse", torch.ones(config.features))
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("target_scale", torch.ones(()))

    def measure(self, features: NDArray[np.float64], targets: NDArray[np.float64]) -> None:
        """Take the statistics of the training rows, [B, F] and [B], as float32 holds the rows.

        A feature that never differs in training says nothing, whatever it is later.
        """
        seen = features.astype(np.float32).astype(np.float64)
        differs = np.ptp(seen, axis=0) > 0
        spread = np.where(differs, seen.std(0), 1.0)
        self.mean.copy_(torch.from_numpy(seen.mean(0)))
        self.inverse.copy_(torch.from_numpy(np.where(differs, 1.0 / spread, 0.0)))
        self.target_mean.fill_(float(targets.mean()))
        self.target_scale.fill_(float(targets.std()))

    def forward(self, features: Tensor) -> Tensor:
        """features [B, F] float32 in units of the table -> prediction [B] in units of the target.

        Where the features are far from all training rows, the prediction is what it comes to:
        nothing clips it.
        """
        mean = self.members(self.standardise(features)).mean(-1)
        return self.target_mean + self.target_scale * mean

    def standardise(self, features: Tensor) -> Tensor:
        """Standard deviations from the mean [B, F], compressed far out.

        One float holds the mean: its rounding moves all rows alike, in training too, and so takes
        nothing from what tells them apart.
        """
        deviations = (features - self.mean) * self.inverse
        return USUAL * torch.asinh(deviations / USUAL)

    def members(self, standard: Tensor) -> Tensor:
        """Standardised rows [B, F] -> what each member says [B, M], in units of target_scale."""
        step = torch.ones(standard.shape[0], dtype=torch.int64, device=standard.device)
        _, state = self.recurrent(standard.unsqueeze(1), step)
        own = state.view(-1, self.config.members, self.config.hidden)
        answers: Tensor = (own * self.out).sum(-1) + self.bias
        return answers
