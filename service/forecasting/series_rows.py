"""The series of an inquiry -> rows for the engine, by bucket."""

from collections.abc import Sequence

from service.contract.buckets import bucket
from service.contract.forecast import ForecastSignature
from service.contract.grid import Moments
from service.contract.metadata import Inputs
from service.contract.placement import History, write
from service.forecasting.covariates import history
from service.forecasting.inquiry import Series


class SeriesRows:
    """Histories of one bucket; their tensors are written when a batch takes them."""

    __slots__ = ("_signature", "histories", "places", "shape")

    def __init__(self, padded: int, signature: ForecastSignature) -> None:
        self.shape = padded
        self.histories: list[History] = []
        self.places: list[int] = []  # among the rows of the request
        self._signature = signature

    def __len__(self) -> int:
        return len(self.histories)

    def write(self, start: int, stop: int, memory: Inputs, at: int) -> None:
        """Write some of them as the rows at.. of a batch."""
        write(self.histories[start:stop], memory, at, self._signature)


def by_bucket(rows: Sequence[History], signature: ForecastSignature) -> list[SeriesRows]:
    """A bucket depends on the row alone, so that its neighbours cannot change its bits."""
    groups: dict[int, SeriesRows] = {}
    for place, row in enumerate(rows):
        padded = bucket(len(row.target), signature.context_length)
        group = groups.get(padded)
        if group is None:
            group = groups[padded] = SeriesRows(padded, signature)
        group.histories.append(row)
        group.places.append(place)
    return list(groups.values())


def histories(
    many: Sequence[Series], lines: Sequence[Moments], signature: ForecastSignature
) -> list[History]:
    if signature.calendar or signature.covariates:
        return [history(*one, signature) for one in zip(many, lines, strict=True)]
    return [History(series.target) for series in many]
