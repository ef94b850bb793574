"""Tables of the bulk form as the service sees them: what goes to the helper and what comes back.

Shape letters: N series, H horizon steps, Q quantile levels.
"""

import asyncio
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.bulk.helper import Helper
from service.api.bulk.names import Names
from service.api.bulk.packed import PackedForecast
from service.api.bulk.panel import Packed
from service.api.model_name import read_model
from service.contract.aliases import Which
from service.contract.forecast import ForecastSignature
from service.errors import Malformed, UnsupportedMedia

UNPACKED = 4  # times a body's limit; a JSON body of "1,1,1" grows as much when it becomes float64

Array = NDArray[Any]

_PARAMETERS = ("model", "horizon", "quantile_levels", "freq")


@dataclass(frozen=True)
class Asked:
    """What the query of a table says."""

    model: str
    version: Which
    horizon: int | None
    quantile_levels: tuple[float, ...] | None
    freq: str | None


def read_query(query: Mapping[str, str]) -> Asked:
    """model, and perhaps horizon, quantile_levels (with commas) and freq.

    Raises:
        Malformed: model is missing, another parameter, or not a number where one should be.
    """
    for name in query:
        if name not in _PARAMETERS:
            known = ", ".join(_PARAMETERS)
            raise Malformed(f"{name[:60]!r} is no parameter of this query; it has {known}", name)
    if "model" not in query:
        raise Malformed("model is missing in the query; ask for ...?model=name", "model")
    model, version = read_model(query["model"])
    levels = query.get("quantile_levels")
    try:
        horizon = int(query["horizon"]) if "horizon" in query else None
    except ValueError:
        came = query["horizon"][:60]
        raise Malformed(f"horizon is {came!r}, expected a whole number", "horizon") from None
    try:
        found = tuple(float(level) for level in levels.split(",")) if levels is not None else None
    except ValueError:
        message = f"quantile_levels is {(levels or '')[:60]!r}, expected numbers with commas"
        raise Malformed(message, "quantile_levels") from None
    return Asked(model, version, horizon, found, query.get("freq"))


def check_installed(media: str) -> None:
    """Refuse a table where the library for it is missing.

    Raises:
        UnsupportedMedia: saying what to install.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UnsupportedMedia(
            f"{media} needs pyarrow, which this service lacks: install gatecast[arrow] there, or "
            "send application/json"
        )


async def read_table(
    helper: Helper,
    media: str,
    body: bytes,
    asked: Asked,
    signature: ForecastSignature,
    limit: int,
    timeout_s: float | None,
) -> Packed:
    """A table for a model of this signature -> what is asked about it.

    Args:
        limit: bytes of a body.

    Raises:
        Malformed, TooLarge, Unservable: naming the column, or the item and its row.
        DeadlineExceeded: see `Helper.ask`.
    """
    task = {
        "task": "read",
        "media": media,
        "signature": signature.model_dump_json(),
        "bytes": UNPACKED * limit,
    }
    said, found = await helper.ask(task, [np.frombuffer(body, np.uint8)], timeout_s)
    y, sizes, starts, utf8, ends, *covariates = found
    some = iter(covariates)
    past, known, static, codes = ({name: next(some) for name in names} for names in said["names"])
    texts = {category.name: category.values for category in signature.covariates.categories}
    return Packed(
        model=asked.model,
        version=asked.version,
        y=y,
        sizes=sizes,
        starts=starts.view("datetime64[us]"),
        zone=said["zone"],
        item_ids=Names(utf8, ends),
        freq=asked.freq,
        horizon=asked.horizon,
        quantile_levels=asked.quantile_levels,
        past_covariates=past,
        known_covariates=known,
        static_features={
            **static,
            **{
                name: np.array([*texts[name], None], object)[at].tolist()
                for name, at in codes.items()
            },
        },
    )


async def write_table(
    helper: Helper, media: str, answer: PackedForecast, timeout_s: float | None
) -> memoryview:
    """The bytes of a long table.

    Raises:
        DeadlineExceeded: see `Helper.ask`.
    """
    item_ids = answer.item_ids
    names = item_ids if isinstance(item_ids, Names) else await asyncio.to_thread(Names.of, item_ids)
    timestamps = await asyncio.to_thread(np.ascontiguousarray, answer.timestamps)
    task = {
        "task": "write",
        "media": media,
        "zone": answer.zone,
        "levels": [str(level) for level in answer.quantile_levels],
    }
    arrays: list[Array] = [names.utf8, names.ends, timestamps.view(np.int64), answer.quantiles]
    _, (table,) = await helper.ask(task, arrays, timeout_s)
    return table.data
