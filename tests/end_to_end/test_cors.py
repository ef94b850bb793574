"""Pages of other origins: none unless named, and a named one may ask what a key lets it."""

import asyncio
from pathlib import Path

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.cors import Cors
from tests.conftest import ARTIFACTS
from tests.end_to_end.server import client, serving
from tests.end_to_end.test_keys import bearer, make
from tests.end_to_end.test_startup import REQUEST, refusal
from tests.service.api.ways import ASGI, CLOSE, DIRECT, PLAIN, ask, get, listening, request

PAGE = {"origin": "https://page.example"}
WISH = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
ALLOWED = "access-control-allow-origin"


def test_no_page_may_ask_where_none_is_named(http: httpx.Client) -> None:
    answers = [
        http.get("/health/live", headers=PAGE),
        http.post("/v1/forecast", json=REQUEST, headers=PAGE),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    preflights = [http.options(path, headers=PAGE | WISH) for path in ("/v1/forecast", "/metrics")]
    assert [answer.status_code for answer in preflights] == [405, 405]
    assert not any(name.startswith("access-control") for one in answers for name in one.headers)
    assert not any(name.startswith("access-control") for one in preflights for name in one.headers)


def test_a_named_page_may_ask_everywhere_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    key = bearer(make(path, "page"))
    origins = "https://page.example, http://localhost:3000"
    with (
        serving(ARTIFACTS, "--cors-origins", origins, keys=path) as server,
        client(server) as http,
    ):
        for path_of in ("/v1/forecast", "/v2/models/tiny/infer", "/v1/models", "/metrics"):
            asked = http.options(path_of, headers=PAGE | WISH)
            assert asked.status_code == 200
            assert asked.headers[ALLOWED] == PAGE["origin"]
            assert "POST" in asked.headers["access-control-allow-methods"]
            assert "x-api-key" in asked.headers["access-control-allow-headers"].lower()
            foreign = http.options(path_of, headers=WISH | {"origin": "https://other.example"})
            assert ALLOWED not in foreign.headers
        for headers, status in ((key, 200), ({}, 401)):
            answers = [
                http.post("/v1/forecast", json=REQUEST, headers=PAGE | headers),
                http.get("/v1/models", headers=PAGE | headers),
            ]
            for answer in answers:
                assert answer.status_code == status
                assert answer.headers[ALLOWED] == PAGE["origin"]
                assert answer.headers["vary"].lower() == "origin"
                assert "access-control-allow-credentials" not in answer.headers
        other = http.post("/v1/forecast", json=REQUEST, headers=key | {"origin": "null"})
        assert (other.status_code, ALLOWED in other.headers) == (200, False)
        assert ALLOWED not in http.post("/v1/forecast", json=REQUEST, headers=key).headers


@pytest.mark.parametrize(
    "sent",
    [
        request(b"/d/echo", CLOSE, b"origin: https://page.example"),
        request(b"/d/echo", CLOSE, b"origin: https://other.example"),
        get(b"/d/echo", CLOSE, b"origin: https://page.example", method=b"OPTIONS"),
        get(b"/d/nothing", CLOSE, b"origin: https://page.example", b"x-request-id: r"),
        PLAIN.replace(b"host: x", b"host: x\r\nconnection: close\r\norigin: https://page.example"),
    ],
)
@pytest.mark.parametrize("origins", [("https://page.example",), ("*",)])
def test_both_ways_say_the_same_of_origins(sent: bytes, origins: tuple[str, ...]) -> None:
    async def answers(protocol: type[HttpToolsProtocol]) -> bytes:
        async with listening(protocol, cors=Cors(origins)) as (_, port):
            return await ask(port, sent)

    direct = asyncio.run(answers(DIRECT))
    assert direct == asyncio.run(answers(ASGI))
    allowed = b"other" not in sent or origins == ("*",)
    assert (ALLOWED.encode() in direct) == allowed


@pytest.mark.parametrize("origin", ["page.example", "https://page.example/", "ftp://x", "https://"])
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    line = refusal("--cors-origins", f"https://good.example,{origin}")
    assert f"{origin!r} is no origin; expected for example" in line
