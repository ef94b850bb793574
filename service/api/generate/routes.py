"""Texts: `POST /v1/generate` in JSON, whole or as server-sent events.

A text that could not be begun is answered like any other error, also where events were asked for:
the head waits for the first token.
"""

from pydantic import BaseModel, ConfigDict, Field

from service.api.body import BodyReader
from service.api.dialect import Dialect
from service.api.exchange import Exchange
from service.api.generate.events import HEADERS, MEDIA, following, piece_event
from service.api.model_name import read_model
from service.api.responses import Reply, error_response, model_header, to_json
from service.generation.agreement import LARGEST_SEED
from service.generation.generator import Text, Writing
from service.generation.inquiry import Manner, TextInquiry
from service.telemetry.account import Answered


class GenerateBody(BaseModel):
    """Which text to continue, with which model, and how."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: str = Field(description="name, name@version or name@alias", examples=["time-machine"])
    prompt: str = Field(
        description="The text to continue, in tokens of the model's vocabulary",
        examples=["time traveller"],
    )
    length: int = Field(description="Tokens to write, at least 1", examples=[200])
    temperature: float = Field(
        1.0,
        description="0 always takes the most likely token, 1 keeps the model's probabilities, more "
        "evens them out",
    )
    top_k: int | None = Field(
        None, description="Choose among so many of the most likely tokens; default: all"
    )
    top_p: float | None = Field(
        None,
        description="Choose among the fewest tokens that have this probability together, of those "
        "that top_k leaves; default: all",
    )
    seed: int | None = Field(
        None,
        description=f"0 to {LARGEST_SEED}; the same one gives the same text, whatever else the "
        "service does. Default: one is taken, and told",
    )
    stream: bool = Field(False, description="Answer in server-sent events")


class TextAnswer(BaseModel):
    """What follows the prompt."""

    model: str
    version: int
    text: str
    tokens: int
    seed: int = Field(description="Repeats the text")


generation = Dialect(error_response, prefix="/v1/generate", tag="generate")
_BODY = BodyReader(GenerateBody)
_EVENTS = {
    200: {
        "description": 'The text; where `stream` is true, an event `{"text"}` for each piece, then '
        "the event `end` with the totals, or `error`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@generation.post(
    "/v1/generate",
    runs_model=True,
    response_model=TextAnswer,
    responses=_EVENTS,
    openapi_extra=_BODY.documentation,
)
async def generate(exchange: Exchange) -> Reply:
    """Continue a text, token by token; the prompt is not repeated."""
    timeout_s = exchange.timeout_s
    body = _BODY.read(await exchange.content())
    inquiry = _inquiry(body, timeout_s)
    if body.stream:
        return await _begun(exchange.house.generator.begin(inquiry), exchange)
    text = await exchange.house.generator.generate(inquiry)
    headers = exchange.answered_by(text.model, text.version, text.timing)
    return Reply(_write(text), headers=headers)


async def _begun(writing: Writing, exchange: Exchange) -> Reply:
    """The first piece; an error before it is an error like all others."""
    metadata = writing.model.metadata
    try:
        first = await writing.piece()
    except BaseException:
        writing.sequence.leave()
        raise
    exchange.answered = Answered(metadata.name, metadata.version, None)
    headers = [*HEADERS, model_header(metadata.name, metadata.version)]
    return Reply(
        piece_event(first), media=MEDIA, headers=headers, parts=following(writing, exchange)
    )


def _inquiry(body: GenerateBody, timeout_s: float | None) -> TextInquiry:
    name, version = read_model(body.model)
    manner = Manner(body.temperature, body.top_k, body.top_p)
    return TextInquiry(
        *(name, version, body.prompt, body.length, manner, body.seed), timeout_s=timeout_s
    )


def _write(text: Text) -> bytes:
    return to_json(
        {
            "model": text.model,
            "version": text.version,
            "text": text.text,
            "tokens": text.tokens,
            "seed": text.seed,
        }
    )
