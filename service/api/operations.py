"""What platforms ask: alive, ready, metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.access.keyring import presented
from service.api.responses import json_response
from service.inference import Inference
from service.telemetry import metrics

router = APIRouter(tags=["operations"])
_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "No model is served, or the service leaves"}
}
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {metrics.CONTENT_TYPE: {"schema": {"type": "string"}}}},
    401: {"description": "No key, where there are keys"},
    403: {"description": "A key for something else"},
    429: {"description": "More requests than the key allows"},
}


@router.get("/health/live")
async def live() -> Response:
    """200 as long as the process answers."""
    return json_response({"status": "live"})


@router.get("/health/ready", responses=_READY)
async def ready(request: Request) -> Response:
    """200 while models are served; 503 without a model, and from SIGTERM on.

    The names of models are for those with a key, where there are keys.
    """
    state = request.app.state
    repository = state.inference.repository
    content = {}
    if state.keyring is None or state.keyring.knows(presented(dict(request.scope["headers"]))):
        content = {"models": sorted(repository.live), "refused": sorted(repository.refused)}
    if not state.drain.ready:
        return json_response({"status": "draining", **content}, 503)
    if not repository.live:
        return json_response({"status": "no model is served", **content}, 503)
    return json_response({"status": "ready", **content})


@router.get("/metrics", responses=_METRICS, response_class=Response)
async def prometheus(request: Request) -> Response:
    """Counters and histograms in the Prometheus text format."""
    inference: Inference = request.app.state.inference
    waiting = inference.batcher.waiting_jobs()
    runtimes = [model.runtime for model in inference.repository.live.values()]
    requests = {(one.name, one.version): waiting[one] for one in runtimes}
    metrics.observe_waiting(inference.batcher.waiting_rows, requests)
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)
