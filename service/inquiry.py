"""What a caller asks, in any dialect: `Inquiry`, and the `Series` it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.contract.timestamp import Timestamp

Numbers = Mapping[str, NDArray[np.float64]]  # by name, NaN = missing
Features = Mapping[str, float | str | None]  # by name, None = missing


@dataclass(frozen=True)
class Series:
    """One series of an inquiry: n steps of target, and covariates under the names of the model."""

    item_id: str
    start: Timestamp
    freq: str | None  # None: the model's own
    target: NDArray[np.float64]  # [n] NaN = missing
    past_covariates: Numbers = field(default_factory=dict)  # [n] each
    known_covariates: Numbers = field(default_factory=dict)  # [n + H] each, H of the model
    static_features: Features = field(default_factory=dict)


@dataclass(frozen=True)
class Inquiry:
    """What a caller asks, in any dialect."""

    model: str
    version: int | None  # None: the one that is live
    series: Sequence[Series]
    horizon: int | None  # steps; None: the model's
    quantile_levels: tuple[float, ...] | None  # None: the model's
