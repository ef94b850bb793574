"""Which models answer, what they say of themselves, and in which version: below /v1/models.

A change is made by the worker that is asked, and answered when it is done there; other workers see
it in the folder of models at their next look.
"""

import asyncio
from typing import Any

import msgspec

from service.api.dialect import Dialect
from service.api.documentation import json_body
from service.api.exchange import Exchange
from service.api.json_body import read_struct
from service.api.openinference.lifecycle import checked, read_version
from service.api.responses import Reply, error_response, json_response
from service.contract.aliases import LIVE
from service.contract.metadata import Metadata
from service.repository.live import Lineup

models = Dialect(error_response, prefix="/v1/models", tag="models")


class PromoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which version an alias shall mean."""

    version: int | None  # null: none; where the alias is live, the highest answers
    alias: str = LIVE
    share: float | None = None  # percent of requests, of canary and shadow


class VerifyBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which version to open once more."""

    version: int


_PROMOTE = msgspec.json.Decoder(PromoteBody)
_VERIFY = msgspec.json.Decoder(VerifyBody)


@models.get("/v1/models")
async def every_model(exchange: Exchange) -> Reply:
    """Every model that answers with its versions, and every refused version with the reason."""
    repository = exchange.house.inference.repository
    live = [_described(lineup) for _, lineup in sorted(repository.lineups.items())]
    refused = [
        {"name": name, "version": version or None, "reason": why}
        for name, reasons in sorted(repository.refused.items())
        for version, why in sorted(reasons.items())
    ]
    return json_response({"models": live, "refused": refused})


@models.get("/v1/models/{name}")
async def model(exchange: Exchange) -> Reply:
    """The whole metadata of one model: signature, training, backtest, parity."""
    found = exchange.house.inference.repository.get(exchange.parameters["name"])
    return json_response(found.metadata.model_dump(mode="json"))


@models.post("/v1/models/{name}/promote", scope="admin", openapi_extra=json_body(PromoteBody))
async def promote(exchange: Exchange) -> Reply:
    """Let an alias mean a version, once that is verified and warm; null takes the alias away."""
    name = checked(exchange.parameters["name"])
    asked = read_struct(_PROMOTE, await exchange.content())
    promoting = exchange.house.keeper.promote(name, asked.version, asked.alias, asked.share)
    return json_response(_described(await asyncio.shield(promoting)))


@models.post("/v1/models/{name}/rollback", scope="admin")
async def rollback(exchange: Exchange) -> Reply:
    """Let the version answer that did before."""
    name = checked(exchange.parameters["name"])
    await exchange.content()
    return json_response(_described(await asyncio.shield(exchange.house.keeper.rollback(name))))


@models.post("/v1/models/{name}/verify", scope="admin", openapi_extra=json_body(VerifyBody))
async def verify(exchange: Exchange) -> Reply:
    """Read a version, prove its golden answers on this machine, and let go of it again."""
    name = checked(exchange.parameters["name"])
    asked = read_struct(_VERIFY, await exchange.content())
    found = await asyncio.shield(exchange.house.keeper.verify(name, asked.version))
    content = {"name": name, "version": asked.version, "provider": found.runtime.provider}
    return json_response({**content, "verified": True})


@models.delete("/v1/models/{name}/versions/{version}", scope="admin")
async def delete(exchange: Exchange) -> Reply:
    """Delete a version that nothing means: neither live nor any other alias."""
    name = checked(exchange.parameters["name"])
    version = read_version(exchange.parameters["version"])
    await exchange.content()
    await asyncio.shield(exchange.house.keeper.delete(name, version))
    return json_response({"name": name, "version": version, "deleted": True})


def _described(lineup: Lineup) -> dict[str, Any]:
    metadata, runtime = lineup.live.metadata, lineup.live.runtime
    shares = {"canary": lineup.canary_share, "shadow": lineup.shadow_share}
    return _summary(metadata) | {
        "provider": runtime.provider,
        "aliases": lineup.roles(),
        "shares": {alias: share for alias, share in shares.items() if share},
    }


def _summary(metadata: Metadata) -> dict[str, Any]:
    common = {"name": metadata.name, "version": metadata.version, "task": metadata.task}
    return common | metadata.signature.summary()
