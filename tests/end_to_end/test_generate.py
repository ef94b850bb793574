"""Texts over HTTP: the whole answer, events while it is written, and whatever may go wrong."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.generation.agreement import agree
from service.generation.alone import write
from service.generation.inquiry import Manner, TextInquiry
from tests.artifacts import babble, edit
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_metrics import value
from tests.end_to_end.test_startup import eventually
from tests.service.generation.models import opened

ROUTE = "/v1/generate"
BABBLE = {"model": "babble", "version": "1"}
LETTERS = opened()
MOST = 400_000  # tokens, so that a text can outlive whatever happens to it
LONG = {"length": MOST - 100}
LASTING = 30_000  # tokens: seconds, and compared with the whole text in one
A_DAY = {"gatecast-timeout-ms": "86400000"}

Event = tuple[str, Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of letters, one of words, and a forecaster."""
    folder = tmp_path_factory.mktemp("models")
    babble.write(folder)
    babble.write(folder, "words", babble.signature(babble.WORDS))
    edit.copy(folder)
    return folder


@pytest.fixture(scope="module", params=[1, 2], ids=["one lane", "two lanes"])
def running(request: pytest.FixtureRequest, models: Path) -> Iterator[ServerProcess]:
    """A server of them."""
    lanes = request.param
    with serving(models, lanes=lanes, max_batch_rows=5, max_text_tokens=MOST) as server:
        yield server


@pytest.fixture
def http(running: ServerProcess) -> Iterator[httpx.Client]:
    """A client of it."""
    with client(running) as opened_client:
        yield opened_client


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "babble", "prompt": "time traveller", "length": 30, "seed": 1} | changes


