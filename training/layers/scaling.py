"""A batch of series in units of their own, and the arithmetic of what is known of them.

Shapes: B batch, C context steps, K any number of steps.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from service.contract.buckets import PACKET

# A series whose steps never change has no scale of its own; one ten-thousandth of its magnitude
# keeps its forecast finite and its interval tight.
SMALLEST_SCALE = 1e-4


class Scaled(NamedTuple):
    """A batch of series in units of their own; the middle axis makes room for the horizon's."""

    values: Tensor  # [B, 1, R + C] within [-1, 1]; NaN = missing, as before the start and behind
    moves: Tensor  # [B, 2, C] from the newest value, and from one season earlier; 0 where unknown
    known: Tensor  # [B, 2, C] 1.0 where a move is known, 0.0 elsewhere
    last: Tensor  # [B, 1, 1] the newest observed value, 0 when there is none
    level: Tensor  # [B, 1, 1] the mean of the observed values
    magnitude: Tensor  # [B, 1, 1] largest absolute value, data units; 0 for an all-zero series
    scale: Tensor  # [B, 1, 1] typical seasonal change, in units of magnitude


def rescale(context: Tensor, lengths: Tensor, seasonality: int, reach: int) -> Scaled:
    """Measure each row: its magnitude, then its typical change over one season.

    The scale is the mean absolute seasonal difference (the denominator of MASE); before a season
    has passed, the mean absolute distance to the last value.

    What is counted, zeroed or masked once is used wherever it is needed again: an exported graph is
    run node by node, and for a single row most nodes cost more than their arithmetic.

    Args:
        context: [B, C] float32 in data units, NaN = missing, right-padded.
        lengths: [B] int64.
        reach: R, missing steps to put before the first, at least a season.
    """
    context = context.unsqueeze(1)  # [B, 1, C]
    position = torch.arange(context.shape[-1], device=context.device)  # [C]
    missing = torch.isnan(torch.where(position < lengths.view(-1, 1, 1), context, torch.nan))
    filled = torch.where(missing, 0.0, context)
    magnitude = filled.abs().amax(-1, keepdim=True)
    filled = filled / torch.where(magnitude > 0, magnitude, 1.0)
    newest = torch.where(missing, 0, position).amax(-1, keepdim=True)
    last = filled.gather(-1, newest)
    values = torch.where(missing, torch.nan, filled)
    reaching = pad(values, (reach, 0), value=torch.nan)
    earlier = reaching[..., reach - seasonality : -seasonality]
    moves = torch.cat([values - last, values - earlier], 1)
    unknown = torch.isnan(moves)
    known = torch.where(unknown, 0.0, 1.0)
    moves = torch.where(unknown, 0.0, moves)
    counts = known.sum(-1, keepdim=True)  # [B, 2, 1]
    sizes = moves.abs().sum(-1, keepdim=True) / counts.clamp(min=1.0)
    since_last, seasonal = sizes.chunk(2, 1)
    values_known, seasons_known = counts.chunk(2, 1)
    scale = torch.where(seasons_known > 0, seasonal, since_last).clamp(min=SMALLEST_SCALE)
    level = filled.sum(-1, keepdim=True) / values_known.clamp(min=1.0)
    return Scaled(reaching, moves, known, last, level, magnitude, scale)


def aligned(size: int) -> int:
    """The next whole number of packets, so that a sum over so many has one order in every batch."""
    return -(-size // PACKET) * PACKET


def known_or_zero(x: Tensor) -> Tensor:
    """NaN -> 0."""
    return torch.where(torch.isnan(x), 0.0, x)


def with_mask(x: Tensor) -> Tensor:
    """Values [..., F] with NaN -> the values or 0, then whether each is known: [..., 2 F]."""
    return torch.cat([known_or_zero(x), torch.where(torch.isnan(x), 0.0, 1.0)], -1)
