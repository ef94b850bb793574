"""Traces of a real service, as a collector gets them over OTLP."""

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from service.telemetry.collector import TracesUnavailable, check_traces
from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import eventually
from tests.end_to_end.rpc_client import channel, infer, message
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_metrics import body, value
from tests.end_to_end.test_startup import refusal

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
LOST = "gatecast_telemetry_lost_total"
PARTS = ["parse", "queue", "compute", "serialise"]


class Collector:
    """What an OpenTelemetry collector would have got."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def trace(self, answer_id: str) -> tuple[Any, list[Any]]:
        """The span that a `traceresponse` names, once it has come, and those below it."""
        _, trace_id, span_id, _ = answer_id.split("-")

        def ours() -> list[Any]:
            return [span for span in list(self.spans) if span.trace_id.hex() == trace_id]

        assert eventually(lambda: any(span.span_id.hex() == span_id for span in ours()))
        (server,) = [span for span in ours() if span.span_id.hex() == span_id]
        below = [span for span in ours() if span.parent_span_id == server.span_id]
        return server, sorted(below, key=lambda span: span.start_time_unix_nano)

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.services.add(attributes(resource.resource)["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                length = int(self.headers["content-length"])
                collector._take(ExportTraceServiceRequest.FromString(self.rfile.read(length)))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def attributes(of: Any) -> dict[str, Any]:
    """By name, whatever their kind."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}


