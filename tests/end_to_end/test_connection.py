"""Below HTTP: bytes that are no request, heads without end, and clients who ask for another one."""

import json
import socket

import httpx
import pytest

from tests.end_to_end.server import ServerProcess
from tests.end_to_end.test_startup import counted

BODY = json.dumps(
    {"model": "tiny", "series": [{"item_id": "a", "start": "2024-01-01", "target": [1.0, 2.0]}]}
).encode()


def send(server: ServerProcess, *parts: bytes) -> bytes:
    """Everything that comes back on one connection until the server closes it."""
    host, port = server.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while received := connection.recv(65536):
                answer += received
        except ConnectionError:  # closed while we still wrote
            pass
    return answer


def post(*headers: bytes, body: bytes = BODY) -> bytes:
    """A request for a forecast, after which the server hangs up."""
    lines = [b"POST /v1/forecast HTTP/1.1", b"host: x", b"connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


LENGTH = b"content-length: %d" % len(BODY)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n",
        post(b"content-length: many"),
        post(LENGTH, b"content-length: 3"),
        post(LENGTH, b"transfer-encoding: chunked"),
        post(b"content-length: " + b"9" * 5000),
    ],
    ids=["TLS", "HTTP/2", "CONNECT", "no length", "two lengths", "both lengths", "huge length"],
)
def test_what_is_not_a_request_gets_an_error_like_all_others_and_is_counted(
    server: ServerProcess, http: httpx.Client, sent: bytes
) -> None:
    name = 'gatecast_requests_total{route="unknown",status="400"}'
    before = counted(http, name)
    head, _, body = send(server, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert error["type"] == "malformed"
    assert "HTTP/1.1" in error["message"]
    assert counted(http, name) == before + 1


@pytest.mark.parametrize(
    "endless", [b"GET /health/live HTTP/1.1\r\nhost: x\r\n", b"GET /health/live HTTP/1.1\r\nx: "]
)
def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    server: ServerProcess, http: httpx.Client, endless: bytes
) -> None:
    name = 'gatecast_refused_total{reason="too_large"}'
    before = counted(http, name)
    line = b"x: " + b"v" * 997 + b"\r\n" if endless.endswith(b"\r\n") else b"v" * 1000
    send(server, endless, *[line * 1000] * 50)
    assert counted(http, name) == before + 1


def test_a_long_head_that_ends_is_served(server: ServerProcess) -> None:
    assert send(server, post(LENGTH, b"x: " + b"v" * 50_000)).startswith(b"HTTP/1.1 200")


def test_headers_after_a_chunked_body_are_let_go(server: ServerProcess) -> None:
    chunked = b"%x\r\n%s\r\n0\r\nx: %s\r\n\r\n" % (len(BODY), BODY, b"v" * 100)
    answer = send(server, post(b"transfer-encoding: chunked", body=chunked))
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_lost_to_an_upgrade_is_refused_with_the_remedy(server: ServerProcess) -> None:
    lines = [b"POST /v1/forecast HTTP/1.1", b"host: x", b"connection: Upgrade, HTTP2-Settings"]
    upgrade = b"\r\n".join([*lines, b"upgrade: h2c", LENGTH]) + b"\r\n\r\n"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(upgrade + BODY)
        answer = connection.recv(65536)
        while not answer.endswith(b"}}"):
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"without it" in answer
    assert "pip install" not in server.log


def test_requests_sent_at_once_are_answered_one_after_another(server: ServerProcess) -> None:
    live = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = send(server, live * 3 + post(LENGTH))
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.index(b'"live"') < answer.index(b'"median"')


def test_a_client_who_asks_first_is_told_to_go_on(server: ServerProcess) -> None:
    answer = send(server, post(LENGTH, b"expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


def test_requests_of_dialects_and_others_are_answered_in_their_order(server: ServerProcess) -> None:
    live = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    forecast = post(LENGTH).replace(b"connection: close\r\n", b"")
    ready = b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = send(server, (forecast + live + ready) * 3 + post(LENGTH))
    answers = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    marks = [b'"median"', b'"live"', b'"ready":true'] * 3 + [b'"median"']
    assert len(answers) == len(marks)
    assert all(mark in one for mark, one in zip(marks, answers, strict=True))
    assert all(one.startswith(b"date: ") for one in answers)


def test_a_client_of_http_1_0_is_answered_and_hung_up_on(server: ServerProcess) -> None:
    answer = send(server, b"POST /v1/forecast HTTP/1.0\r\n" + LENGTH + b"\r\n\r\n" + BODY)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["model"] == "tiny"


def test_a_head_of_a_route_without_one_is_405_and_has_no_body(server: ServerProcess) -> None:
    answer = send(server, b"HEAD /v1/forecast HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: POST\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
