"""The native dialect: `POST /v1/forecast` and `GET /v1/models` in JSON.

Requests are parsed by pydantic from the raw body in one pass; FastAPI's own body handling would
parse twice and wants a Content-Type. Answers are written by orjson straight from the arrays.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from service import metrics
from service.api.exchange import read_body, unless_gone
from service.api.responses import json_response
from service.contract.timestamp import InvalidTimestamp, read_timestamp
from service.errors import Malformed, Unservable
from service.forecaster import Forecast, Forecaster
from service.inquiry import Inquiry, Series

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_MANY_ERRORS = 1000  # listing a million unknown fields would take seconds
_MODEL = re.compile(r"^(?P<name>[^@]+)(@(?P<version>[1-9][0-9]{0,8}))?$")


def _number_or_text(value: Any, handler: ValidatorFunctionWrapHandler) -> float | str | None:
    """One error where a union would give one for each of its types."""
    try:
        found: float | str | None = handler(value)
    except ValidationError:
        expected = "Input should be a finite number, a text or null"
        raise PydanticCustomError("feature", expected) from None
    return found


Numbers = Annotated[list[float | None], Field(fail_fast=True)]
Feature = Annotated[float | str | None, WrapValidator(_number_or_text)]


class SeriesBody(BaseModel):
    """One series: its history, oldest value first."""

    model_config = _STRICT
    item_id: str = Field(max_length=256, examples=["airline"])
    start: str = Field(
        description="Timestamp of the first value, ISO 8601", examples=["1960-01-01"]
    )
    freq: str | None = Field(None, description="Must be the model's own", examples=["MS"])
    target: Numbers = Field(
        description="One value per step, null = missing. The newest context_length steps are used.",
        examples=[[417.0, 391.0, None, 461.0]],
    )
    past_covariates: dict[str, Numbers] = Field(
        default_factory=dict,
        description="By name, as the model's signature lists them: one value per step of target, "
        "null = missing.",
        examples=[{"passengers_in_transit": [12.0, 14.0, None, 13.0]}],
    )
    known_covariates: dict[str, Numbers] = Field(
        default_factory=dict,
        description="By name: one value per step of target and of the model's whole horizon, "
        "null = missing.",
        examples=[{"public_holidays": [0.0, 1.0, 0.0, 2.0, 1.0, None]}],
    )
    static_features: dict[str, Feature] = Field(
        default_factory=dict,
        description="By name: a number, or the text of a category (one not seen in training counts "
        "as unknown); null = missing.",
        examples=[{"runways": 2.0, "region": "north"}],
    )


class ForecastBody(BaseModel):
    """What to forecast, with which model."""

    model_config = _STRICT
    model: str = Field(description="name, or name@version", examples=["airline"])
    series: Annotated[list[SeriesBody], Field(fail_fast=True)]
    horizon: int | None = Field(None, description="Steps, 1 to the model's own; default: all")
    quantile_levels: Annotated[list[float], Field(fail_fast=True)] | None = Field(
        None, description="Some of the model's own; default: all", examples=[[0.1, 0.5, 0.9]]
    )


class SeriesAnswer(BaseModel):
    """One series' forecast."""

    item_id: str
    timestamps: list[str]
    quantiles: dict[str, list[float]]
    median: list[float]


class ForecastAnswer(BaseModel):
    """Forecasts in the order of the request."""

    model: str
    version: int
    series: list[SeriesAnswer]


router = APIRouter(tags=["forecast"])


@router.post(
    "/v1/forecast",
    response_model=ForecastAnswer,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ForecastBody.model_json_schema()}},
        }
    },
)
async def forecast(request: Request) -> Response:
    """Forecast every series of the body; missing values are null, the newest steps count."""
    state = request.app.state
    body = await read_body(request, state.settings.max_body_bytes)
    forecaster: Forecaster = state.forecaster
    inquiry = read_inquiry(body, forecaster.check_rows)
    answer = await unless_gone(request, forecaster.forecast(inquiry))
    metrics.series.labels(answer.model).inc(len(answer.item_ids))
    return json_response(write_forecast(answer))


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """Every model that answers, and every one that was refused, with the reason."""
    repository = request.app.state.forecaster.repository
    live = [_summary(model.metadata) for _, model in sorted(repository.live.items())]
    refused = [{"name": n, "reason": why} for n, why in sorted(repository.refused.items())]
    return json_response({"models": live, "refused": refused})


