"""The body of a TimeGPT forecast request as a `Packed`, and what it does not say or may not ask.

Fields that say how TimeGPT itself works (clean_ex_first, finetune_depth, finetune_loss) change
nothing here. What would change the answer is refused, so that nobody takes one for the other.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from service.api.bulk.panel import Packed
from service.api.json_body import JsonBody, RawIntegers, RawNumbers
from service.api.starts import missing_start
from service.api.timegpt.columns import Columns
from service.api.timegpt.vocabulary import find_model, read_levels
from service.contract.forecast import ForecastMetadata
from service.contract.grid import Moments
from service.contract.timestamp import InvalidTimestamp, read_timestamp
from service.errors import Malformed, Unservable
from service.repository.live import Repository

_STARTS = 128  # timestamps that are read at once; the event loop runs in between

_REFUSED = {  # when given and not zero, false or empty: what to do instead
    "finetune_steps": "a model is trained before it is served; send 0",
    "finetuned_model_id": "a model is named by `model`; leave it out",
    "feature_contributions": "forecasts are not explained here; send false",
    "multivariate": "each series is forecast on its own; send false",
    "model_parameters": "a served model has no parameters to set; leave them out",
    "quantiles": "send level: 80 stands for the quantiles 0.1 and 0.9",
}


class SeriesBody(msgspec.Struct):
    """Series end to end, and what is known beside them."""

    y: Annotated[
        RawNumbers,
        Meta(
            description="The values of the first series, then those of the second, ...; "
            "null = missing",
            examples=[[417.0, 391.0, None, 461.0, 112.0, 118.0, 132.0]],
        ),
    ]
    sizes: Annotated[
        RawIntegers, Meta(description="How many values each series has", examples=[[4, 3]])
    ]
    X: Annotated[
        list[RawNumbers] | None,
        Meta(
            description="Columns beside y: known covariates, past covariates, static features and "
            "categories in the model's order; the last two repeat at every step"
        ),
    ] = None
    X_future: Annotated[
        list[RawNumbers] | None,
        Meta(description="The known covariates of the h steps to forecast, series by series"),
    ] = None
    start_datetime: Annotated[
        list[str] | None,
        Meta(description="Of the first value of each series; a model with a calendar needs them"),
    ] = None
    categorical_exog: Annotated[
        list[int] | None, Meta(description="Which columns of X are texts: the categories")
    ] = None


class ForecastBody(msgspec.Struct):
    """The body of POST /v2/forecast; other fields are not looked at."""

    series: SeriesBody
    model: Annotated[
        str,
        Meta(
            description="name, name@version, name@alias, or a name of TimeGPT's: the only model "
            "of freq",
            examples=["timegpt-2.1"],
        ),
    ]
    h: Annotated[int, Meta(description="Steps, 1 to the model's own", examples=[12])]
    freq: Annotated[str, Meta(description="The model's own, of pandas or polars", examples=["MS"])]
    level: Annotated[
        list[int | float] | None,
        Meta(description="Intervals in percent; 80 needs the quantiles 0.1 and 0.9"),
    ] = None
    quantiles: Annotated[list[float] | None, Meta(description="Refused; send level")] = None
    finetune_steps: Annotated[int, Meta(description="Refused, but 0")] = 0
    finetuned_model_id: Annotated[str | None, Meta(description="Refused, but null")] = None
    feature_contributions: Annotated[bool, Meta(description="Refused, but false")] = False
    multivariate: Annotated[bool, Meta(description="Refused, but false")] = False
    model_parameters: Annotated[
        dict[str, Any] | None, Meta(description="Refused, but empty or null")
    ] = None


@dataclass(frozen=True)
class Question:
    """What is asked: of the series, and which intervals the answer shall have."""

    packed: Packed
    intervals: Mapping[str, tuple[float, float]]  # by level: lower and upper quantile level


_DECODER = msgspec.json.Decoder(ForecastBody)


async def read_question(
    content: bytes, repository: Repository, timeout_s: float | None
) -> Question:
    """The body of a forecast request.

    Raises:
        Malformed: not the documented JSON, or lengths that do not fit together.
        NotFound: no such model.
        Unservable: what the models here cannot do; the message names the parameter.
    """
    body = JsonBody(content)
    asked = body.struct(_DECODER)
    for name, remedy in _REFUSED.items():
        if getattr(asked, name):
            raise Unservable(f"{name} is not supported: {remedy}", name)
    found = find_model(repository, asked.model, asked.freq, content)
    model = found.metadata
    intervals = _agree(asked, model)
    given = asked.series
    columns = Columns(
        body, given.X or [], given.X_future or [], given.categorical_exog or [], model.signature
    )
    y = await body.numbers(given.y, "series.y")
    sizes = read_sizes(await body.integers(given.sizes, "series.sizes"), len(y))
    packed = Packed(
        model=model.name,
        version=model.version,
        found=found,
        y=y,
        sizes=sizes,
        starts=await _read_starts(given.start_datetime, len(sizes), model),
        item_ids=[str(at) for at in range(len(sizes))],
        named=False,
        horizon=asked.h,
        quantile_levels=tuple(sorted({0.5, *(q for pair in intervals.values() for q in pair)})),
        past_covariates=await columns.past(len(y)),
        known_covariates=await columns.known(sizes, asked.h),
        static_features=await columns.static(sizes),
        timeout_s=timeout_s,
    )
    return Question(packed, intervals)


def read_sizes(given: list[int], steps: int) -> NDArray[np.int64]:
    """[N], each at least 1, together the steps of y.

    Raises:
        Malformed: otherwise.
    """
    field = "series.sizes"
    if not given:
        raise Malformed(f"{field} is empty; send at least one series", field)
    if min(given) < 1:
        at = next(at for at, size in enumerate(given) if size < 1)
        message = f"{field}[{at}] is {given[at]}; a series has at least 1 value"
        raise Malformed(message, f"{field}[{at}]")
    if sum(given) != steps:
        raise Malformed(f"{field} add up to {sum(given)}, but y has {steps} values", field)
    return np.array(given, np.int64)


def _agree(asked: ForecastBody, model: ForecastMetadata) -> dict[str, tuple[float, float]]:
    """As many steps as the model has, and intervals that it has."""
    horizon = model.signature.horizon
    if not 1 <= asked.h <= horizon:
        raise Unservable(
            f"h is {asked.h}; model {model.name!r} forecasts 1 to {horizon} steps", "h"
        )
    return read_levels(asked.level or [], model.name, model.signature)


async def _read_starts(texts: list[str] | None, count: int, model: ForecastMetadata) -> Moments:
    """[N] the first step of each series; a client sends none for numbers in place of timestamps."""
    field = "series.start_datetime"
    if texts is None:
        return np.repeat(missing_start(field, model.signature).value, count)
    if len(texts) != count:
        message = f"{field} has {len(texts)} values, expected {count}, one for each series"
        raise Malformed(message, field)
    starts = np.empty(count, "datetime64[us]")
    for at, text in enumerate(texts):
        try:
            starts[at] = read_timestamp(text).value
        except InvalidTimestamp as error:
            raise Unservable(f"{field}[{at}]: {error}", f"{field}[{at}]") from error
        if at % _STARTS == _STARTS - 1:
            await asyncio.sleep(0)
    return starts
