"""Whatever a client of the Open Inference Protocol sends wrong is answered in the protocol's words.

Never a 500, never a traceback, and the server goes on.
"""

import gzip
import json
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.end_to_end.openinference import HEADER, INFER, binary_body, json_body, rows
from tests.end_to_end.server import ServerProcess, client, serving

Request = tuple[bytes, dict[str, str]]  # content and headers
LIMIT = 100_000  # bytes of a body, of the small server


def as_json(body: object) -> Request:
    return json.dumps(body).encode(), {}


def body() -> dict[str, Any]:
    return json_body(rows(3, 4))


def text(content: str | bytes) -> Request:
    """A good request with other data of `context`, which is [2, 4]."""
    raw = content if isinstance(content, bytes) else content.encode()
    good = json.dumps(body()).encode()
    return re.sub(rb'"data": \[[^]]*\]', lambda _: b'"data": ' + raw, good, count=1), {}


def field(at: int, **changes: object) -> Request:
    """A good request with one input changed; None takes a member away."""
    changed = body()
    changed["inputs"][at] = {
        key: value for key, value in (changed["inputs"][at] | changes).items() if value is not None
    }
    return as_json(changed)


def top(**changes: object) -> Request:
    return as_json(body() | changes)


def inputs(*which: int) -> Request:
    good = body()["inputs"]
    return as_json({"inputs": [good[at] for at in which]})


def asked(**parameters: object) -> Request:
    return top(outputs=[{"name": "quantiles", "parameters": parameters}])


def binary(cut: int | None = None, more: bytes = b"", header: str | None = None) -> Request:
    """A good binary request: cut off, with more behind it, or with another header."""
    content, headers = binary_body(rows(3, 4))
    return content[:cut] + more, headers if header is None else {HEADER: header}


def binary_rows(name: str, values: object) -> Request:
    """A binary request with other values in one tensor."""
    tensors = rows(3, 4)
    tensors[name] = np.array(values, tensors[name].dtype)
    return binary_body(tensors)


def sized(size: object) -> Request:
    """A binary request whose first size is another."""
    content, headers = binary_body(rows(3, 4))
    end = int(headers[HEADER])
    head = json.loads(content[:end])
    head["inputs"][0]["parameters"]["binary_data_size"] = size
    text = json.dumps(head).encode()
    return text + content[end:], {HEADER: str(len(text))}


def packed(content: bytes, encoding: str) -> Request:
    return content, {"content-encoding": encoding}


