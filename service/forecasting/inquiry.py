"""What a caller asks, in any dialect: an `Inquiry` of `Series`.

Structs and not dataclasses: making a frozen dataclass takes ten times as long.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.contract.aliases import Which
from service.contract.timestamp import Timestamp

Numbers = Mapping[str, NDArray[np.float64]]  # by name, NaN = missing
Features = Mapping[str, float | str | None]  # by name, None = missing


class Series(msgspec.Struct, frozen=True, gc=False):
    """One series of an inquiry: n steps of target, and covariates under the names of the model."""

    item_id: str
    start: Timestamp
    freq: str | None  # None: the model's own
    target: NDArray[np.float64]  # [n] NaN = missing
    past_covariates: Numbers = {}  # [n] each
    known_covariates: Numbers = {}  # [n + H] each, H of the model
    static_features: Features = {}


class Inquiry(msgspec.Struct, frozen=True, gc=False):
    """What a caller asks, in any dialect."""

    model: str
    version: Which  # None: the one that is live, or its canary
    series: Sequence[Series]
    horizon: int | None  # steps; None: the model's
    quantile_levels: tuple[float, ...] | None  # None: the model's
    timeout_s: float | None = None  # from now; None: the service's default
    patient: bool = False  # a part of a long call, which lets others go first
    named: bool = True  # the caller said item_ids and moments, and may say later what happened
