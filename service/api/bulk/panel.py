"""`Packed`: thousands of series laid end to end, in memory as on the wire.

Shape letters: N series, M steps of all of them, n of one, H horizon steps of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.contract.aliases import Which
from service.contract.forecast import ForecastMetadata
from service.contract.grid import Moments
from service.contract.timestamp import Timestamp, Zone
from service.errors import Malformed
from service.forecasting.inquiry import Features, Inquiry, Series
from service.repository.live import LiveModel

Floats = NDArray[np.float64]
Texts = Sequence[str | None]


@dataclass(frozen=True)
class Packed:
    """N series end to end; the steps of series i are `y[bounds[i]:bounds[i + 1]]`.

    Whoever makes one from what a client sent calls `check`; whether a model can answer it is the
    business of `agreement`.
    """

    model: str
    y: Floats  # [M] NaN = missing
    sizes: NDArray[np.int64]  # [N] steps of each, at least 1; they add up to M
    starts: Moments  # [N] datetime64[us], the first step of each
    item_ids: Sequence[str]  # N, distinct
    version: Which = None  # None: the one that is live, or its canary
    found: LiveModel[ForecastMetadata] | None = None  # the model, where it is looked up already
    zone: Zone = ""  # of all starts
    freq: str | None = None  # None: the model's own
    horizon: int | None = None  # steps; None: the model's
    quantile_levels: tuple[float, ...] | None = None  # None: the model's
    past_covariates: Mapping[str, Floats] = field(default_factory=dict)  # [M] each
    known_covariates: Mapping[str, Floats] = field(default_factory=dict)  # [M + N * H], n + H each
    static_features: Mapping[str, Floats | Texts] = field(default_factory=dict)  # N each
    timeout_s: float | None = None  # for all of them, from now; None: the default, for each chunk
    named: bool = True  # item_ids are the caller's

    def __len__(self) -> int:
        """How many series."""
        return len(self.sizes)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """[N + 1] where each series begins in `y`, and where the last one ends."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes)])

    def check(self) -> None:
        """Make sure that the parts fit together.

        Raises:
            Malformed: sizes that are not positive or do not add up, or not one of something for
                each series; the field is `sizes`, `start`, `item_ids` or `static_features.<name>`.
        """
        steps = len(self.y)
        wrong = (self.sizes < 1) | (self.sizes > max(steps, 1))
        if wrong.any():
            at = int(wrong.argmax())
            expected = f"expected 1 to {steps}, the number of values in y"
            raise Malformed(f"sizes[{at}] is {self.sizes[at]}, {expected}", f"sizes[{at}]")
        total = int(self.sizes.sum())
        if total != steps:
            message = f"sizes add up to {total}, but y has {steps} values; send one size per series"
            raise Malformed(f"{message}, whose values follow each other in y", "sizes")
        for name, count in (
            ("start", len(self.starts)),
            ("item_ids", len(self.item_ids)),
            *((f"static_features.{name}", len(of)) for name, of in self.static_features.items()),
        ):
            if count != len(self):
                expected = f"expected {len(self)}, one for each of sizes"
                raise Malformed(f"{name} has {count} elements, {expected}", name)

    def inquiry(
        self,
        first: int,
        last: int,
        ahead: int,
        timeout_s: float | None = None,
        *,
        patient: bool = False,
    ) -> Inquiry:
        """What is asked about series first .. last - 1.

        Args:
            ahead: the model's horizon, by which known covariates are longer than the target.
            timeout_s: for these series.
            patient: others may go first.
        """
        series = self.series(first, last, ahead)
        return Inquiry(
            model=self.model,
            version=self.version,
            series=series,
            horizon=self.horizon,
            quantile_levels=self.quantile_levels,
            timeout_s=timeout_s,
            patient=patient,
            named=self.named,
        )

    def series(self, first: int, last: int, ahead: int) -> list[Series]:
        """Series first .. last - 1; their arrays are views."""
        bounds = self.bounds[first : last + 1].tolist()
        many = zip(self.item_ids[first:last], bounds[:-1], bounds[1:], strict=True)
        if not (self.past_covariates or self.known_covariates or self.static_features):
            return [
                Series(item_id, Timestamp(self.starts[at], self.zone), self.freq, self.y[low:high])
                for at, (item_id, low, high) in enumerate(many, first)
            ]
        return [
            Series(
                item_id=item_id,
                start=Timestamp(self.starts[at], self.zone),
                freq=self.freq,
                target=self.y[low:high],
                past_covariates={k: v[low:high] for k, v in self.past_covariates.items()},
                known_covariates={
                    k: v[low + at * ahead : high + (at + 1) * ahead]
                    for k, v in self.known_covariates.items()
                },
                static_features=self._features(at),
            )
            for at, (item_id, low, high) in enumerate(many, first)
        ]

    def _features(self, at: int) -> Features:
        """The static features of one series; what is not a number is missing."""
        found: dict[str, float | str | None] = {}
        for name, values in self.static_features.items():
            value = values[at]
            if isinstance(value, np.floating):
                value = None if np.isnan(value) else float(value)
            found[name] = value
        return found
