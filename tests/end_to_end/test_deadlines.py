"""How long a request may take, said by its caller; and where its time went, said by the answer."""

import json
import re
import socket
import time
from contextlib import closing

import httpx
import pytest

from tests.conftest import ARTIFACTS
from tests.end_to_end.server import client, serving
from tests.end_to_end.test_bad_input import GOOD

BODY = json.dumps({"model": "tiny", "series": [GOOD]})
MANY = json.dumps({"model": "tiny", "series": [GOOD | {"item_id": str(at)} for at in range(5000)]})


def ask(http: httpx.Client, body: str, timeout: str | None) -> httpx.Response:
    headers = {} if timeout is None else {"gatecast-timeout-ms": timeout}
    return http.post("/v1/forecast", content=body, headers=headers)


@pytest.mark.parametrize("timeout", [None, "30000", "86400000"])
def test_an_answer_in_time_says_who_gave_it_and_where_the_time_went(
    http: httpx.Client, timeout: str | None
) -> None:
    answer = ask(http, BODY, timeout)
    assert answer.status_code == 200
    assert answer.headers["gatecast-model"] == "tiny@1"
    spent = dict(re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["server-timing"]))
    assert list(spent) == ["queue", "compute", "total"]
    assert float(spent["total"]) >= float(spent["queue"]) + float(spent["compute"]) > 0


@pytest.mark.parametrize("timeout", ["", "0", "-5", "1.5", "soon", "86400001", "9" * 5000])
def test_a_timeout_that_is_none_is_refused_by_name(http: httpx.Client, timeout: str) -> None:
    answer = ask(http, BODY, timeout)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["field"] == "gatecast-timeout-ms"
    assert "whole milliseconds, 1 to 86400000" in error["message"]


def test_what_cannot_be_done_in_time_is_refused_at_once(http: httpx.Client) -> None:
    answer = ask(http, MANY, "1")
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "deadline"
    assert "traceback" not in answer.text.lower()


def test_the_time_that_a_new_connection_waits_to_be_taken_is_part_of_the_deadline() -> None:
    body = BODY.encode()
    head = b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ngatecast-timeout-ms: 300\r\n"
    with serving(ARTIFACTS) as running, closing(socket.socket()) as caller:
        with running.standing_still():
            host, port = running.url.removeprefix("http://").split(":")
            caller.connect((host, int(port)))  # which the kernel answers
            caller.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.3)
        caller.settimeout(30)
        assert caller.recv(100).startswith(b"HTTP/1.1 504 ")


def test_the_services_own_timeout_holds_for_those_who_say_nothing() -> None:
    with serving(ARTIFACTS, default_timeout_ms=1) as hasty, client(hasty) as http:
        assert ask(http, MANY, None).status_code == 504
        assert ask(http, MANY, "60000").status_code == 200
        refused = re.search(
            r'gatecast_refused_total{reason="deadline"} (\S+)', http.get("/metrics").text
        )
        assert refused is not None
        assert float(refused[1]) == 1
