"""A batch of series in units of their own, and the arithmetic of what is known of them.

Shapes: B batch, C context steps, K any number of steps.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from service.contract.buckets import PACKET

# A series whose steps never change has no scale of its own; one ten-thousandth of its magnitude
# keeps its forecast finite and its interval tight.
SMALLEST_SCALE = 1e-4


class Scaled(NamedTuple):
    """A batch of series in units of their own; NaN = missing, also in the padding."""

    values: Tensor  # [B, C] within [-1, 1]
    change: Tensor  # [B, C] difference to the value one season earlier
    last: Tensor  # [B, 1] the newest observed value, 0 when there is none
    magnitude: Tensor  # [B, 1] largest absolute value, data units; 0 for an all-zero series
    scale: Tensor  # [B, 1] typical seasonal change, in units of magnitude


def rescale(context: Tensor, lengths: Tensor, seasonality: int) -> Scaled:
    """Measure each row: its magnitude, then its typical change over one season.

    The scale is the mean absolute seasonal difference (the denominator of MASE); before a season
    has passed, the mean absolute distance to the last value.

    Args:
        context: [B, C] float32 in data units, NaN = missing, right-padded.
        lengths: [B] int64.
    """
    position = torch.arange(context.shape[1], device=context.device).unsqueeze(0)  # [1, C]
    observed = (position < lengths.unsqueeze(1)) & ~torch.isnan(context)
    known = torch.where(observed, context, 0.0)
    magnitude = known.abs().amax(-1, keepdim=True)  # [B, 1]
    known = known / torch.where(magnitude > 0, magnitude, 1.0)
    newest = torch.where(observed, position, 0).amax(-1, keepdim=True)
    last = known.gather(1, newest)
    values = torch.where(observed, known, torch.nan)
    change = values - values_at(values, (position - seasonality).expand(values.shape[0], -1))
    scale = torch.where(
        torch.isnan(change).all(-1, keepdim=True),
        mean_known((values - last).abs()),
        mean_known(change.abs()),
    )
    return Scaled(values, change, last, magnitude, scale.clamp(min=SMALLEST_SCALE))


def values_at(values: Tensor, position: Tensor) -> Tensor:
    """values [B, C] at position [B, K]: [B, K], NaN before the start."""
    return torch.where(position >= 0, values.gather(1, position.clamp(min=0)), torch.nan)


def aligned(size: int) -> int:
    """The next whole number of packets, so that a sum over so many has one order in every batch."""
    return -(-size // PACKET) * PACKET


def known_or_zero(x: Tensor) -> Tensor:
    """NaN -> 0."""
    return torch.where(torch.isnan(x), 0.0, x)


def with_mask(x: Tensor) -> Tensor:
    """Values [..., F] with NaN -> the values or 0, then whether each is known: [..., 2 F]."""
    return torch.cat([known_or_zero(x), (~torch.isnan(x)).float()], -1)


def mean_known(x: Tensor) -> Tensor:
    """Mean over the last axis of what is not NaN, 0 where nothing is. [..., K] -> [..., 1].

    Batch-invariant where K is a multiple of `PACKET`, as the padded contexts of the service are.
    """
    count = (~torch.isnan(x)).float().sum(-1, keepdim=True)
    return known_or_zero(x).sum(-1, keepdim=True) / count.clamp(min=1.0)
