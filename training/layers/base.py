"""What a forecast starts from: the values one, two, ... seasons before each step of the horizon.

A recurrent state recalls a value of 168 steps ago badly; here it is looked up. The forecast starts
as the seasonal-naive one, and the decoder learns how far to move it towards the alternatives.

Shapes: B batch, C context steps, H horizon steps, L lags, A alternatives.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from training.config import NetworkConfig
from training.layers.scaling import Scaled, aligned, mean_known, values_at, with_mask

AVERAGES = 3  # alternatives that are no lags: last value, mean of the seasons, mean of the context


class Base(NamedTuple):
    """In units of magnitude, but for the features."""

    seasonal: Tensor  # [B, H] the seasonal-naive forecast
    alternatives: Tensor  # [B, H, A] the averages, the older lags, then itself
    features: Tensor  # [B, H, F] lags and averages relative to the last value, squashed, and masks


def alternatives(config: NetworkConfig) -> int:
    """How many alternatives to the seasonal-naive forecast there are; itself, to fill a packet."""
    return aligned(AVERAGES + len(config.lags) - 1)


def features(config: NetworkConfig) -> int:
    """How many features of a step there are."""
    return 2 * len(config.lags) + AVERAGES


def base(scaled: Scaled, lengths: Tensor, config: NetworkConfig) -> Base:
    """Look up every lag of every step of the horizon.

    A missing seasonal value is replaced by the one a season earlier, then by the last observed one;
    any other lag that is missing by the seasonal value.
    """
    lags = _lags(scaled.values, lengths, config)  # [B, H, L]
    missing = torch.isnan(lags)
    newest = config.base_seasons  # the first lags are those of the season, newest first
    seasonal = scaled.last
    for back in reversed(range(newest)):
        seasonal = torch.where(missing[..., back], seasonal, lags[..., back])
    seasons = lags[..., :newest]
    none = missing[..., :newest].all(-1)
    packets = pad(seasons, (0, aligned(newest) - newest), value=torch.nan)
    mean = torch.where(none, scaled.last, mean_known(packets).squeeze(-1))
    level = mean_known(scaled.values)
    averages = torch.stack([part.expand_as(mean) for part in (scaled.last, mean, level)], -1)
    filled = torch.where(missing, seasonal.unsqueeze(-1), lags)
    last, scale = scaled.last.unsqueeze(-1), scaled.scale.unsqueeze(-1)
    moves = torch.cat([averages, filled[..., 1:]], -1)
    itself = seasonal.unsqueeze(-1).expand(-1, -1, alternatives(config) - moves.shape[-1])
    return Base(
        seasonal,
        torch.cat([moves, itself], -1),
        torch.cat(
            [with_mask(torch.asinh((lags - last) / scale)), torch.asinh((averages - last) / scale)],
            -1,
        ),
    )


def _lags(values: Tensor, lengths: Tensor, config: NetworkConfig) -> Tensor:
    """The value of every lag before every step: [B, H, L], NaN before the start of the context.

    A lag of k seasons reaches from the newest step that is a whole number of seasons before the
    forecast step and still observed.
    """
    step = torch.arange(config.horizon, device=values.device)
    offsets = torch.stack([step % season - season * back for season, back in config.lags], -1)
    position = lengths.unsqueeze(1) + offsets.flatten()  # [B, H * L]
    return values_at(values, position).view(-1, config.horizon, len(config.lags))
