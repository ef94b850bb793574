"""Requests that are right, one or more of each dialect, for mutations to begin from."""

import gzip
import io
import json
import ssl
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet
import zstandard

from benchmarks.load import Question
from benchmarks.serving import panels, questions
from tests.artifacts import edit

SIGNATURE = edit.forecaster(edit.TINY).signature
ROWS = questions.walks(SIGNATURE, 3, seed=3)
_SERIES = {"item_id": "a", "start": "2024-01-01", "target": [1.0, 3.0, None, 2.0]}
_NATIVE = {"model": "tiny", "series": [_SERIES], "quantile_levels": [0.5], "horizon": 3}
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


def bodies() -> dict[str, Question]:
    """What is sent as a body of the right length, by a name for the table."""
    packed, arrow = (form.write("tiny", SIGNATURE, 3) for form in panels.FORMS)
    native = Question("/v1/forecast", json.dumps(_NATIVE).encode())
    return {
        "native JSON": native,
        "bulk JSON": packed,
        "bulk Arrow": arrow,
        "bulk Parquet": _parquet(arrow),
        "Open Inference JSON": questions.open_inference("tiny", ROWS),
        "Open Inference binary": questions.binary("tiny", ROWS),
        "TimeGPT": _json(
            "/v2/forecast",
            {"model": "tiny", "freq": "4h", "h": 2, "series": {"y": [1, 2, 3], "sizes": [3]}},
        ),
        "KServe time series": _json("/v1/timeseries/forecast", _kserve()),
        "texts": _json(
            "/v1/generate", {"model": "babble", "prompt": "the time", "length": 4, "seed": 1}
        ),
        "promotions": _json("/v1/models/tiny/promote", {"version": 1, "alias": "live"}),
        **{f"body in {name}": _encoded(native, name) for name in _PACKERS},
    }


def message() -> bytes:
    """A call of gRPC."""
    return questions.grpc_message("tiny", ROWS)


def pipelined() -> bytes:
    """Several requests at once, one of them in chunks, and a last one that ends the connection."""
    body = json.dumps(_NATIVE).encode()
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return b"".join(
        (
            b"GET /v2/models/tiny HTTP/1.1\r\nhost: x\r\n\r\n",
            b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body),
            b"gatecast-timeout-ms: 9000\r\n\r\n" + body,
            b"POST /v1/forecast?a=b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
            chunked,
            b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
    )


def hello() -> bytes:
    """How a client of TLS begins."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="x")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake ended without an answer")


def frames() -> bytes:
    """How a client of gRPC begins, with a call: HTTP/2 below it."""
    settings = b"\0\0\0\x04\0\0\0\0\0"
    head = b"\x83\x86\x04%c%b\x01\x01x" % (len(_METHOD), _METHOD)
    text = b"\0\x0ccontent-type\x10application/grpc\0\x02te\x08trailers"
    body = b"\0" + len(message()).to_bytes(4) + message()
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            settings,
            len(head + text).to_bytes(3) + b"\x01\x04\0\0\0\x01" + head + text,
            len(body).to_bytes(3) + b"\0\x01\0\0\0\x01" + body,
        )
    )


_METHOD = b"/inference.GRPCInferenceService/ModelInfer"


def _json(path: str, body: object) -> Question:
    return Question(path, json.dumps(body).encode())


def _encoded(question: Question, name: str) -> Question:
    headers = {**question.headers, "content-encoding": name}
    return Question(question.path, _PACKERS[name](question.body), headers)


def _kserve() -> dict[str, object]:
    one = {"type": "univariate_time_series", "name": "a", "series": [1.0, 2.0], "frequency": "4h"}
    started = one | {"start_timestamp": "2024-01-01"}
    return {"model": "tiny", "inputs": [started], "options": {"horizon": 2}}


def _parquet(arrow: Question) -> Question:
    table = pa.ipc.open_stream(arrow.body).read_all()
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    kind = {"content-type": "application/vnd.apache.parquet"}
    return Question(arrow.path, sink.getvalue(), kind)
