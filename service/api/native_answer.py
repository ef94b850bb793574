"""A forecast as the JSON of the native dialect.

All numbers of an answer are written by one call of orjson, which gives float32 the fewest digits
that read back to the same float32; the text is then cut at its brackets and set into a form. An
object with an array for each level would take twice as long.
"""

from functools import lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from service.contract.timestamp import Zone
from service.forecasting.forecaster import Forecast

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_ENDS: dict[Zone, int] = {"": _NUMPY, "Z": _NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z}


def write_forecast(answer: Forecast) -> bytes:
    """{"model", "version", "series": [{"item_id", "timestamps", "quantiles", "median"}]}."""
    form = _form(answer.quantile_levels)
    levels = len(answer.quantile_levels)
    rows = _rows(answer.quantiles)
    if 0.5 in answer.quantile_levels:
        medians = rows[answer.quantile_levels.index(0.5) :: levels]
    else:
        medians = _rows(answer.median)
    series = [
        form
        % (
            orjson.dumps(item_id),
            write_moments(moments.tobytes(), zone),
            *rows[at * levels : (at + 1) * levels],
            medians[at],
        )
        for at, (item_id, moments, zone) in enumerate(
            zip(answer.item_ids, answer.moments, answer.zones, strict=True)
        )
    ]
    head = (orjson.dumps(answer.model), answer.version, b",".join(series))
    return b'{"model":%b,"version":%d,"series":[%b]}' % head


@lru_cache(maxsize=256)
def _form(levels: tuple[float, ...]) -> bytes:
    """One series, with a place for each text."""
    quantiles = ",".join(f'"{level}":[%b]' for level in levels)
    text = f'{{"item_id":%b,"timestamps":%b,"quantiles":{{{quantiles}}},"median":[%b]}}'
    return text.encode()


def _rows(numbers: NDArray[np.float32]) -> list[bytes]:
    """The numbers along the last axis, row after row, as texts without brackets."""
    text = orjson.dumps(numbers.reshape(-1, numbers.shape[-1]), option=_NUMPY)
    return [row[2:] for row in text[:-2].split(b"]")]  # three times as fast as by b"],["


@lru_cache(maxsize=1024)  # the series of a request, and of a day, often end together
def write_moments(moments: bytes, zone: Zone) -> bytes:
    """A JSON array of the moments, which are datetime64[us]."""
    return orjson.dumps(np.frombuffer(moments, "datetime64[us]"), option=_ENDS[zone])
