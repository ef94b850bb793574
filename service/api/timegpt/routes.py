"""The routes of TimeGPT's protocol that a forecast needs: what NixtlaClient.forecast() asks.

A `mean` is the median here: it is what the models learn, and no mean can be had from quantiles.
"""

from service.api.bulk.packed import PackedForecast, forecast_packed
from service.api.dialect import Dialect
from service.api.documentation import json_body
from service.api.exchange import Exchange
from service.api.json_body import write_numbers
from service.api.responses import Reply, json_response, short
from service.api.timegpt.question import ForecastBody, Question, read_question
from service.api.timegpt.vocabulary import find_model
from service.contract.forecast import ForecastMetadata
from service.errors import Malformed, ServiceError, Unservable

# What the client offers beside forecast(), and the words to refuse it with.
_NOT_SERVED = {
    "/v2/cross_validation": "cross_validation(), no add_history in forecast()",
    "/v2/anomaly_detection": "detect_anomalies()",
    "/v2/online_anomaly_detection": "detect_anomalies_online()",
    "/v2/finetune": "finetune()",
    "/v2/simulate": "simulate()",
    "/v2/explain": "explain()",
}


def write_error(error: ServiceError) -> Reply:
    """{"detail", "type", "field"?}, which the client shows in its ApiError."""
    content = {"detail": short(error.message), "type": error.error_type}
    if error.field is not None:
        content["field"] = short(error.field)
    return json_response(content, error.status)


timegpt = Dialect(write_error, prefix="/v2/forecast", tag="TimeGPT")


@timegpt.post("/v2/forecast", runs_model=True, openapi_extra=json_body(ForecastBody))
async def forecast(exchange: Exchange) -> Reply:
    """Forecast packed series: `y` end to end and the `sizes` of the series in it."""
    content = await exchange.content()
    question = await read_question(content, exchange.inference.repository, exchange.timeout_s)
    answer = await forecast_packed(exchange.forecaster, question.packed)
    headers = exchange.answered_by(answer.model, answer.version, answer.timing)
    return Reply(await write_answer(question, answer), headers=headers)


_PARAMETERS = [
    {"name": name, "in": "query", "required": True, "schema": {"type": "string", "minLength": 1}}
    for name in ("model", "freq")
]


@timegpt.get("/model_params", openapi_extra={"parameters": _PARAMETERS})
async def model_params(exchange: Exchange) -> Reply:
    """How much history of `?model=&freq=` counts, and how far it sees."""
    query = exchange.query_params
    for name in ("model", "freq"):
        if name not in query:
            raise Malformed(f"{name} is missing; send ?model=...&freq=...", name)
    repository = exchange.inference.repository
    signature = find_model(repository, query["model"], query["freq"]).metadata.signature
    limits = {"input_size": signature.context_length, "horizon": signature.horizon}
    return json_response({"detail": limits})


@timegpt.get("/v2/models")
async def models(exchange: Exchange) -> Reply:
    """The names that `model` may be, beside TimeGPT's own."""
    names = list(exchange.inference.repository.all_for(ForecastMetadata))
    return json_response({"models": [{"name": name} for name in names]})


@timegpt.get("/validate_api_key", scope="any")
async def validate_api_key(exchange: Exchange) -> Reply:
    """200 for a good key; where the service asks for none, every key is as good as none."""
    if exchange.needs_key:
        return json_response({"detail": "the key is valid"})
    return json_response({"detail": "this service asks for no key, any is accepted"})


async def write_answer(question: Question, answer: PackedForecast) -> bytes:
    """`mean` and the bounds of each interval, series end to end; arrays are written in pieces."""
    intervals: list[bytes] = []
    for level, bounds in question.intervals.items():
        for side, quantile_level in zip(("lo", "hi"), bounds, strict=True):
            values = answer.quantiles[answer.quantile_levels.index(quantile_level)]
            numbers = await write_numbers(values.reshape(-1))
            intervals.append(b'"%b-%b":%b' % (side.encode(), level.encode(), numbers))
    return b"".join(
        (
            b'{"mean":',
            await write_numbers(answer.median.reshape(-1)),
            b',"intervals":',
            b"{%b}" % b",".join(intervals) if intervals else b"null",
            b',"weights_x":null,"feature_contributions":null',
            b',"input_tokens":%d,"output_tokens":%d' % (len(question.packed.y), answer.median.size),
            b',"finetune_tokens":0}',
        )
    )


def _refuse(path: str, asked: str) -> None:
    """A route that says what is not served."""

    @timegpt.post(path, include_in_schema=False)
    async def refuse(_: Exchange) -> Reply:
        raise Unservable(f"{path} is not served here: no {asked}; forecast() is")


for _path, _asked in _NOT_SERVED.items():
    _refuse(_path, _asked)
    _refuse(f"{_path}/async", f"jobs and no {_asked}")
_refuse("/v2/forecast/async", "jobs")
