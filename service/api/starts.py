"""The start of a series whose caller says none, which foreign dialects allow."""

import numpy as np

from service.contract import grid
from service.contract.forecast import ForecastSignature
from service.contract.frequency import Frequency
from service.contract.timestamp import Timestamp
from service.errors import Unservable

_ANYWHERE = np.array(["2001-01-01", "2001-01-31"], "datetime64[us]")  # one lies on each grid


def missing_start(field: str, signature: ForecastSignature) -> Timestamp:
    """Some moment where a step can fall; the forecast of a model without calendar is the same.

    Raises:
        Unservable: the model reads the calendar.
    """
    if signature.calendar:
        raise Unservable(
            f"{field} is missing, and this model reads the calendar; send the timestamp of the "
            "first value, in UTC or without a zone",
            field,
        )
    on_grid = grid.falls(Frequency.parse(signature.freq).unit, _ANYWHERE)
    return Timestamp(_ANYWHERE[on_grid][0])
