"""A row that makes the runtime raise: its caller is told, and nobody else notices."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.artifacts import edit
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_promises import random_series, request
from tests.end_to_end.test_startup import counted

TRIGGER = 31337.0


def guilty(item_id: str) -> dict[str, Any]:
    return {"item_id": item_id, "start": "2024-01-01", "target": [1.0, TRIGGER, 2.0]}


def test_only_the_guilty_rows_of_callers_at_once_get_the_error(tmp_path: Path) -> None:
    edit.raising(tmp_path, TRIGGER)
    many = random_series(120)
    mixed = [guilty(str(at)) if at % 10 == 7 else one for at, one in enumerate(many)]
    with serving(tmp_path) as server, client(server) as http:
        whole = http.post("/v1/forecast", json=request(*many)).json()["series"]
        answers = asyncio.run(asked_at_once(server, mixed))
        metrics = 'gatecast_requests_total{route="/v1/forecast",status="500"}'
        assert counted(http, metrics) == 12
        together = http.post("/v1/forecast", json=request(*mixed))
        assert together.status_code == 500  # of one caller: it may leave the row out
        assert http.post("/v1/forecast", json=request(*many)).json()["series"] == whole
    for at, (expected, answer) in enumerate(zip(whole, answers, strict=True)):
        if at % 10 == 7:
            assert answer.status_code == 500
            assert answer.json()["error"]["type"] == "inference_failed"
        else:
            assert answer.status_code == 200, answer.text
            assert answer.json()["series"] == [expected]


async def asked_at_once(server: ServerProcess, many: list[dict[str, Any]]) -> list[httpx.Response]:
    """Each series from a caller of its own, 60 of them at a time."""
    limits = httpx.Limits(max_connections=60)
    options: dict[str, Any] = {"timeout": 60, "trust_env": False, "limits": limits}
    async with httpx.AsyncClient(base_url=server.url, **options) as http:
        bodies = [json.dumps(request(one)) for one in many]
        asked = [http.post("/v1/forecast", content=body) for body in bodies]
        return await asyncio.gather(*asked)
