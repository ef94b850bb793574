"""Whatever a client sends over gRPC, it is told what is wrong; it is never our fault, nor ours."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzzing import seeds
from tests.artifacts import edit
from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import eventually
from tests.end_to_end.rpc_client import (
    SERVICE,
    channel,
    infer,
    inputs,
    message,
    tensors,
    triton_client,
)
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import counted

LIMIT = 2 << 20  # bytes of a message
ROWS = 60_000  # that may wait; a good while of work


@pytest.fixture(scope="module")
def rpc() -> Iterator[ServerProcess]:
    """A server that must not have written an error or a traceback when all is over."""
    with serving(ARTIFACTS, grpc_port=0, max_body_bytes=LIMIT, max_queue_rows=ROWS) as running:
        yield running
        assert "Traceback" not in running.log
        assert "ERROR" not in running.log


@pytest.fixture
def opened(rpc: ServerProcess) -> Iterator[Any]:
    """A bare channel to that server."""
    with channel(rpc) as made:
        yield made


def refusal(opened: Any, asked: Any, **options: Any) -> tuple[StatusCode, str]:
    """The status and the words in which a request is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        infer(opened)(asked, **options)
    return caught.value.code(), caught.value.details() or ""


def changed(**arrays: Any) -> Any:
    """A good request with other tensors under the same names."""
    return message(tensors() | arrays)


def bulk(rows: int) -> Any:
    """A good request of many short rows."""
    context = np.ones((rows, 1), np.float32)
    return message({"context": context, "lengths": np.ones(rows, np.int64)})


NAN, INF = np.float32(np.nan), np.float32(np.inf)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (changed(lengths=np.full(5, 10)), "row 0 of lengths is 10, expected 1 to 9"),
        (changed(lengths=np.full(5, 0)), "row 0 of lengths is 0, expected 1 to 9"),
        (changed(lengths=np.full(5, -(2**63))), "row 0 of lengths is -9223372036854775808"),
        (changed(lengths=np.full(4, 9)), "lengths has the shape [4], expected [5]"),
        (changed(context=np.full((5, 9), NAN)), "row 0 of context has no observed value"),
        (changed(context=np.full((5, 9), INF)), "row 0 of context holds a magnitude of inf"),
        (changed(context=np.full((5, 9), -INF)), "row 0 of context holds a magnitude of inf"),
        (changed(context=np.zeros((0, 9), np.float32)), "sizes of at least 1"),
        (changed(context=np.zeros((5, 0), np.float32)), "sizes of at least 1"),
        (changed(more=np.zeros(5, np.float32)), "unexpected inference input 'more'"),
        (message({"context": tensors()["context"]}), "'lengths' is missing"),
        (message({}), "missing"),
        (triton.service_pb2.ModelInferRequest(model_name="tiny"), "missing"),
    ],
)
def test_tensors_at_fault_are_an_invalid_argument(opened: Any, asked: Any, words: str) -> None:
    code, details = refusal(opened, asked)
    assert code == StatusCode.INVALID_ARGUMENT
    assert words in details


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_name": "nope"}, "model 'nope' is not served here; served: tiny"),
        ({"model_name": ""}, "model '' is not served here"),
        ({"model_version": "2"}, "model 'tiny' is served in version 1, not 2"),
        ({"model_version": "newest"}, "version 'newest' is not served; versions are numbers"),
        ({"model_version": "9" * 5000}, "is not served; versions are numbers"),
    ],
)
def test_an_unknown_model_or_version_is_not_found(
    opened: Any, fields: dict[str, Any], words: str
) -> None:
    code, details = refusal(opened, message(**fields))
    assert code == StatusCode.NOT_FOUND
    assert words in details


def test_a_name_without_end_is_not_sent_back(opened: Any) -> None:
    code, details = refusal(opened, message(model_name="\N{SNOWMAN}" * 5000))
    assert code == StatusCode.NOT_FOUND
    assert len(details) < 600


