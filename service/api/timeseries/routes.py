"""The two routes of KServe's time series API; a `mean_forecast` is the median here."""

import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import orjson
from msgspec import Meta

from service.api.dialect import Dialect
from service.api.documentation import json_body
from service.api.exchange import Exchange
from service.api.json_body import JsonBody, read_struct
from service.api.model_name import read_model
from service.api.responses import Reply, json_response, short, to_json
from service.api.timeseries.inputs import InputBody, are_named, read_inputs
from service.contract.forecast import ForecastMetadata
from service.contract.timestamp import format_timestamps
from service.engine.job import NOWHERE
from service.errors import ServiceError
from service.forecasting.forecaster import Forecast, Forecaster
from service.forecasting.inquiry import Inquiry
from service.repository.live import LiveModel

CHUNK = 128  # series that are asked at once

Input = TypeVar("Input")  # an input as it is documented, or as it is first read

_PLACE = re.compile(r"series\[(?P<at>[0-9]+)\](\.(?P<name>[a-z_]+))?")
_FIELDS = {"target": "series", "start": "start_timestamp", "freq": "frequency", "item_id": "name"}
_WORDS = {"horizon": "options.horizon", "quantile_levels": "options.quantiles", "series": "inputs"}


class OptionsBody(msgspec.Struct):
    """What to forecast of every input."""

    horizon: Annotated[int, Meta(description="Steps, 1 to the model's own")]
    quantiles: Annotated[
        list[float] | None, Meta(description="Some of the model's own", examples=[[0.1, 0.9]])
    ] = None


class ForecastBody(msgspec.Struct, Generic[Input]):
    """The body of a forecast request; other fields are not looked at."""

    model: Annotated[
        str, Meta(description="name, name@version or name@alias", examples=["airline"])
    ]
    inputs: Annotated[list[Input], Meta(min_length=1)]
    options: OptionsBody


class _Named(msgspec.Struct):
    """As much of an input as the choice of a version needs."""

    name: str | None = None


_NAMED = msgspec.json.Decoder(_Named)


def write_error(error: ServiceError) -> Reply:
    """{"error": {"code", "message", "param", "type"}}; the code is the status as a text."""
    name, bracket, rest = (error.field or "").partition("[")
    field = f"{_WORDS.get(name, name)}{bracket}{rest}"
    content = {
        "code": str(error.status),
        "message": short(error.message),
        "param": short(field) or None,
        "type": error.error_type,
    }
    return json_response({"error": content}, error.status)


timeseries = Dialect(write_error, prefix="/v1/timeseries", tag="KServe time series")
_DECODER = msgspec.json.Decoder(ForecastBody[msgspec.Raw])


@timeseries.get("/v1/timeseries/models")
async def models(exchange: Exchange) -> Reply:
    """The names of the models that answer."""
    return json_response(list(exchange.house.inference.repository.all_for(ForecastMetadata)))


@timeseries.post(
    "/v1/timeseries/forecast",
    runs_model=True,
    openapi_extra=json_body(ForecastBody[InputBody]),
)
async def forecast(exchange: Exchange) -> Reply:
    """Forecast every input."""
    inference = exchange.house.inference
    body = JsonBody(await exchange.content())
    asked = body.struct(_DECODER)
    inference.check_rows(len(asked.inputs))
    name, version = read_model(asked.model)
    key = read_struct(_NAMED, asked.inputs[0], "inputs[0]").name
    found = inference.repository.get_for(ForecastMetadata, name, version, key)
    model = found.metadata
    inputs, series = await read_inputs(body, asked.inputs, model.signature)
    levels = tuple(asked.options.quantiles or ())
    inquiry = Inquiry(
        name,
        version,
        series,
        asked.options.horizon,
        levels or (0.5,),
        exchange.timeout_s,
        named=are_named(inputs),
    )
    outputs: list[bytes] = []
    timing = NOWHERE
    async for first, answer in _ask(exchange.house.forecaster, inquiry, found):
        some = inputs[first : first + CHUNK]
        outputs += [_output(one, answer, at, levels) for at, one in enumerate(some)]
        timing = timing.longest(answer.timing)
    values = sum(len(one.target) for one in series)
    content = _write(asked, outputs, values)
    return Reply(content, headers=exchange.answered_by(model.name, model.version, timing))


async def _ask(
    forecaster: Forecaster, inquiry: Inquiry, found: LiveModel[ForecastMetadata]
) -> AsyncIterator[tuple[int, Forecast]]:
    """The answers about `CHUNK` series after the other, and the position of each one's first.

    Raises:
        ServiceError: as `Forecaster.forecast`; the field of a series is that of its input.
    """
    until = None if inquiry.timeout_s is None else time.monotonic() + inquiry.timeout_s
    for first in range(0, len(inquiry.series), CHUNK):
        left = None if until is None else max(until - time.monotonic(), 0.0)
        series = inquiry.series[first : first + CHUNK]
        part = msgspec.structs.replace(inquiry, series=series, timeout_s=left)
        try:
            answer = await forecaster.forecast(part, found)
        except ServiceError as error:
            error.field = _place(error.field, first)
            raise
        yield first, answer


def _place(field: str | None, first: int) -> str | None:
    """series[0].target[5] of a chunk -> inputs[128].series[5]; any other field is left."""
    place = _PLACE.match(field or "")
    if field is None or place is None:
        return field
    name = f".{_FIELDS.get(place['name'], place['name'])}" if place["name"] else ""
    return f"inputs[{first + int(place['at'])}]{name}{field[place.end() :]}"


def _output(one: InputBody, answer: Forecast, at: int, levels: Sequence[float]) -> bytes:
    """The answer about one input, which is number `at` of its chunk."""
    start = format_timestamps(answer.moments[at][:1], answer.zones[at])[0]
    quantiles = {str(level): answer.quantiles[at, place] for place, level in enumerate(levels)}
    content = {
        "type": one.type,
        "name": one.name,
        "mean_forecast": answer.median[at],
        "frequency": one.frequency,
        "start_timestamp": None if one.start_timestamp is None else start,
        "quantiles": quantiles or None,
    }
    return to_json(
        {
            "type": "time_series_forecast",
            "id": str(uuid.uuid4()),
            "status": "completed",
            "content": [content],
            "error": None,
        }
    )


def _write(asked: ForecastBody[msgspec.Raw], outputs: Sequence[bytes], values: int) -> bytes:
    """The answer; a token is one number, read or forecast."""
    forecast = asked.options.horizon * len(outputs)
    content: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "model": asked.model,
        "outputs": orjson.Fragment(b"[%b]" % b",".join(outputs)),
        "usage": {
            "prompt_tokens": values,
            "completion_tokens": forecast,
            "total_tokens": values + forecast,
        },
    }
    return to_json(content)