def expected(**changes: Any) -> str:
    """What the command line writes."""
    asked = body(**changes)
    manner = Manner(asked.get("temperature", 1.0), asked.get("top_k"), asked.get("top_p"))
    inquiry = TextInquiry("", None, asked["prompt"], asked["length"], manner, asked["seed"])
    plan = agree(inquiry, LETTERS.metadata.signature, MOST)
    return LETTERS.metadata.signature.decode(list(write(LETTERS, plan)))


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events as their standard has them: (type, data), each ended by an empty line."""
    kind, data = "message", ""
    for line in lines:
        if line:
            field, _, content = line.partition(": ")
            assert field in ("event", "data"), line
            kind, data = (content, data) if field == "event" else (kind, data + content)
        else:
            yield kind, json.loads(data)
            kind, data = "message", ""
    assert not data, "the last event was cut off"


def streamed(http: httpx.Client, asked: dict[str, Any], headers: Any = None) -> list[Event]:
    """All events of a text."""
    asked = asked | {"stream": True}
    with http.stream("POST", ROUTE, json=asked, headers=headers or {}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        return list(events(answer.iter_lines()))


def text_of(found: list[Event]) -> str:
    return "".join(data["text"] for kind, data in found if kind == "message")


def test_an_answer_is_the_text_that_the_command_line_writes(http: httpx.Client) -> None:
    answer = http.post(ROUTE, json=body(temperature=0.7, top_k=9, top_p=0.8))
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "babble",
        "version": 1,
        "text": expected(temperature=0.7, top_k=9, top_p=0.8),
        "tokens": 30,
        "seed": 1,
    }
    assert answer.headers["gatecast-model"] == "babble@1"
    assert re.fullmatch(
        r"queue;dur=\S+, compute;dur=\S+, total;dur=\S+", answer.headers["server-timing"]
    )


def test_a_seed_is_chosen_and_told_where_none_is_given(http: httpx.Client) -> None:
    first = http.post(ROUTE, json=body(seed=None)).json()
    again = http.post(ROUTE, json=body(seed=first["seed"])).json()
    assert again == first
    assert http.post(ROUTE, json=body(seed=None)).json()["seed"] != first["seed"]


def test_the_events_of_a_text_are_the_text_and_end_with_its_totals(http: httpx.Client) -> None:
    *pieces, (kind, totals) = streamed(http, body(length=500))
    assert {piece for piece, _ in pieces} == {"message"}
    assert text_of(pieces) == expected(length=500)
    assert kind == "end"
    assert totals.pop("queue_ms") >= 0
    assert totals.pop("compute_ms") > 0
    assert totals == {"model": "babble", "version": 1, "tokens": 500, "seed": 1}


def test_words_come_parted_by_blanks_whole_and_in_pieces(http: httpx.Client) -> None:
    asked = body(model="words@1", prompt="the time", length=100)
    whole = http.post(ROUTE, json=asked).json()
    assert len(whole["text"].split(" ")) == 100
    assert text_of(streamed(http, asked)) == whole["text"]


def test_a_connection_can_be_used_again_after_events(http: httpx.Client) -> None:
    with http.stream("POST", ROUTE, json=body(stream=True)) as answer:
        stream = answer.extensions["network_stream"]
        list(events(answer.iter_lines()))
    again = http.post(ROUTE, json=body())
    assert again.extensions["network_stream"] is stream
    assert again.json()["text"] == expected()


ASKED = st.fixed_dictionaries(
    {
        "prompt": st.text(babble.LETTERS, min_size=1, max_size=12),
        "length": st.integers(1, 60),
        "seed": st.integers(0, 2**53 - 1),
        "temperature": st.sampled_from([0, 0.5, 1.0, 1.5]),
        "top_k": st.none() | st.integers(1, 28),
        "top_p": st.none() | st.floats(0.01, 1.0),
    }
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(ASKED, st.booleans()), min_size=1, max_size=24))
def test_a_text_is_the_same_alone_and_among_others(
    running: ServerProcess, asked: list[tuple[dict[str, Any], bool]]
) -> None:
    def one(of: tuple[dict[str, Any], bool]) -> str:
        changes, in_pieces = of
        with client(running) as http:
            if in_pieces:
                return text_of(streamed(http, body(**changes)))
            answer = http.post(ROUTE, json=body(**changes))
            assert answer.status_code == 200, answer.text
            text: str = answer.json()["text"]
            return text

    with ThreadPoolExecutor(12) as crowd:
        found = list(crowd.map(one, asked))
    assert found == [expected(**changes) for changes, _ in asked]


@pytest.mark.parametrize(
    ("changes", "status", "field", "said"),
    [
        ({"prompt": ""}, 422, "prompt", "send at least one character"),
        ({"prompt": "Time"}, 422, "prompt", "'T' at character 0"),
        ({"prompt": "\U0001f600"}, 422, "prompt", "vocabulary of 28 characters"),
        ({"prompt": "a" * MOST}, 413, "prompt", f"prompt has {MOST} characters"),
        ({"prompt": 5}, 400, "prompt", "valid string"),
        ({"prompt": None}, 400, "prompt", "valid string"),
        ({"length": 0}, 422, "length", "expected 1 or more"),
        ({"length": -1}, 422, "length", "expected 1 or more"),
        ({"length": MOST}, 413, "length", f"at most {MOST}"),
        ({"length": 10**40}, 413, "length", f"at most {MOST}"),
        ({"length": 1.5}, 400, "length", "valid integer"),
        ({"length": True}, 400, "length", "valid integer"),
        ({"temperature": -0.5}, 422, "temperature", "temperature is -0.5"),
        ({"temperature": "hot"}, 400, "temperature", "valid number"),
        ({"top_k": 0}, 422, "top_k", "expected 1 to 28"),
        ({"top_k": 29}, 422, "top_k", "expected 1 to 28"),
        ({"top_p": 0}, 422, "top_p", "above 0"),
        ({"top_p": 1.1}, 422, "top_p", "up to 1"),
        ({"seed": -1}, 422, "seed", "expected 0 to"),
        ({"seed": 2**53}, 422, "seed", "expected 0 to"),
        ({"stream": "yes"}, 400, "stream", "valid boolean"),
        ({"model": "nobody"}, 404, "model", "served: babble, tiny, words"),
        ({"model": "babble@2"}, 404, "model", "version 1, not 2"),
        ({"model": "../babble"}, 400, "model", "expected name"),
        ({"model": "tiny"}, 422, "model", "has the task forecast"),
        ({"model": "words", "prompt": "the clock"}, 422, "prompt", "'clock' at word 1"),
        ({"top_n": 1}, 400, "top_n", "is not a field of this request"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_told_by_its_field(
    http: httpx.Client, changes: dict[str, Any], status: int, field: str, said: str, stream: bool
) -> None:
    answer = http.post(ROUTE, json=body(**({"stream": stream} | changes)))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["field"] == field
    assert said in error["message"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"temperature": NaN}', b'{"temperature": 1e999}', b"\xff"]
)
def test_what_is_no_body_is_malformed(http: httpx.Client, content: bytes) -> None:
    answer = http.post(ROUTE, content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "malformed"


@pytest.mark.parametrize("missing", ["model", "prompt", "length"])
def test_a_missing_field_is_named(http: httpx.Client, missing: str) -> None:
    asked = body()
    del asked[missing]
    answer = http.post(ROUTE, json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == missing


def test_a_language_model_does_not_forecast(http: httpx.Client) -> None:
    series = [{"item_id": "a", "start": "2024-01-01", "target": [1.0]}]
    answer = http.post("/v1/forecast", json={"model": "babble", "series": series})
    assert answer.status_code == 422
    assert "has the task language" in answer.json()["error"]["message"]


def least_ms(http: httpx.Client, length: int) -> float:
    """What the service says that so long a text takes at least."""
    headers = {"gatecast-timeout-ms": "1"}
    answer = http.post(ROUTE, json=body(length=length), headers=headers)
    assert answer.status_code == 504
    message = answer.json()["error"]["message"]
    found = re.search(r"steps take (\d+) ms and the request allows", message)
    assert found, message
    return float(found[1])


def test_a_deadline_ends_a_text_on_its_way(running: ServerProcess, http: httpx.Client) -> None:
    headers = {"gatecast-timeout-ms": str(round(2 * least_ms(http, LASTING)))}
    asked = body(length=LASTING)
    with ThreadPoolExecutor(1) as pool, client(running) as other:
        waiting = pool.submit(http.post, ROUTE, json=asked, headers=headers)
        assert eventually(lambda: value(other, "gatecast_texts", **BABBLE) == 1)
        let_pass(running, headers)
        answer = waiting.result()
        assert answer.status_code == 504
        assert answer.json()["error"]["type"] == "deadline"
        assert eventually(lambda: value(other, "gatecast_texts", **BABBLE) == 0)


def test_a_deadline_ends_the_events_of_a_text(running: ServerProcess, http: httpx.Client) -> None:
    headers = {"gatecast-timeout-ms": str(round(2 * least_ms(http, LASTING)))}
    asked = body(length=LASTING, stream=True)
    with http.stream("POST", ROUTE, json=asked, headers=headers) as answer:
        found = events(answer.iter_lines())
        first = next(found)
        let_pass(running, headers)
        *pieces, (kind, data) = [first, *found]
    assert kind == "error"
    written = len(text_of(pieces))
    assert text_of(pieces) == expected(length=LASTING)[:written]
    assert f"{written} of {LASTING} tokens were written" in data["error"]["message"]
    assert data["error"]["type"] == "deadline"
    assert eventually(lambda: value(http, "gatecast_texts", **BABBLE) == 0)


def let_pass(running: ServerProcess, headers: dict[str, str]) -> None:
    """The time that a request was given, while the service stands still: it cannot be in time."""
    with running.standing_still():
        time.sleep(float(headers["gatecast-timeout-ms"]) / 1e3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_hangs_up_frees_its_place(
    running: ServerProcess, http: httpx.Client, stream: bool
) -> None:
    gone = value(http, "gatecast_cancelled_total")
    cancelled = value(http, "nv_inference_request_failure", **BABBLE, reason="CANCELED")
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        content = json.dumps(body(stream=stream, **LONG)).encode()
        head = f"POST {ROUTE} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n"
        head += "".join(f"{name}: {said}\r\n" for name, said in A_DAY.items())
        connection.sendall(head.encode() + b"\r\n" + content)
        if stream:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert eventually(lambda: value(http, "gatecast_texts", **BABBLE) == 1)
    assert eventually(lambda: value(http, "gatecast_texts", **BABBLE) == 0)
    assert value(http, "gatecast_cancelled_total") == gone + 1
    name = "nv_inference_request_failure"
    assert value(http, name, **BABBLE, reason="CANCELED") == cancelled + 1


def test_texts_tokens_and_steps_are_counted(models: Path) -> None:
    with serving(models) as server, client(server) as http:
        for length in (1, 7, 20):
            assert http.post(ROUTE, json=body(prompt="abc", length=length)).status_code == 200
        streamed(http, body(prompt="abc", length=12))
        steps = 4 * 3 + (1 + 7 + 20 + 12) - 4
        assert value(http, "gatecast_tokens_total", **BABBLE) == 40
        assert value(http, "gatecast_first_token_seconds_count", **BABBLE) == 4
        assert value(http, "gatecast_step_texts_count", **BABBLE) == steps
        assert value(http, "gatecast_step_texts_sum", **BABBLE) == steps
        assert value(http, "gatecast_texts", **BABBLE) == 0
        assert value(http, "nv_inference_request_success", **BABBLE) == 4
        assert value(http, "nv_inference_count", **BABBLE) == steps
        assert value(http, "nv_inference_exec_count", **BABBLE) == steps
        assert value(http, "gatecast_batch_rows_sum", **BABBLE) == steps
        assert value(http, "gatecast_requests_total", route=ROUTE, status="200") == 4
        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        spent = [value(http, f"nv_inference_{part}_duration_us", **BABBLE) for part in parts]
        assert min(spent) > 0
        assert sum(spent) <= value(http, "nv_inference_request_duration_us", **BABBLE)


def test_more_texts_than_may_be_written_at_once_are_told_when_to_come_back(models: Path) -> None:
    with (
        serving(models, max_queue_rows=1, max_text_tokens=MOST) as server,
        client(server) as http,
        client(server) as other,
        http.stream("POST", ROUTE, json=body(stream=True, **LONG), headers=A_DAY) as first,
    ):
        assert first.status_code == 200
        answer = other.post(ROUTE, json=body(), headers=A_DAY)
        assert answer.status_code == 429
        assert answer.json()["error"]["type"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
        assert value(other, "gatecast_refused_total", reason="overloaded") == 1


def test_texts_on_their_way_are_finished_when_the_service_leaves(models: Path) -> None:
    with serving(models) as server, client(server) as http:
        asked = body(stream=True, length=2000)
        with http.stream("POST", ROUTE, json=asked, headers=A_DAY) as answer:
            found = events(answer.iter_lines())
            first = next(found)
            server.terminate()
            rest = list(found)
        assert rest[-1][0] == "end"
        assert text_of([first, *rest]) == expected(length=2000)
        assert server.wait() == 0
    assert "Traceback" not in server.log


def test_a_text_cut_off_by_the_shutdown_is_told_so(models: Path) -> None:
    limits: dict[str, Any] = {"shutdown_timeout_s": 1, "drain_grace_s": 0}
    with serving(models, max_text_tokens=MOST, **limits) as server, client(server) as http:
        asked = body(stream=True, **LONG)
        with http.stream("POST", ROUTE, json=asked, headers=A_DAY) as answer:
            found = events(answer.iter_lines())
            next(found)
            server.terminate()
            kind, data = list(found)[-1]
        assert kind == "error"
        assert data["error"]["type"] == "unavailable"
        assert server.wait() == 0
    assert "Traceback" not in server.log