@pytest.mark.parametrize("body", [b"\xff\xff junk", b"\x0a\x80\x80\x80\x60a", b"\x0a\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_an_invalid_argument(opened: Any, body: bytes) -> None:
    code, details = refusal(opened, body)
    assert code == StatusCode.INVALID_ARGUMENT
    assert details.startswith("the bytes are no inference.ModelInferRequest")


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), put=st.binary(max_size=8))
def test_no_change_of_a_few_bytes_is_a_fault_of_ours(
    rpc: ServerProcess, at: int, put: bytes
) -> None:
    body = message().SerializeToString()
    body = body[: at % len(body)] + put + body[at % len(body) + len(put) :]
    with channel(rpc) as made:
        code = infer(made).future(body).code()  # waits for the end
    assert code in {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}


def test_a_message_beyond_the_limit_is_refused_unread(opened: Any) -> None:
    asked = changed(context=np.zeros((5, LIMIT // 20), np.float32))
    code, details = refusal(opened, asked)
    assert code == StatusCode.RESOURCE_EXHAUSTED
    assert str(LIMIT) in details


def test_a_message_that_unpacks_beyond_the_limit_is_refused(opened: Any) -> None:
    asked = changed(context=np.zeros((5, LIMIT), np.float32))
    code, details = refusal(opened, asked, compression=grpc.Compression.Gzip)
    assert code == StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details


def test_more_rows_than_may_ever_wait_are_refused_without_inviting_to_try_again(
    opened: Any,
) -> None:
    code, details = refusal(opened, bulk(ROWS + 1))
    assert code == StatusCode.INVALID_ARGUMENT
    assert f"{ROWS + 1} rows in one request, the limit is {ROWS}; split it" in details


def busy_with(opened: Any) -> Any:
    """A call under way that takes all lanes for a good while."""
    return infer(opened).future(bulk(ROWS))


def test_a_full_queue_says_when_to_come_again(rpc: ServerProcess, opened: Any) -> None:
    calls = [busy_with(opened) for _ in range(4)]
    refused = [call for call in calls if call.exception() is not None]
    assert refused
    for call in refused:
        assert call.code() == StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(call.trailing_metadata())["retry-after"]) >= 1
        assert "try again in" in call.details()


def test_a_deadline_that_no_answer_can_meet_is_refused(opened: Any) -> None:
    asked = message()
    asked.parameters["timeout"].int64_param = 1
    code, details = refusal(opened, asked)
    assert code == StatusCode.DEADLINE_EXCEEDED
    assert "the answer takes" in details


def test_a_call_whose_deadline_passes_is_told_so(rpc: ServerProcess, opened: Any) -> None:
    first = busy_with(opened)
    code, _ = refusal(opened, message(), timeout=0.001)
    assert code in {StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED}
    assert first.exception() is None


def test_the_rows_of_a_cancelled_call_leave_the_queue(rpc: ServerProcess, opened: Any) -> None:
    name = 'gatecast_refused_total{reason="cancelled"}'
    with client(rpc) as http:
        before = counted(http, name)
        call = busy_with(opened)
        assert eventually(lambda: counted(http, "gatecast_queue_rows") > 0)
        call.cancel()
        assert eventually(lambda: counted(http, name) == before + 1)
        assert eventually(lambda: counted(http, "gatecast_queue_rows") == 0)
        route = f'gatecast_requests_total{{route="{SERVICE}ModelInfer",status="cancelled"}}'
        assert counted(http, route) >= 1


def test_a_stream_that_is_cancelled_takes_its_requests_along(
    rpc: ServerProcess, opened: Any
) -> None:
    stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(opened)
    many = [message(tensors(2000)) for _ in range(9)]
    stream = stub.ModelStreamInfer(iter(many))
    assert not next(stream).error_message
    stream.cancel()
    with client(rpc) as http:
        assert eventually(lambda: counted(http, "gatecast_queue_rows") == 0)
    assert infer(opened)(message()).model_name == "tiny"


def test_a_stream_tells_of_bytes_that_are_no_message_and_goes_on(opened: Any) -> None:
    call = opened.stream_stream(f"{SERVICE}ModelStreamInfer")
    good = message().SerializeToString()
    first, second = map(
        triton.service_pb2.ModelStreamInferResponse.FromString, call(iter([b"\xff", good]))
    )
    assert first.error_message.startswith("the bytes are no inference.ModelInferRequest")
    assert not second.error_message


@pytest.mark.parametrize("change", ["load_model", "unload_model"])
@pytest.mark.parametrize(
    ("name", "status"), [("nope", "NOT_FOUND"), ("../tiny", "INVALID_ARGUMENT")]
)
def test_a_model_that_is_not_there_can_be_neither_loaded_nor_unloaded(
    rpc: ServerProcess, change: str, name: str, status: str
) -> None:
    with triton_client(rpc) as asked:
        with pytest.raises(triton.InferenceServerException) as caught:
            getattr(asked, change)(name)
        assert caught.value.status() == f"StatusCode.{status}"


def test_a_model_is_unloaded_and_loaded_again(tmp_path: Path) -> None:
    edit.copy(tmp_path)
    with serving(tmp_path, grpc_port=0) as running, triton_client(running) as asked:
        asked.unload_model("tiny")
        assert not asked.is_model_ready("tiny")
        asked.load_model("tiny")
        assert asked.is_model_ready("tiny")


def test_a_method_that_is_not_served_is_unimplemented(rpc: ServerProcess) -> None:
    with triton_client(rpc) as asked:
        with pytest.raises(triton.InferenceServerException) as caught:
            asked.get_system_shared_memory_status()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


@pytest.mark.parametrize("ask", ["get_model_metadata", "get_model_config"])
def test_what_an_unknown_model_is_like_is_not_found(rpc: ServerProcess, ask: str) -> None:
    with triton_client(rpc) as asked:
        with pytest.raises(triton.InferenceServerException, match="'nope' is not served") as caught:
            getattr(asked, ask)("nope")
        assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_errors_are_counted_by_their_status(rpc: ServerProcess, opened: Any) -> None:
    route = f'gatecast_requests_total{{route="{SERVICE}ModelInfer",status="NOT_FOUND"}}'
    with client(rpc) as http:
        before = counted(http, route)
        refusal(opened, message(model_name="nope"))
        assert counted(http, route) == before + 1


def test_a_missing_value_is_no_fault(rpc: ServerProcess) -> None:
    named = tensors(3)
    assert np.isnan(named["context"]).any()
    with triton_client(rpc) as asked:
        assert np.isfinite(asked.infer("tiny", inputs(named)).as_numpy("quantiles")).all()


def test_a_watch_without_a_message_is_an_invalid_argument(opened: Any) -> None:
    call = opened.stream_stream("/grpc.health.v1.Health/Watch")(iter([]))
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert caught.value.code() == StatusCode.INVALID_ARGUMENT
    assert "the call has no message" in (caught.value.details() or "")


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01", b"\0" * 999]
)
def test_what_is_not_grpc_is_hung_up_on_and_leaves_the_service_as_it_was(
    rpc: ServerProcess, opened: Any, junk: bytes
) -> None:
    host, port = rpc.rpc.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as stranger:
        stranger.sendall(junk)
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(65536):
            pass
    assert infer(opened)(message()).model_name == "tiny"


def test_a_stream_counts_its_requests_one_by_one(rpc: ServerProcess, opened: Any) -> None:
    path = f"{SERVICE}ModelStreamInfer"
    routes = [
        f'gatecast_requests_total{{route="{path}",status="{status}"}}'
        for status in ("OK", "NOT_FOUND")
    ]
    with client(rpc) as http:
        before = [counted(http, route) for route in routes]
        good, bad = message().SerializeToString(), message(model_name="nope").SerializeToString()
        assert len([*opened.stream_stream(path)(iter([good, bad, good]))]) == 3
        after = [counted(http, route) for route in routes]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]


def test_a_path_that_is_no_utf_8_does_not_end_grpc(tmp_path: Path) -> None:
    """gRPC's own server ends at it; another one takes its place."""
    edit.copy(tmp_path)
    with serving(tmp_path, grpc_port=0) as server:
        host, port = server.rpc.split(":")
        for ended in range(1, 4):
            with channel(server) as opened:
                asked = infer(opened)(message(), timeout=60, wait_for_ready=True)
                assert asked.model_name == "tiny"
            with socket.create_connection((host, int(port)), timeout=60) as stranger:
                stranger.sendall(seeds.frames().replace(b"/ModelInfer", b"/ModelInf\xff\xff"))
                assert eventually(lambda: server.log.count("gRPC ended by itself") == ended)  # noqa: B023
        with channel(server) as opened:
            assert infer(opened)(message(), timeout=60, wait_for_ready=True).model_name == "tiny"
        server.terminate()
        assert server.wait() == 0, server.log