GOOD = json.dumps(body()).encode()
WRONG: dict[str, tuple[Request, int, str]] = {
    # not the documented request
    "no body": ((b"", {}), 400, "not JSON"),
    "not JSON": ((b"context=1,2", {}), 400, "not JSON"),
    "truncated": ((GOOD[:-20], {}), 400, "not JSON"),
    "trailing bytes": ((GOOD + b"x", {}), 400, "not JSON"),
    "a list": ((b"[]", {}), 400, "object"),
    "a null": ((b"null", {}), 400, "object"),
    "invalid UTF-8 in the id": ((GOOD[:-1] + b', "id": "\xff"}', {}), 400, "UTF-8"),
    "half a surrogate": ((GOOD[:-1] + rb', "id": "\ud800"}', {}), 400, "not JSON"),
    "deep nesting": ((b'{"inputs":' + b"[" * 100_000, {}), 400, "."),
    "deep parameters": (
        (GOOD[:-1] + b', "parameters": {"a":' + b"[" * 99_999 + b"]" * 99_999 + b"}}", {}),
        400,
        "nested 100001 deep",
    ),
    "id a number": (top(id=7), 400, "id: expected str"),
    "inputs missing": (as_json({"id": "7"}), 400, "inputs is missing"),
    "inputs an object": (top(inputs={}), 400, "inputs: expected array"),
    "no input": (top(inputs=[]), 400, "'context', 'lengths' is missing.*context float32"),
    "an input a text": (top(inputs=["context"]), 400, r"inputs\[0\]: expected object"),
    "one input missing": (inputs(0), 400, "'lengths' is missing"),
    "an input twice": (inputs(0, 1, 0), 400, "'context' is sent twice"),
    "name missing": (field(0, name=None), 400, r"inputs\[0\].name is missing"),
    "shape missing": (field(0, shape=None), 400, r"inputs\[0\].shape is missing"),
    "datatype missing": (field(0, datatype=None), 400, r"inputs\[0\].datatype is missing"),
    "data missing": (field(1, data=None), 400, "'lengths' has neither 'data' nor binary_data_size"),
    "both data": (
        field(0, parameters={"binary_data_size": 32}),
        400,
        "'context' has both 'data' and binary_data_size",
    ),
    "unknown input": (
        field(0, name="z"),
        400,
        r"unexpected inference input 'z' for model 'tiny'; it takes context FP32 \[-1, -1\]",
    ),
    "FP64": (field(0, datatype="FP64"), 400, "data-type is 'FP64', but.*'tiny' expects 'FP32'"),
    "INT32": (field(1, datatype="INT32"), 400, "data-type is 'INT32', but.* expects 'INT64'"),
    "BYTES": (field(0, datatype="BYTES"), 400, "data-type is 'BYTES'"),
    "no datatype": (field(0, datatype=""), 400, "data-type is ''"),
    # shapes
    "one axis": (field(0, shape=[8]), 400, r"expected \[-1, -1\], got \[8\]"),
    "three axes": (field(0, shape=[2, 4, 1]), 400, r"got \[2, 4, 1\]"),
    "no axis": (field(1, shape=[]), 400, r"expected \[-1\], got \[\]"),
    "a thousand axes": (field(0, shape=[1] * 1000), 400, "got"),
    "zero rows": (field(0, shape=[0, 4], data=[]), 400, r"shape\[0\]: expected int >= 1"),
    "zero steps": (field(0, shape=[2, 0], data=[]), 400, r"shape\[1\]: expected int >= 1"),
    "negative": (field(0, shape=[-2, -4]), 400, r"shape\[0\]: expected int >= 1"),
    "wildcard": (field(0, shape=[2, -1]), 400, r"shape\[1\]: expected int >= 1"),
    "shape a text": (field(0, shape="2,4"), 400, "shape: expected array"),
    "shape a fraction": (field(0, shape=[2.5, 4]), 400, r"shape\[0\]: expected int"),
    "shape of 4000 digits": (
        (GOOD.replace(b'"shape": [2, 4]', b'"shape": [1%b, 4]' % (b"0" * 4000)), {}),
        400,
        "shape",
    ),
    "shape too large": (field(0, shape=[2**40, 2**40]), 400, "has 8 elements in 'data'"),
    "other rows than lengths": (
        field(1, shape=[3], data=[4, 4, 4]),
        400,
        r"lengths has the shape \[3\], expected \[2\] beside context \[2, 4\]",
    ),
    # data in JSON
    "too few": (text("[1, 2, 3, 4, 5, 6, 7]"), 400, r"has 7 elements in 'data', expected 8"),
    "too many": (text(str([1] * 9)), 400, "has 9 elements"),
    "none": (text("[]"), 400, "has 0 elements"),
    "null": (text("null"), 400, "expected array"),
    "a number": (text("7"), 400, "expected array"),
    "NaN": (text("[1, 2, 3, 4, NaN, 6, 7, 8]"), 400, "not JSON.*write null"),
    "Infinity": (text("[1, 2, 3, 4, -Infinity, 6, 7, 8]"), 400, "not JSON.*write null"),
    "1e999": (text("[1, 2, 3, 4, 1e999, 6, 7, 8]"), 400, r"data\[4\]"),
    "a text": (text('[1, 2, 3, 4, "5", 6, 7, 8]'), 400, r"data\[4\]: expected.*got str"),
    "NaN as a text": (text('["NaN", 2, 3, 4, 5, 6, 7, 8]'), 400, r"data\[0\]: expected.*got str"),
    "true": (text("[1, 2, 3, 4, true, 6, 7, 8]"), 400, r"data\[4\]: expected.*got bool"),
    "an object": (text("[1, 2, 3, 4, {}, 6, 7, 8]"), 400, r"data\[4\]: expected"),
    "an integer of 400 digits": (
        text(f"[1, 2, 3, 4, 1{'0' * 400}, 6, 7, 8]"),
        400,
        r"element 4 of 'data' is 1000.*\.\.\., expected a finite number",
    ),
    "an integer of 5000 digits": (text(f"[1{'0' * 5000}]"), 400, r"data\[0\]"),
    "nested otherwise": (text("[[1, 2], [3, 4], [5, 6], [7, 8]]"), 400, "not nested as the shape"),
    "nested unevenly": (text("[[1, 2, 3, 4], [5, 6, 7]]"), 400, "not nested as the shape"),
    "nested in part": (text("[1, 2, 3, 4, [5], 6, 7, 8]"), 400, "element 4 of 'data' is a list"),
    "nested too deeply": (text("[[[[1]]]]"), 400, "expected"),
    "a null length": (field(1, data=[3, None]), 400, "element 1 of 'data' is None.*whole number"),
    "a fraction as length": (field(1, data=[3.0, 4]), 400, "element 0 of 'data' is 3.0.*whole"),
    "a length of 65 bits": (field(1, data=[3, 2**64]), 400, "element 1 of 'data' is 1844674407"),
    # binary data
    "header a text": (binary(header="x"), 400, "Content-Length is 'x'"),
    "header negative": (binary(header="-1"), 400, "Content-Length is '-1'"),
    "header too large": (binary(header="100000"), 400, "at most"),
    "header of 400 digits": (binary(header="9" * 400), 400, "Content-Length is '9999"),
    "header 0": (
        binary(header="0"),
        400,
        "raw body has room for one input, and model 'tiny' takes context, lengths",
    ),
    "header too short": (binary(header="50"), 400, "not JSON"),
    "header one too long": (
        binary(header=str(int(binary()[1][HEADER]) + 1)),
        400,
        "not JSON",
    ),
    "header missing": ((binary()[0], {}), 400, "not JSON"),
    "binary cut off": (binary(cut=-3), 400, "'lengths' has 13 bytes of data, expected 16"),
    "binary cut in the first": (binary(cut=-20), 400, "'context' has 28 bytes.*expected 32"),
    "binary without its last": (binary(cut=-16), 400, "'lengths' has 0 bytes.*expected 16"),
    "binary with more": (binary(more=b"x" * 5), 400, "unexpected additional input data: 5 bytes"),
    "JSON with more": (
        (GOOD + b"x" * 7, {HEADER: str(len(GOOD))}),
        400,
        "unexpected additional input data: 7 bytes",
    ),
    "size too small": (sized(31), 400, "'context' has 31 bytes of data, expected 32"),
    "size too large": (sized(33), 400, "'context' has 33 bytes of data, expected 32"),
    "size beyond the end": (sized(10**30), 400, "'context' has 48 bytes"),
    "size 0": (sized(0), 400, "'context' has 0 bytes"),
    "size negative": (sized(-32), 400, "binary_data_size is -32, expected a number of bytes"),
    "size a text": (sized("32"), 400, "binary_data_size is '32'"),
    "size true": (sized(True), 400, "binary_data_size is True"),
    "size a list": (sized([32]), 400, "binary_data_size is a list"),
    # parameters
    "parameters a list": (top(parameters=[]), 400, "parameters: expected object"),
    "timeout a text": (top(parameters={"timeout": "1"}), 400, "timeout.*'1'.*microseconds"),
    "timeout a fraction": (top(parameters={"timeout": 1.5}), 400, "timeout.*1.5"),
    "timeout negative": (top(parameters={"timeout": -1}), 400, "timeout.*-1"),
    "timeout true": (top(parameters={"timeout": True}), 400, "timeout.*True"),
    "a sequence": (top(parameters={"sequence_id": 3}), 400, "'sequence_id' is not supported"),
    "a sequence's start": (top(parameters={"sequence_start": True}), 400, "'sequence_start'"),
    "a priority": (top(parameters={"priority": 1}), 400, "'priority'.*'timeout' instead"),
    "reserved": (top(parameters={"triton_x": 1}), 400, "'triton_x' is not supported"),
    "binary a text": (top(parameters={"binary_data_output": "yes"}), 400, "'yes'.*true or false"),
    "binary 1": (asked(binary_data=1), 400, "'binary_data' is 1, expected true or false"),
    "shared memory in": (
        field(0, parameters={"shared_memory_region": "r"}),
        400,
        "input 'context': shared memory is not supported",
    ),
    "shared memory out": (
        asked(shared_memory_region="r"),
        400,
        "output 'quantiles': shared memory",
    ),
    "classes": (asked(classification=3), 400, "classification is not supported"),
    "unknown output": (
        top(outputs=[{"name": "potato"}]),
        400,
        "unexpected inference output 'potato",
    ),
    "an output twice": (top(outputs=[{"name": "quantiles"}] * 2), 400, "asked twice"),
    "an output without name": (top(outputs=[{}]), 400, r"outputs\[0\].name is missing"),
    "outputs a text": (top(outputs="quantiles"), 400, "outputs: expected array"),
    # packed
    "not gzip": (packed(GOOD, "gzip"), 400, "gzip"),
    "gzip cut off": (packed(gzip.compress(GOOD)[:-9], "gzip"), 400, "gzip"),
    "deflate cut off": (packed(zlib.compress(GOOD)[:-9], "deflate"), 400, "deflate"),
    "unknown encoding": (packed(GOOD, "br"), 415, "'br'.*gzip"),
    # well-formed, but not servable
    "length 0": (field(1, data=[0, 4]), 400, "row 0 of lengths is 0, expected 1 to 4"),
    "length too large": (field(1, data=[3, 5]), 400, "row 1 of lengths is 5, expected 1 to 4"),
    "nothing observed": (text(str([1] * 4 + [None] * 4).replace("None", "null")), 422, "row 1 of"),
    "binary nothing observed": (
        binary_rows("context", [[1, 2, 3, 4], [np.nan] * 4]),
        422,
        "row 1 of context has no observed value in its newest 4 steps",
    ),
    "binary Infinity": (
        binary_rows("context", [[1, 2, np.inf, 4], [1] * 4]),
        422,
        "row 0 of context holds a magnitude of inf",
    ),
    "too large": (text("[1, 2, 3, 4, 2e36, 6, 7, 8]"), 422, r"row 1 of context.*2e\+36"),
    "too large for float32": (text("[1, 2, 3, 4, -1e300, 6, 7, 8]"), 422, "row 1 of context.*inf"),
    "too large beside a null": (text("[1, 2, 3, 4, 1e300, null, 7, 8]"), 422, "row 1.*inf"),
}


