"""What happened, and how good the forecasts were: `POST /v1/actuals`, `GET .../quality`."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from service.api.dialect import Dialect
from service.api.documentation import json_body
from service.api.exchange import Exchange
from service.api.json_body import read_struct
from service.api.responses import Reply, error_response, json_response
from service.contract.forecast import ForecastMetadata
from service.contract.layout import is_name
from service.contract.timestamp import InvalidTimestamp, read_timestamp
from service.errors import Malformed, NotFound, TooLarge, Unservable
from service.quality.actual import Actual, is_storable

if TYPE_CHECKING:
    from service.quality.desk import Desk  # which needs a library that not everyone has

MOST_ACTUALS = 5_000  # of one request: read by one call of a parser, in 1 ms
_LARGEST = 1e36  # as of a target


class ActualBody(msgspec.Struct, forbid_unknown_fields=True):
    """What happened to an item at a moment."""

    item_id: str
    timestamp: str
    value: float
    model: str | None = None  # null: for the forecasts of all models


class ActualsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Several, or the fields of a single one."""

    actuals: list[ActualBody] | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    value: float | UnsetType = UNSET
    model: str | None = None


_BODY = msgspec.json.Decoder(ActualsBody)
_ONE = msgspec.json.Decoder(ActualBody)

quality = Dialect(error_response, prefix="/v1/actuals", tag="quality")


@quality.post("/v1/actuals", openapi_extra=json_body(ActualsBody))
async def post_actuals(exchange: Exchange) -> Reply:
    """Say what happened: it is joined with the forecasts of that item and moment.

    A later value of the same item and moment takes the place of the one before. The answer says how
    many steps of recorded forecasts these actuals meet, those that come later not among them.
    """
    desk = _desk(exchange)
    many = _read(await exchange.content())
    met = await desk.post(lambda: [_actual(one, place) for place, one in _placed(many)])
    count = 1 if isinstance(many, ActualBody) else len(many)
    return json_response({"actuals": count, "met": met})


@quality.get("/v1/models/{name}/quality", scope="metrics")
async def get_quality(exchange: Exchange) -> Reply:
    """How good the forecasts of a model were, by version: of all that is kept, and recently."""
    desk = _desk(exchange)
    name = exchange.parameters["name"]
    exchange.inference.repository.get_for(ForecastMetadata, name)
    lineup = exchange.inference.repository.lineups[name]
    everything, recent = await desk.scores(name)
    versions = [
        {
            "version": version,
            "aliases": sorted(a for a, meant in lineup.roles().items() if meant == version),
            "all": found.content(),
            "recent": recent[name, version].content() if (name, version) in recent else None,
        }
        for (_, version), found in everything.items()
    ]
    return json_response(
        {"model": name, "recent_days": desk.recent_s / 86_400, "versions": versions}
    )


def _desk(exchange: Exchange) -> "Desk":
    if exchange.desk is None:
        raise NotFound("no actuals are kept here; start the service with --quality")
    return exchange.desk


def _read(content: bytes) -> ActualBody | list[ActualBody]:
    """A single actual, or as many as may come at once."""
    body = read_struct(_BODY, content)
    if isinstance(body.actuals, UnsetType):
        return read_struct(_ONE, content)
    alone: tuple[Any, ...] = (body.item_id, body.timestamp, body.value)
    if any(one is not UNSET for one in alone) or body.model is not None:
        message = "the body has actuals and the fields of one beside it; send either"
        raise Malformed(message, "actuals")
    count = len(body.actuals)
    if not count:
        raise Unservable("actuals is empty; send at least one", "actuals")
    if count > MOST_ACTUALS:
        message = f"{count} actuals in one request, the limit is {MOST_ACTUALS}; split it"
        raise TooLarge(message, "actuals")
    return body.actuals


def _placed(many: ActualBody | list[ActualBody]) -> Iterator[tuple[str, ActualBody]]:
    """Each with how messages begin the names of its fields."""
    if isinstance(many, ActualBody):
        yield "", many
        return
    for at, one in enumerate(many):
        yield f"actuals[{at}].", one


def _actual(one: ActualBody, place: str) -> Actual:
    """One as it is written.

    Raises:
        Malformed, Unservable: naming the field.
    """
    if not (math.isfinite(one.value) and abs(one.value) <= _LARGEST):
        message = f"{place}value is {one.value:g}; the largest magnitude is {_LARGEST:g}"
        raise Unservable(message, f"{place}value")
    if one.model is not None and not is_name(one.model):
        message = f"{place}model is {one.model[:80]!r}, expected the name of a model, no version"
        raise Malformed(message, f"{place}model")
    try:
        moment = read_timestamp(one.timestamp)
    except InvalidTimestamp as error:
        raise Unservable(f"{place}timestamp: {error}", f"{place}timestamp") from None
    if not is_storable(one.item_id):
        message = f"{place}item_id must be UTF-8 of at most 1024 bytes without NUL"
        raise Unservable(message, f"{place}item_id")
    return Actual(one.item_id, int(moment.value.astype("int64")), one.value, one.model or "")