@contextmanager
def told(**variables: str) -> Iterator[None]:
    """Variables in the environment of the servers that are started meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables.items():
            patch.setenv(name, text)
        yield


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[ServerProcess]:
    with (
        told(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="shop-forecasts"),
        serving(ARTIFACTS, workers=2, traces=True, grpc_port=0) as server,
    ):
        yield server
        server.terminate()
        assert server.wait() == 0


@pytest.fixture
def http(traced: ServerProcess) -> Iterator[httpx.Client]:
    with client(traced) as opened:
        yield opened


def test_a_request_is_a_span_with_four_parts_that_follow_each_other(
    http: httpx.Client, collector: Collector
) -> None:
    answer = http.post("/v1/forecast", json=body(3), headers={"x-request-id": "seen"})
    server, below = collector.trace(answer.headers["traceresponse"])
    assert server.name == "POST /v1/forecast"
    assert server.kind == server.SPAN_KIND_SERVER
    assert server.parent_span_id == b""
    found = attributes(server)
    times = {part.split(";dur=")[0]: part for part in answer.headers["server-timing"].split(", ")}
    assert f"compute;dur={found.pop('gatecast.compute_ms'):.3f}" == times["compute"]
    assert f"queue;dur={found.pop('gatecast.queue_ms'):.3f}" == times["queue"]
    assert found == {
        "http.request.method": "POST",
        "http.route": "/v1/forecast",
        "http.response.status_code": 200,
        "http.response.body.size": len(answer.content),
        "client.address": "127.0.0.1",
        "gatecast.request_id": "seen",
        "gatecast.model": "tiny",
        "gatecast.version": 1,
        "gatecast.rows": 3,
    }
    assert [span.name for span in below] == PARTS
    borders = [span.start_time_unix_nano for span in below] + [below[-1].end_time_unix_nano]
    ends = [span.end_time_unix_nano for span in below]
    assert borders[1:] == ends  # no gap, no overlap
    assert borders == sorted(borders)
    assert (borders[0], borders[-1]) == (server.start_time_unix_nano, server.end_time_unix_nano)
    assert collector.services == {"shop-forecasts"}


def test_a_trace_goes_on_where_its_caller_has_begun_it(
    http: httpx.Client, collector: Collector
) -> None:
    sent = {"traceparent": PARENT, "tracestate": "shop=17,other=x"}
    answer = http.post("/v1/forecast", json=body(1), headers=sent)
    _, trace_id, span_id, flags = answer.headers["traceresponse"].split("-")
    assert (trace_id, flags) == (PARENT.split("-")[1], "01")
    server, below = collector.trace(answer.headers["traceresponse"])
    assert server.parent_span_id.hex() == PARENT.split("-")[2] != span_id
    assert {span.trace_state for span in (server, *below)} == {"shop=17,other=x"}


@pytest.mark.parametrize("sent", ["", "00-0-0-01", PARENT.replace("00-", "ff-"), "é" * 55])
def test_a_parent_that_is_none_begins_a_new_trace(http: httpx.Client, sent: str) -> None:
    headers = {"traceparent": sent.encode("latin-1")}
    answer = http.post("/v1/forecast", json=body(1), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert answer.headers["traceresponse"].split("-")[1] != PARENT.split("-")[1]


def test_what_the_caller_does_not_sample_is_named_and_not_sent(
    http: httpx.Client, collector: Collector
) -> None:
    quiet = http.post("/v1/forecast", json=body(1), headers={"traceparent": UNSAMPLED})
    assert quiet.headers["traceresponse"].endswith("-00")
    loud = http.post("/v1/forecast", json=body(1))  # on the same connection: of the same worker
    collector.trace(loud.headers["traceresponse"])
    assert UNSAMPLED.split("-")[1] not in {span.trace_id.hex() for span in collector.spans}


def test_an_error_has_a_span_of_its_own_and_no_parts(
    http: httpx.Client, collector: Collector
) -> None:
    answer = http.post("/v1/forecast", json=body(1, model="nobody"))
    server, below = collector.trace(answer.headers["traceresponse"])
    assert attributes(server)["http.response.status_code"] == 404
    assert server.status.code == server.status.STATUS_CODE_UNSET  # the caller's, not ours
    assert below == []


def test_a_call_of_grpc_is_traced_like_a_request(
    traced: ServerProcess, collector: Collector
) -> None:
    with channel(traced) as opened:
        _, call = infer(opened).with_call(message(), metadata=(("traceparent", PARENT),))
    named = dict(call.trailing_metadata())["traceresponse"]
    server, below = collector.trace(named)
    assert server.name == "inference.GRPCInferenceService/ModelInfer"
    assert server.parent_span_id.hex() == PARENT.split("-")[2]
    found = attributes(server)
    assert (found["rpc.system"], found["rpc.method"]) == ("grpc", "ModelInfer")
    assert (found["rpc.response.status_code"], found["gatecast.rows"]) == ("OK", 5)
    assert [span.name for span in below] == PARTS


def test_a_collector_that_is_gone_costs_traces_and_no_answer() -> None:
    nobody = "http://127.0.0.1:9"
    lost = {"kind": "traces", "reason": "refused"}
    with (
        told(OTEL_EXPORTER_OTLP_ENDPOINT=nobody, OTEL_EXPORTER_OTLP_TIMEOUT="1"),
        serving(ARTIFACTS, traces=True) as server,
        client(server) as http,
    ):
        for number in (1, 2):
            assert http.post("/v1/forecast", json=body(1)).status_code == 200
            assert eventually(lambda n=number: value(http, LOST, **lost) == n)  # type: ignore[misc]
    said = [line for line in server.lines if "trac" in line and "WARNING" in line]
    assert len(said) == 1
    assert LOST in said[0]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://host:4318"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
    ],
)
def test_variables_that_would_be_passed_over_are_refused(
    name: str, text: str, expected: str
) -> None:
    with pytest.raises(TracesUnavailable, match=f"^{name} is '{text}', .*{expected}"):
        check_traces({name: text})


def test_the_service_does_not_start_with_traces_that_it_cannot_send() -> None:
    with told(OTEL_EXPORTER_OTLP_PROTOCOL="grpc"):
        line = refusal("--traces")
    assert line.startswith("Error: --traces: OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'")


def test_a_share_beyond_all_is_refused() -> None:
    asked = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"}
    with pytest.raises(TracesUnavailable, match="'7', expected a share of requests, 0 to 1"):
        check_traces(asked)
    check_traces(asked | {"OTEL_TRACES_SAMPLER_ARG": "0.25"})


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TracesUnavailable, match=r"opentelemetry.sdk .* 'gatecast\[otel\]'"):
        check_traces({})


def test_without_traces_nothing_that_makes_them_is_imported() -> None:
    script = (
        "import sys, service.app, service.api.rpc.server; from service.settings import Settings; "
        "service.app.create_app(Settings()); "
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.stdout.strip(), ended.returncode) == ("[]", 0), ended.stderr