def assert_refused(answer: httpx.Response, status: int, message: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert content.keys() == {"error"}
    assert re.search(message, content["error"]), content["error"]
    assert "Traceback" not in answer.text
    assert len(answer.content) < 1000


def test_the_requests_that_all_others_break_are_answered(http: httpx.Client) -> None:
    for content, headers in (as_json(body()), binary(), text("[1,2,3,4,5,6,7,8]"), sized(32)):
        answer = http.post(INFER, content=content, headers=headers)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused_with_its_reason(http: httpx.Client, case: str) -> None:
    (content, headers), status, message = WRONG[case]
    answer = http.post(INFER, content=content, headers=headers)
    assert_refused(answer, status, message)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("PUT", INFER, 405, "POST is"),
        ("GET", INFER, 405, "POST is"),
        ("DELETE", "/v2/models/tiny", 405, "GET is"),
        ("POST", "/v2/health/live", 405, "GET is"),
        ("POST", "/v2", 405, "GET is"),
        ("GET", "/v2/repository/index", 405, "POST is"),
        ("GET", "/v2/nowhere", 404, "no route /v2/nowhere"),
        ("GET", "/v2/models/", 404, "no route"),
        ("POST", "/v2/models/tiny/generate", 404, "no route"),
        ("GET", "/v2/models/tiny/", 404, "no route"),
        ("GET", "/v2/models/unknown", 404, "'unknown' is not served here; served: tiny"),
        ("GET", "/v2/models/unknown/ready", 404, "not served"),
        ("GET", "/v2/models/unknown/config", 404, "not served"),
        ("GET", "/v2/models/unknown/stats", 404, "not served"),
        ("POST", "/v2/models/unknown/infer", 404, "not served"),
        ("POST", "/v2/repository/models/unknown/unload", 404, "no model 'unknown'"),
        ("POST", "/v2/repository/models/unknown/load", 404, "no model 'unknown'"),
        ("POST", "/v2/repository/models/..%2ftiny/load", 404, "no route"),
        ("GET", "/v2/models/tiny/versions/2", 404, "version 1, not 2"),
        ("POST", "/v2/models/tiny/versions/2/infer", 404, "version 1, not 2"),
        ("GET", "/v2/models/tiny/versions/x", 404, "version 'x' is not served"),
        ("GET", "/v2/models/tiny/versions/01", 404, "version '01'"),
        ("GET", f"/v2/models/tiny/versions/{'9' * 5000}/ready", 404, "version '9999"),
        ("GET", "/v2/models/%ff%fe", 404, "not served"),
        ("GET", "/v2/models/..%2f..", 404, "."),
        ("GET", f"/v2/models/{'x' * 10_000}", 404, "not served|model 'xxx"),
    ],
)
def test_wrong_routes_are_answered_in_the_protocols_words(
    http: httpx.Client, method: str, path: str, status: int, message: str
) -> None:
    answer = http.request(method, path, content=GOOD if method == "POST" else None)
    assert_refused(answer, status, message)
    if status == 405:
        assert answer.headers["allow"] in ("GET", "POST")


