"""The native dialect: `POST /v1/forecast` in JSON.

Bodies are read by `body`, answers written by `native_answer`.
"""

from typing import Annotated, Any

import numpy as np
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

from service.api.body import BodyReader
from service.api.dialect import Dialect, Express
from service.api.exchange import Exchange
from service.api.model_name import read_model
from service.api.native_answer import write_forecast
from service.api.responses import Reply, error_response
from service.contract.timestamp import InvalidTimestamp, read_timestamp
from service.errors import Unservable
from service.express import BUILT
from service.forecasting.inquiry import Inquiry, Series

EXPRESS: Express | None = None
if BUILT:
    from service.api import native_express

    EXPRESS = native_express.ask

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


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
    model: str = Field(description="name, name@version or name@alias", examples=["airline"])
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


native = Dialect(error_response, prefix="/v1/forecast", tag="forecast")
_BODY = BodyReader(ForecastBody)


@native.post(
    "/v1/forecast",
    runs_model=True,
    express=EXPRESS,
    response_model=ForecastAnswer,
    openapi_extra=_BODY.documentation,
)
async def forecast(exchange: Exchange) -> Reply:
    """Forecast every series of the body; missing values are null, the newest steps count."""
    timeout_s = exchange.timeout_s
    body = _BODY.read(await exchange.content())
    exchange.house.inference.check_rows(len(body.series))
    answer = await exchange.house.forecaster.forecast(_inquiry(body, timeout_s))
    headers = exchange.answered_by(answer.model, answer.version, answer.timing)
    return Reply(write_forecast(answer), headers=headers)


def _inquiry(body: ForecastBody, timeout_s: float | None) -> Inquiry:
    name, version = read_model(body.model)
    return Inquiry(
        model=name,
        version=version,
        series=[_read_series(series, at) for at, series in enumerate(body.series)],
        horizon=body.horizon,
        quantile_levels=None if body.quantile_levels is None else tuple(body.quantile_levels),
        timeout_s=timeout_s,
    )


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
        past_covariates=_arrays(series.past_covariates) if series.past_covariates else {},
        known_covariates=_arrays(series.known_covariates) if series.known_covariates else {},
        static_features=series.static_features,
    )


def _arrays(given: dict[str, Numbers]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(values, np.float64) for name, values in given.items()}