@router.get("/v1/models/{name}")
async def model(request: Request, name: str) -> Response:
    """The whole metadata of one model: signature, training, backtest, parity."""
    found = request.app.state.forecaster.repository.get(name)
    return json_response(found.metadata.model_dump(mode="json"))


def read_inquiry(body: bytes, check_rows: Callable[[int], None]) -> Inquiry:
    """The JSON body of a request -> what is asked; the number of series is checked first.

    Raises:
        Malformed: not JSON, or not of the documented form.
        Unservable: a timestamp that cannot be.
        Exception: whatever `check_rows` raises.
    """
    try:
        parsed = ForecastBody.model_validate_json(body)
    except ValidationError as error:
        raise _malformed(error) from None
    check_rows(len(parsed.series))
    matched = _MODEL.fullmatch(parsed.model)
    if matched is None:
        raise Malformed(f"model is {parsed.model!r}, expected name or name@version", "model")
    return Inquiry(
        model=matched["name"],
        version=int(matched["version"]) if matched["version"] else None,
        series=[_read_series(series, at) for at, series in enumerate(parsed.series)],
        horizon=parsed.horizon,
        quantile_levels=None if parsed.quantile_levels is None else tuple(parsed.quantile_levels),
    )


def write_forecast(answer: Forecast) -> dict[str, Any]:
    """A forecast as the documented JSON object; arrays stay arrays until orjson writes them."""
    keys = [str(level) for level in answer.quantile_levels]
    return {
        "model": answer.model,
        "version": answer.version,
        "series": [
            {
                "item_id": item_id,
                "timestamps": answer.timestamps[at],
                "quantiles": dict(zip(keys, answer.quantiles[at], strict=True)),
                "median": answer.median[at],
            }
            for at, item_id in enumerate(answer.item_ids)
        ],
    }


def _read_series(series: SeriesBody, at: int) -> Series:
    try:
        start = read_timestamp(series.start)
    except InvalidTimestamp as error:
        message = f"series {series.item_id!r}: start: {error}"
        raise Unservable(message, f"series[{at}].start") from error
    return Series(
        item_id=series.item_id,
        start=start,
        freq=series.freq,
        target=np.array(series.target, np.float64),
        past_covariates=_arrays(series.past_covariates),
        known_covariates=_arrays(series.known_covariates),
        static_features=series.static_features,
    )


def _arrays(given: dict[str, list[float | None]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(values, np.float64) for name, values in given.items()}


def _malformed(error: ValidationError) -> Malformed:
    """The first thing pydantic found wrong, as one sentence about one field."""
    if error.error_count() > _MANY_ERRORS:
        return Malformed(f"the body is wrong in {error.error_count()} places; see /docs")
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return Malformed(f"the body is not JSON: {first['ctx']['error']}")
    field = _path(first["loc"])
    if first["type"] == "finite_number":
        remedy = "; send null for a missing value" if first["loc"][0] == "series" else ""
        return Malformed(f"{field} is not a finite number{remedy}", field)
    if first["type"] == "extra_forbidden":
        return Malformed(f"{field} is not a field of this request; see /docs", field)
    if first["type"] == "missing":
        return Malformed(f"{field} is missing; see /docs", field)
    came = repr(first["input"])
    came = came if len(came) <= 60 else f"{came[:60]}..."
    return Malformed(f"{field or 'the body'}: {first['msg']}, got {came}", field or None)


def _path(location: tuple[int | str, ...]) -> str:
    """("series", 0, "target", 5) -> series[0].target[5]"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _summary(metadata: Any) -> dict[str, Any]:
    signature = metadata.signature
    return {
        "name": metadata.name,
        "version": metadata.version,
        "task": metadata.task,
        "freq": signature.freq,
        "horizon": signature.horizon,
        "context_length": signature.context_length,
        "quantile_levels": signature.quantile_levels,
    }