@pytest.mark.parametrize("content", [b"x", b"[]", b'{"ready": 1}', b"[" * 60, b"\xff"])
def test_a_wrong_question_to_the_index_is_refused(http: httpx.Client, content: bytes) -> None:
    answer = http.post("/v2/repository/index", content=content)
    assert_refused(answer, 400, "neither empty nor")


LONG = "x" * 500_000


@pytest.mark.parametrize(
    "request_",
    [
        field(0, name=LONG),
        field(0, datatype=LONG),
        top(outputs=[{"name": LONG}]),
        top(parameters={f"triton_{LONG}": 1}),
        top(parameters={"timeout": LONG}),
        top(parameters={"timeout": [LONG] * 9}),
        sized(LONG),
        text(json.dumps([LONG])),
        field(0, shape=[1] * 100_000),
    ],
    ids=["name", "datatype", "output", "parameter", "timeout", "list", "size", "data", "shape"],
)
def test_an_error_quotes_what_came_and_does_not_send_it_back(
    http: httpx.Client, request_: Request
) -> None:
    content, headers = request_
    assert_refused(http.post(INFER, content=content, headers=headers), 400, ".")


@pytest.mark.parametrize(
    "values",
    ["1,NaN,", "1,2,,", '1,"2",', "1,true,", "1,[2],", "1,null,"],
    ids=["NaN", "nothing", "text", "true", "list", "too many"],
)
def test_a_large_body_is_refused_as_a_small_one(http: httpx.Client, values: str) -> None:
    content, headers = text("[" + "1.5," * 40_000 + values + "1.5," * 40_000 + "1]")
    assert_refused(http.post(INFER, content=content, headers=headers), 400, ".")


