"""The log of a real service: every line can be read, and a caller finds its own request in it."""

import json
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service.access.keys import new_key
from tests.artifacts import babble
from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import address, eventually
from tests.end_to_end.rpc_client import channel, infer, message
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_metrics import body
from tests.end_to_end.test_startup import workers

ID = "x-request-id"
SECRET_ITEM = "an-item-nobody-may-read-of"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A file of keys; the id of its one key, and the key."""
    path = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    made, text = new_key("shop", ["infer"])
    path.write_text(made.model_dump_json() + "\n")
    return path, made.id, text


@pytest.fixture(scope="module")
def logging_server(key: tuple[Path, str, str]) -> Iterator[ServerProcess]:
    """Two workers that log in JSON, every request included."""
    told: dict[str, Any] = {
        "log_format": "json",
        "access_log": True,
        "grpc_port": 0,
        "keys": key[0],
    }
    with serving(ARTIFACTS, workers=2, **told) as server:
        yield server
        server.terminate()
        assert server.wait() == 0


@pytest.fixture
def asker(logging_server: ServerProcess, key: tuple[Path, str, str]) -> Iterator[httpx.Client]:
    with client(logging_server, headers={"x-api-key": key[2]}) as opened:
        yield opened


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in list(server.lines)]


def access_line(server: ServerProcess, name: str) -> dict[str, Any]:
    """The line of the request with this id, of which there is one."""

    def found() -> list[dict[str, Any]]:
        ours = [line for line in lines(server) if line["logger"] == "gatecast.access"]
        return [line for line in ours if line["request_id"] == name]

    assert eventually(lambda: bool(found())), server.log
    (line,) = found()
    return line


def test_every_line_is_an_object_with_time_level_logger_and_message(
    logging_server: ServerProcess, asker: httpx.Client
) -> None:
    name = asker.get("/v1/models").headers[ID]
    access_line(logging_server, name)
    ours = set(workers(logging_server))
    for line in lines(logging_server):
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
        assert {"level", "logger", "message"} <= line.keys()
        assert line.get("worker", min(ours)) in ours
    said = {line["message"] for line in lines(logging_server) if "worker" not in line}
    assert any(message.startswith("2 workers running on http://") for message in said)
    (settings,) = [x["settings"] for x in lines(logging_server) if x["message"] == "settings"]
    assert (settings["workers"], settings["log_format"]) == (2, "json")


def test_the_line_of_a_request_says_who_asked_what_and_where_its_time_went(
    logging_server: ServerProcess, asker: httpx.Client, key: tuple[Path, str, str]
) -> None:
    answer = asker.post("/v1/forecast", json=body(3), headers={ID: "order-17/a"})
    assert answer.headers[ID] == "order-17/a"
    line = access_line(logging_server, "order-17/a")
    times = {part.split(";dur=")[0]: part for part in answer.headers["server-timing"].split(", ")}
    assert {name: f"{name};dur={line[f'{name}_ms']:.3f}" for name in ("queue", "compute")} == {
        name: times[name] for name in ("queue", "compute")
    }
    assert line["total_ms"] >= line["queue_ms"] + line["compute_ms"]
    assert (
        line
        | {
            "message": "POST /v1/forecast 200",
            "method": "POST",
            "route": "/v1/forecast",
            "status": "200",
            "bytes": len(answer.content),
            "model": "tiny@1",
            "client": "127.0.0.1",
            "key": key[1],
        }
        == line
    )


def test_neither_a_secret_nor_an_item_is_in_the_log(
    logging_server: ServerProcess, asker: httpx.Client, key: tuple[Path, str, str]
) -> None:
    series = body(1)["series"]
    assert isinstance(series, list)
    asked = body(1) | {"series": [series[0] | {"item_id": SECRET_ITEM}]}
    assert asker.post("/v1/forecast", json=asked, headers={ID: "quiet"}).status_code == 200
    wrong = {"x-api-key": f"gc_{key[1]}_wrong", ID: "stranger"}
    assert asker.post("/v1/forecast", json=asked, headers=wrong).status_code == 401
    assert access_line(logging_server, "quiet")["key"] == key[1]
    assert access_line(logging_server, "stranger")["status"] == "401"
    secret = key[2].rpartition("_")[2]
    assert SECRET_ITEM not in logging_server.log
    assert secret not in logging_server.log
    assert "wrong" not in logging_server.log


@pytest.mark.parametrize("sent", ["", "two words", "a" * 129, 'quote"', "sl\\ash", "\x7f", "é"])
def test_an_id_of_another_form_is_replaced(asker: httpx.Client, sent: str) -> None:
    answer = asker.get("/v1/models", headers={ID.encode(): sent.encode("latin-1")})
    assert answer.headers[ID] != sent
    assert int(answer.headers[ID], 16) >= 0


def test_what_fastapi_serves_and_what_nobody_serves_have_their_lines(
    logging_server: ServerProcess, asker: httpx.Client
) -> None:
    for path, route, status in (
        ("/health/ready", "/health/ready", "200"),
        ("/v2/models/nobody/nothing", "unknown", "404"),
        ("/nowhere", "unknown", "404"),
    ):
        answer = asker.get(path)
        line = access_line(logging_server, answer.headers[ID])
        assert (line["method"], line["route"], line["status"]) == ("GET", route, status)
        assert line["bytes"] == len(answer.content)


def test_what_is_no_http_is_told_its_id(logging_server: ServerProcess) -> None:
    with socket.create_connection(address(logging_server), timeout=60) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    name = answer.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
    line = access_line(logging_server, name)
    assert (line["route"], line["status"], line["client"]) == ("unknown", "400", "127.0.0.1")


def test_a_call_of_grpc_gets_its_id_back_in_the_trailers(
    logging_server: ServerProcess, key: tuple[Path, str, str]
) -> None:
    sent = (("x-api-key", key[2]), (ID, "call-1"))
    with channel(logging_server) as opened:
        answer, call = infer(opened).with_call(message(), metadata=sent)
    assert dict(call.trailing_metadata())[ID] == "call-1"
    line = access_line(logging_server, "call-1")
    assert line["route"] == "/inference.GRPCInferenceService/ModelInfer"
    assert (line["status"], line["model"], line["key"]) == ("OK", "tiny@1", key[1])
    assert (line["client"], line["bytes"]) == ("127.0.0.1", answer.ByteSize())


@pytest.mark.parametrize("given", [False, True], ids=["stranger", "friend"])
def test_a_call_that_fails_is_told_an_id(
    logging_server: ServerProcess, key: tuple[Path, str, str], given: bool
) -> None:
    sent = (("x-api-key", key[2]),) if given else ()
    with channel(logging_server) as opened, pytest.raises(grpc.RpcError) as raised:
        infer(opened)(message(model_name="nobody"), metadata=sent)
    error: Any = raised.value
    name = dict(error.trailing_metadata())[ID]
    assert access_line(logging_server, name)["status"] == error.code().name


def test_without_an_access_log_only_errors_and_those_who_ask_get_an_id(
    http: httpx.Client,
) -> None:
    assert ID not in http.post("/v1/forecast", json=body(1)).headers
    assert http.post("/v1/forecast", json=body(1), headers={ID: "mine"}).headers[ID] == "mine"
    assert http.get("/health/live", headers={ID: "mine"}).headers[ID] == "mine"
    assert len(http.post("/v1/forecast", json={}).headers[ID]) == 32
    assert len(http.get("/nowhere").headers[ID]) == 32


def test_a_text_in_events_has_one_line_of_words_after_its_last(tmp_path: Path) -> None:
    babble.write(tmp_path)
    asked = {"model": "babble", "prompt": "time", "length": 20, "stream": True}
    with serving(tmp_path, access_log=True) as server:
        with client(server) as http:
            answer = http.post("/v1/generate", json=asked, headers={ID: "words"})
        server.terminate()
        assert server.wait() == 0  # the last lines are written before the end
    (line,) = [line for line in server.lines if "request_id=words" in line]
    assert line.startswith("INFO access request_id=words method=POST route=/v1/generate status=200")
    told = dict(word.split("=", 1) for word in line.split()[2:])
    end = json.loads(answer.text.split("event: end\ndata: ")[1])
    assert (int(told["bytes"]), told["model"]) == (len(answer.content), "babble@1")
    assert {f"{told[name]}" for name in ("queue_ms", "compute_ms")} == {
        f"{end[name]}" for name in ("queue_ms", "compute_ms")
    }
