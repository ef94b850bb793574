"""The routes of Open Inference Protocol v2 over REST: below /v2, errors as {"error": "..."}."""

from typing import Any

import msgspec

from service.api.dialect import Dialect, Express
from service.api.exchange import SPLIT, Exchange
from service.api.openinference import describe, lifecycle
from service.api.openinference.answer import write_answer
from service.api.openinference.lifecycle import read_version
from service.api.openinference.question import read_question
from service.api.responses import Reply, json_response, short
from service.errors import Malformed, ServiceError, Unavailable
from service.express import BUILT
from service.inference import TensorInquiry
from service.repository.live import AnyModel
from service.telemetry.statistics import statistics

EXPRESS: Express | None = None
if BUILT:
    from service.api.openinference import express

    EXPRESS = express.ask

_MODEL = "/v2/models/{name}"
_MODEL_VERSION = "/v2/models/{name}/versions/{version}"

_EXAMPLE: dict[str, Any] = {
    "inputs": [
        {
            "name": "context",
            "datatype": "FP32",
            "shape": [1, 4],
            "data": [417.0, 391.0, None, 461.0],
        },
        {"name": "lengths", "datatype": "INT64", "shape": [1], "data": [4]},
    ]
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BODY: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"example": _EXAMPLE}, **_BYTES},
        }
    },
    "responses": {200: {"content": _BYTES}},
}


def write_error(error: ServiceError) -> Reply:
    """The error body of the protocol."""
    return json_response({"error": short(error.message)}, error.status)


openinference = Dialect(write_error, prefix="/v2", tag="Open Inference Protocol")


@openinference.post(f"{_MODEL}/infer", runs_model=True, express=EXPRESS, **_BODY)
@openinference.post(f"{_MODEL_VERSION}/infer", runs_model=True, express=EXPRESS, **_BODY)
async def infer(exchange: Exchange) -> Reply:
    """Tensors in, tensors out; JSON or binary, as the request says."""
    inference, allowed = exchange.house.inference, exchange.timeout_s
    body = await exchange.content()
    name, version = exchange.parameters["name"], _version(exchange)
    found = inference.repository.get(name, version, body)
    signature = found.metadata.signature
    question = await read_question(body, exchange.header(SPLIT), name, signature)
    timeout_s = _shorter(allowed, question.timeout_s, exchange)
    inquiry = TensorInquiry(name, version, question.tensors, timeout_s)
    answer = await inference.infer(inquiry, found)
    return await write_answer(
        answer,
        question.identifier,
        outputs=question.outputs,
        accepted=exchange.header(b"accept-encoding"),
        headers=exchange.answered_by(answer.model, answer.version, answer.timing),
    )


@openinference.get("/v2", scope="any")
@openinference.get("/v2/", scope="any")
async def server(_: Exchange) -> Reply:
    """Name, version and extensions of the server."""
    return json_response(describe.server())


@openinference.get("/v2/health/live", scope=None)
async def live(_: Exchange) -> Reply:
    """200 as long as the process answers."""
    return json_response({"live": True})


@openinference.get("/v2/health/ready", scope=None)
async def ready(exchange: Exchange) -> Reply:
    """200 while models are served; 503 without one, and from SIGTERM on."""
    _not_leaving(exchange)
    if not exchange.house.inference.repository.live:
        raise Unavailable("no model is served; see the log for why, or train one")
    return json_response({"ready": True})


@openinference.get("/v2/models/stats", scope="metrics")
async def all_statistics(exchange: Exchange) -> Reply:
    """How many requests all models answered, and where the time went."""
    live = sorted(exchange.house.inference.repository.live.items())
    found = [statistics(name, model.metadata.version) for name, model in live]
    return json_response(describe.statistics(found))


@openinference.get(_MODEL)
@openinference.get(_MODEL_VERSION)
async def model(exchange: Exchange) -> Reply:
    """The tensors of a model."""
    return json_response(describe.model(_live(exchange).metadata))


@openinference.get(f"{_MODEL}/ready")
@openinference.get(f"{_MODEL_VERSION}/ready")
async def model_ready(exchange: Exchange) -> Reply:
    """200 while the model is served; 404 where it is not, 503 from SIGTERM on."""
    found = _live(exchange)
    _not_leaving(exchange)
    return json_response({"name": found.metadata.name, "ready": True})


@openinference.get(f"{_MODEL}/config")
@openinference.get(f"{_MODEL_VERSION}/config")
async def config(exchange: Exchange) -> Reply:
    """The configuration of a model, in Triton's form."""
    return json_response(describe.config(_live(exchange), exchange.house.settings.max_queue_rows))


@openinference.get(f"{_MODEL}/stats", scope="metrics")
@openinference.get(f"{_MODEL_VERSION}/stats", scope="metrics")
async def model_statistics(exchange: Exchange) -> Reply:
    """How many requests a model answered, and where the time went."""
    metadata = _live(exchange).metadata
    found = statistics(metadata.name, metadata.version)
    return json_response(describe.statistics([found]))


@openinference.post("/v2/repository/index")
async def index(exchange: Exchange) -> Reply:
    """Every warm version, and the refused ones; {"ready": true} leaves those out."""
    wanted = _read_index(await exchange.content())
    return json_response(describe.index(exchange.house.inference.repository, ready=wanted.ready))


@openinference.post("/v2/repository/models/{name}/load", scope="admin")
async def load(exchange: Exchange) -> Reply:
    """Let a model answer, with what its folder holds now."""
    await exchange.content()
    await lifecycle.load(exchange.house.keeper, exchange.parameters["name"])
    return json_response({})


@openinference.post("/v2/repository/models/{name}/unload", scope="admin")
async def unload(exchange: Exchange) -> Reply:
    """Let a model answer no longer, until it is loaded."""
    await exchange.content()
    await lifecycle.unload(exchange.house.keeper, exchange.parameters["name"])
    return json_response({})


class _Index(msgspec.Struct):
    ready: bool = False


_index_decoder = msgspec.json.Decoder(_Index)


def _read_index(body: bytes) -> _Index:
    try:
        return _index_decoder.decode(body) if body else _Index()
    except (ValueError, RecursionError) as error:
        message = f'the body is neither empty nor of the form {{"ready": true}}: {error}'
        raise Malformed(message) from None


def _live(exchange: Exchange) -> AnyModel:
    repository = exchange.house.inference.repository
    return repository.get(exchange.parameters["name"], _version(exchange))


def _version(exchange: Exchange) -> int | None:
    text = exchange.parameters.get("version")
    return None if text is None else read_version(text)


def _not_leaving(exchange: Exchange) -> None:
    if exchange.leaving:
        raise Unavailable("the service is shutting down")


def _shorter(allowed: float | None, asked: float | None, exchange: Exchange) -> float | None:
    """Seconds from now: what the header allows, or the parameter, which counts from the head."""
    if asked is None:
        return allowed
    left = max(asked - exchange.seconds, 0.0)
    return left if allowed is None else min(left, allowed)