@pytest.fixture(scope="module")
def small(artifacts: Any) -> Iterator[ServerProcess]:
    """A server with low limits."""
    with serving(artifacts, max_body_bytes=LIMIT, max_queue_rows=50) as running:
        yield running


def test_too_large_a_body_is_refused_before_it_is_sent(small: ServerProcess) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n" % INFER.encode()
        )
        answer = b""
        while b"\r\n\r\n{" not in answer:
            piece = connection.recv(65536)
            assert piece, answer
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.partition(b"\r\n\r\n")[2].startswith(b'{"error":"')


def bomb(pack: Callable[[bytes], bytes]) -> bytes:
    return pack(b"[" + b"0," * 20_000_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_decompression_bomb_does_not_unpack(small: ServerProcess, encoding: str) -> None:
    content = bomb(gzip.compress if encoding == "gzip" else zlib.compress)
    assert len(content) < LIMIT
    before = small.memory()
    with client(small) as http:
        answer = http.post(INFER, content=content, headers={"content-encoding": encoding})
        assert_refused(answer, 413, f"more than {LIMIT} bytes")
    assert small.memory() - before < 20_000_000


def test_more_rows_than_may_wait_are_refused(small: ServerProcess) -> None:
    content, headers = binary_body(rows(*[3] * 51))
    with client(small) as http:
        answer = http.post(INFER, content=content, headers=headers)
        assert_refused(answer, 413, "51.*the limit is 50")


def test_a_body_that_never_comes_does_not_stop_others(server: ServerProcess) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(head % (INFER.encode(), len(GOOD)) + GOOD[:50])
        with client(server) as http:
            assert http.post(INFER, content=GOOD).status_code == 200
        slow.sendall(GOOD[50:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(server: ServerProcess) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    requests = b""
    for identifier in range(5):
        content = json.dumps(body() | {"id": str(identifier)}).encode()
        head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        requests += head.encode() + content
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(requests)
        received = b""
        while received.count(b"]}]}") < 5:
            piece = connection.recv(65536)
            assert piece, received
            received += piece
    found = re.findall(rb'"id":"(\d)"', received)
    assert found == [b"0", b"1", b"2", b"3", b"4"]


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["context", "lengths", "quantiles", "FP32", "INT64", "\x00", "ż"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "timeout"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data"]),
    st.integers(0, 1),
    junk,
)
def test_junk_in_any_member_is_never_our_mistake(
    http: httpx.Client, member: str, at: int, value: object
) -> None:
    changed = body()
    target = changed if member in ("inputs", "outputs", "parameters", "id") else None
    (changed["inputs"][at] if target is None else target)[member] = value
    answer = http.post(INFER, content=json.dumps(changed))
    assert answer.status_code in (200, 400, 422), answer.text


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 400), st.binary(min_size=1, max_size=8), st.integers(-1, 500))
def test_damaged_binary_requests_are_never_our_mistake(
    http: httpx.Client, at: int, damage: bytes, header: int
) -> None:
    content, headers = binary_body(rows(3, 4))
    broken = content[:at] + damage + content[at + len(damage) :]
    chosen = headers if header < 0 else {HEADER: str(header)}
    answer = http.post(INFER, content=broken, headers=chosen)
    assert answer.status_code in (200, 400, 422), answer.text
