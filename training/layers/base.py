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
from training.layers.scaling import Scaled, aligned

AVERAGES = 3  # alternatives that are no lags: last value, mean of the seasons, mean of the context


class Base(NamedTuple):
    """In units of magnitude, but for the features."""

    seasonal: Tensor  # [B, H, 1] the seasonal-naive forecast
    alternatives: Tensor  # [B, H, A] the averages, the older lags, then itself
    features: Tensor  # [B, H, F] lags and averages relative to the last value, squashed, and masks


def alternatives(config: NetworkConfig) -> int:
    """How many alternatives to the seasonal-naive forecast there are; itself, to fill a packet."""
    return aligned(AVERAGES + len(config.lags) - 1)


def features(config: NetworkConfig) -> int:
    """How many features of a step there are."""
    return 2 * len(config.lags) + AVERAGES


def reach(config: NetworkConfig) -> int:
    """How many steps before the forecast the furthest lag lies."""
    return max(season * back for season, back in config.lags)


def base(scaled: Scaled, lengths: Tensor, config: NetworkConfig) -> Base:
    """Look up every lag of every step of the horizon.

    A missing seasonal value is replaced by the one a season earlier, then by the last observed one;
    any other lag that is missing by the seasonal value.
    """
    lags = _lags(scaled.values, lengths, config)  # [B, H, L]
    missing = torch.isnan(lags)
    known = torch.where(missing, 0.0, 1.0)
    newest = config.base_seasons  # the first lags are those of the season, newest first
    lag, gap = (x.chunk(len(config.lags), -1) for x in (lags, missing))  # [B, H, 1] each
    seasonal = last = scaled.last
    for back in reversed(range(newest)):
        seasonal = torch.where(gap[back], seasonal, lag[back])
    count = known[..., :newest].sum(-1, keepdim=True)  # exact in any order
    seasons = torch.where(missing, 0.0, lags)[..., :newest]
    total = pad(seasons, (0, aligned(newest) - newest)).sum(-1, keepdim=True)
    mean = torch.where(count > 0, total / count.clamp(min=1.0), last)
    averages = torch.cat([last.expand_as(mean), mean, scaled.level.expand_as(mean)], -1)
    moves = torch.cat([averages, torch.where(missing, seasonal, lags)[..., 1:]], -1)
    itself = seasonal.expand(-1, -1, alternatives(config) - moves.shape[-1])
    relative = torch.where(missing, 0.0, torch.asinh((lags - last) / scaled.scale))
    features = [relative, known, torch.asinh((averages - last) / scaled.scale)]
    return Base(seasonal, torch.cat([moves, itself], -1), torch.cat(features, -1))


def _lags(values: Tensor, lengths: Tensor, config: NetworkConfig) -> Tensor:
    """Of values [B, 1, R + C], that of every lag before every step: [B, H, L], NaN = missing.

    A lag of k seasons reaches from the newest step that is a whole number of seasons before the
    forecast step and still observed.
    """
    step = torch.arange(config.horizon, device=values.device)
    offsets = torch.stack([step % season - season * back for season, back in config.lags], -1)
    position = lengths.view(-1, 1, 1) + (offsets.flatten() + reach(config))  # [B, 1, H * L]
    return values.gather(-1, position).view(-1, config.horizon, len(config.lags))
