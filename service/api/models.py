"""Which models answer, and what they say of themselves: `GET /v1/models`."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.responses import json_response
from service.contract.metadata import Metadata

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """Every model that answers, and every one that was refused, with the reason."""
    repository = request.app.state.forecaster.repository
    live = [
        _summary(model.metadata) | {"provider": model.runtime.provider}
        for _, model in sorted(repository.live.items())
    ]
    refused = [{"name": n, "reason": why} for n, why in sorted(repository.refused.items())]
    return json_response({"models": live, "refused": refused})


@router.get("/v1/models/{name}")
async def model(request: Request, name: str) -> Response:
    """The whole metadata of one model: signature, training, backtest, parity."""
    found = request.app.state.forecaster.repository.get(name)
    return json_response(found.metadata.model_dump(mode="json"))


def _summary(metadata: Metadata) -> dict[str, Any]:
    common = {"name": metadata.name, "version": metadata.version, "task": metadata.task}
    return common | metadata.signature.summary()
