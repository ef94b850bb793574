"""The inputs of a request in KServe's schema as `Series`.

The schema leaves three things open. Any pandas alias may stand for a frequency beside its words; of
these a month, a quarter and a year do not say whether a series lies on first or on last days, so
both are taken. A start may be missing where the model has no calendar. Covariates are extra fields
of an input, under the names that `/v1/forecast` has for them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from service.api.json_body import JsonBody, RawNumbers, read_struct
from service.api.starts import missing_start
from service.contract.forecast import ForecastSignature
from service.contract.frequency import Frequency, InvalidFrequency
from service.contract.timestamp import InvalidTimestamp, Timestamp, read_timestamp
from service.errors import Unservable
from service.forecasting.inquiry import Series

_AT_ONCE = 32  # inputs that are read without a pause for others

_WORDS = {
    **dict.fromkeys(("second", "S"), "s"),
    **dict.fromkeys(("minute", "T"), "min"),
    **dict.fromkeys(("hour", "H"), "h"),
    **dict.fromkeys(("day", "D"), "D"),
    **dict.fromkeys(("week", "W"), "W"),
}
_MONTHS = {
    **dict.fromkeys(("month", "M"), 1),
    **dict.fromkeys(("quarter", "Q"), 3),
    **dict.fromkeys(("year", "Y"), 12),
}


class InputBody(msgspec.Struct):
    """One series, oldest value first; other fields are not looked at."""

    type: Literal["univariate_time_series", "multivariate_time_series"]
    name: str
    series: Annotated[
        RawNumbers,
        Meta(description="One value per step, null = missing", examples=[[417.0, None, 461.0]]),
    ]
    frequency: Annotated[
        str,
        Meta(description="day, D, ..., or a pandas alias such as 15min; the model's own"),
    ]
    start_timestamp: Annotated[
        str | None,
        Meta(description="Of the first value, ISO 8601; a model with a calendar needs it"),
    ] = None
    past_covariates: Annotated[
        dict[str, RawNumbers], Meta(description="By name: one value per step of series")
    ] = {}
    known_covariates: Annotated[
        dict[str, RawNumbers],
        Meta(description="By name: one value per step of series and of the model's whole horizon"),
    ] = {}
    static_features: Annotated[
        dict[str, float | str | None], Meta(description="By name: a number, or a text")
    ] = {}


_DECODER = msgspec.json.Decoder(InputBody)


async def read_inputs(
    body: JsonBody, raws: Sequence[msgspec.Raw], signature: ForecastSignature
) -> tuple[list[InputBody], list[Series]]:
    """The inputs, and what they ask of a model.

    Raises:
        Malformed: not the documented JSON.
        Unservable: what this model cannot answer; the field is that of the input.
    """
    inputs: list[InputBody] = []
    series: list[Series] = []
    for at, raw in enumerate(raws):
        if at % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        field = f"inputs[{at}]"
        one = read_struct(_DECODER, bytes(raw), field)
        inputs.append(one)
        series.append(await _read_series(body, one, field, signature))
    if len({one.name for one in inputs}) < len(inputs):  # which the schema allows
        series = [msgspec.structs.replace(one, item_id=str(at)) for at, one in enumerate(series)]
    return inputs, series


def are_named(inputs: Sequence[InputBody]) -> bool:
    """Whether each has a name of its own and says when it starts."""
    names = {one.name for one in inputs}
    return len(names) == len(inputs) and all(one.start_timestamp is not None for one in inputs)


async def _read_series(
    body: JsonBody, one: InputBody, field: str, signature: ForecastSignature
) -> Series:
    if one.type == "multivariate_time_series":
        remedy = "send each of its series as a univariate_time_series"
        message = f"{field} is multivariate, a model here forecasts one series; {remedy}"
        raise Unservable(message, f"{field}.type")
    _agree_frequency(one, field, signature)
    past, known = f"{field}.past_covariates", f"{field}.known_covariates"
    return Series(
        item_id=one.name,
        start=_start(one, field, signature),
        freq=None,
        target=await body.numbers(one.series, f"{field}.series"),
        past_covariates=await _arrays(body, one.past_covariates, past),
        known_covariates=await _arrays(body, one.known_covariates, known),
        static_features=one.static_features,
    )


def _agree_frequency(one: InputBody, field: str, signature: ForecastSignature) -> None:
    trained = Frequency.parse(signature.freq)
    text = one.frequency
    if text in _MONTHS:
        same = trained.unit in ("MS", "ME") and trained.count == _MONTHS[text]
    else:
        try:
            same = Frequency.parse(_WORDS.get(text, text)) == trained
        except InvalidFrequency as error:
            words = ", ".join((*_WORDS, *_MONTHS))
            message = f"{field}.frequency: {error}; or one of {words}"
            raise Unservable(message, f"{field}.frequency") from error
    if not same:
        raise Unservable(
            f"{field}.frequency is {text!r}, this model was trained on {signature.freq!r}; "
            "resample the series or use another model",
            f"{field}.frequency",
        )


def _start(one: InputBody, field: str, signature: ForecastSignature) -> Timestamp:
    """When the series starts; any moment where nobody needs to know."""
    if one.start_timestamp is not None:
        try:
            return read_timestamp(one.start_timestamp)
        except InvalidTimestamp as error:
            message = f"{field}.start_timestamp: {error}"
            raise Unservable(message, f"{field}.start_timestamp") from error
    return missing_start(f"{field}.start_timestamp", signature)


async def _arrays(
    body: JsonBody, given: Mapping[str, msgspec.Raw], field: str
) -> dict[str, NDArray[np.float64]]:
    return {name: await body.numbers(raw, f"{field}.{name}") for name, raw in given.items()}
