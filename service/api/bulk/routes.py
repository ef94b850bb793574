"""`POST /v1/forecast/bulk`: thousands of series in one body, as packed JSON or as a table.

The form of the body is that of its content type; the form of the answer is the first of `Accept`
that is spoken here, else that of the body.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

from service.api.bulk import tables
from service.api.bulk.aside import Pace
from service.api.bulk.body import BulkAnswer, BulkBody, read_packed, write_forecast
from service.api.bulk.helper import PARQUET, STREAM, Helper
from service.api.bulk.packed import Packed, forecast_packed
from service.api.dialect import Dialect
from service.api.exchange import Exchange
from service.api.responses import Reply, error_response
from service.contract.forecast import ForecastMetadata
from service.errors import Malformed, UnsupportedMedia

JSON = "application/json"
SPOKEN = (JSON, STREAM, PARQUET)

_ALSO_JSON = ("", "application/x-www-form-urlencoded", "text/plain")  # what curl and others say
_PART = 1 << 16  # bytes handed to a socket at once
_MEMORY = 1 << 29  # bytes for the helper, and per byte of a body:
_TIMES = 16

_TABLE = {"schema": {"type": "string", "format": "binary"}}
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string"}, "description": description}
    for name, description in (
        ("model", "Of a table: name, name@version or name@alias"),
        ("horizon", "Of a table: steps, 1 to the model's own; default: all"),
        ("quantile_levels", "Of a table: some of the model's own with commas; default: all"),
        ("freq", "Of a table: must be the model's own"),
    )
]

bulk = Dialect(error_response, prefix="/v1/forecast/bulk", tag="forecast")
helpers: dict[int, Helper] = {}  # of this process, by its memory


@bulk.post(
    "/v1/forecast/bulk",
    runs_model=True,
    response_model=BulkAnswer,
    openapi_extra={
        "parameters": _PARAMETERS,
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": BulkBody.model_json_schema()},
                STREAM: _TABLE,
                PARQUET: _TABLE,
            },
        },
    },
    responses={200: {"content": {STREAM: _TABLE, PARQUET: _TABLE}}},
)
async def forecast_bulk(exchange: Exchange) -> Reply:
    """Forecast thousands of series, all or none.

    A table has the columns item_id, timestamp, target (or unique_id, ds, y) and the covariates of
    the model, one row for each step; or item_id, start, target, one row for each series with its
    values as a list. A step without a row, a null and a NaN are missing values. Where the model
    has known covariates, the last steps of each item are its horizon, without a target. The answer
    to either is a table of item_id, timestamp, and one column per quantile level.
    """
    media = _media(exchange)
    wanted = _wanted(exchange, media)
    for one in {media, wanted} - {JSON}:
        tables.check_installed(one)
    packed = replace(await _read(exchange, media), timeout_s=exchange.timeout_s)
    answer = await forecast_packed(exchange.house.forecaster, packed)
    headers = exchange.answered_by(answer.model, answer.version, answer.timing)
    if wanted == JSON:
        parts = write_forecast(answer)
    else:
        table = await tables.write_table(_helper(exchange), wanted, answer, exchange.timeout_s)
        parts = _cut(table)
    return await _reply(parts, wanted.encode(), headers)


async def close() -> None:
    """End what this process started for tables; to be called when the service ends."""
    while helpers:
        await helpers.popitem()[1].close()


def _media(exchange: Exchange) -> str:
    """The form of the body.

    Raises:
        UnsupportedMedia: another than the three.
    """
    text = (exchange.header(b"content-type") or b"").decode("latin-1")
    media = text.partition(";")[0].strip().lower()
    if media in _ALSO_JSON:
        return JSON
    if media not in SPOKEN:
        raise UnsupportedMedia(
            f"content-type is {media[:60]!r}, expected one of {', '.join(SPOKEN)}", "content-type"
        )
    return media


def _wanted(exchange: Exchange, media: str) -> str:
    """The form of the answer."""
    accepted = (exchange.header(b"accept") or b"").decode("latin-1").lower().split(",")
    named = (one.partition(";")[0].strip() for one in accepted)
    return next((one for one in named if one in SPOKEN), media)


async def _read(exchange: Exchange, media: str) -> Packed:
    """The body as what is asked; a table is not looked at before its model is found."""
    if media == JSON:
        if exchange.query_params:
            message = "the query is for tables; say it in the body of packed JSON"
            raise Malformed(message, next(iter(exchange.query_params)))
        limit = exchange.house.inference.batcher.max_queue_rows
        return await read_packed(await exchange.content(), limit)
    asked = tables.read_query(exchange.query_params)
    find = exchange.house.inference.repository.get_for
    find(ForecastMetadata, asked.model, asked.version)
    body = await exchange.content()
    model = find(ForecastMetadata, asked.model, asked.version, body)
    signature, limit = model.metadata.signature, exchange.house.settings.max_body_bytes
    helper, left = _helper(exchange), exchange.timeout_s
    table = await tables.read_table(helper, media, body, asked, signature, limit, left)
    return replace(table, found=model)


def _helper(exchange: Exchange) -> Helper:
    memory = _MEMORY + _TIMES * exchange.house.settings.max_body_bytes
    return helpers.setdefault(memory, Helper(memory))


async def _cut(table: memoryview) -> AsyncIterator[bytes]:
    for at in range(0, len(table), _PART):
        yield bytes(table[at : at + _PART])


async def _reply(
    parts: AsyncIterator[bytes], media: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> Reply:
    """A short answer in one piece, a long one part by part."""
    begun: list[bytes] = []
    size = 0
    async for part in parts:
        begun.append(part)
        size += len(part)
        if size > _PART:
            return Reply(b"".join(begun), media=media, headers=headers, parts=_paced(parts))
    return Reply(b"".join(begun), media=media, headers=headers)


async def _paced(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The same, written while they are sent; others are answered between two of them."""
    pace = Pace(_PART)
    async for part in parts:
        yield part
        await pace.spend(len(part))
