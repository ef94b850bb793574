"""Traces: what a request is called in them, and its spans, made and sent by a thread.

While a request runs, nothing is done for its spans: their borders are the moments that the engine
measures anyway. So the spans are made with both ends known, without a tracer. An exchange has one
span of the server with four below it, one after the other: parse (until its first row joins the
line), queue (until a run with a row of it begins), compute (until the last such run ends) and
serialise (until the answer is written).

A collector that is slow or gone costs spans, which are counted, and no answer any time.
"""

import importlib.metadata
import logging
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry import metrics
from service.telemetry.account import Account
from service.telemetry.backlog import Backlog

log = logging.getLogger("gatecast")

_MOST = 4096  # requests whose spans wait
_BATCH = 128  # requests sent at once
_REST_S = 0.5
_NOBODY = Context()
_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class Trace(msgspec.Struct, frozen=True, gc=False):
    """What a request is called in traces."""

    context: SpanContext
    parent: SpanContext | None  # the caller's span

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self.context.trace_id:032x}"

    @property
    def response(self) -> bytes:
        """As the header `traceresponse` says it."""
        of = self.context
        return b"00-%032x-%016x-%02x" % (of.trace_id, of.span_id, of.trace_flags)


class Tracing:
    """Names requests, and sends the spans of those that are sampled."""

    def __init__(self) -> None:
        """By the standard variables: OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME,
        OTEL_RESOURCE_ATTRIBUTES."""
        # It complains of every try; we do so once, and count.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._ids = RandomIdGenerator()
        self._extract = TraceContextTextMapPropagator().extract
        self._exporter = OTLPSpanExporter()
        self._make = _Maker(self._ids.generate_span_id)
        self._refused = metrics.lost("traces", "refused")
        self._is_lost = False
        self._backlog = Backlog("traces", self._send, most=_MOST, batch=_BATCH, rest_s=_REST_S)

    def begin(self, header: Callable[[bytes], bytes | None]) -> Trace:
        """Name a request: as a part of its caller's trace, where it sent a good `traceparent`.

        Args:
            header: the value of a header by its name.
        """
        around, parent = _NOBODY, None
        if (sent := header(b"traceparent")) is not None:
            listed = header(b"tracestate") or b""
            carrier = {
                "traceparent": sent.decode("latin-1"),
                "tracestate": listed.decode("latin-1"),
            }
            around = self._extract(carrier, _NOBODY)
            found = get_current_span(around).get_span_context()
            parent = found if found.is_valid else None
        trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
        verdict = self._sampler.should_sample(around, trace_id, "request")
        flags = (
            TraceFlags.SAMPLED
            if verdict.decision is Decision.RECORD_AND_SAMPLE
            else TraceFlags.DEFAULT
        )
        span_id = self._ids.generate_span_id()
        state_out = verdict.trace_state
        return Trace(SpanContext(trace_id, span_id, False, TraceFlags(flags), state_out), parent)

    def put(self, account: Account) -> None:
        """A request has ended. On the event loop."""
        if account.trace is not None and account.trace.context.trace_flags.sampled:
            self._backlog.put(account)

    def close(self) -> None:
        """Send what is left, not for ever."""
        self._backlog.close()
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _send(self, accounts: list[Account]) -> None:
        spans = [span for account in accounts for span in self._make.spans(account)]
        try:
            sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # of the network, of which there are many
            sent = False
        if not sent:
            self._refused[0] += len(accounts)
        if sent == self._is_lost:
            self._is_lost = not sent
            (log.info if sent else log.warning)(
                "traces are delivered again"
                if sent
                else "the collector takes no traces; they are lost until it does "
                "(gatecast_telemetry_lost_total)"
            )


class _Maker:
    """Accounts -> spans."""

    def __init__(self, new_id: Callable[[], int]) -> None:
        self._new_id = new_id
        version = importlib.metadata.version("gatecast")
        self._scope = InstrumentationScope("gatecast", version)
        ours = Resource({"service.name": "gatecast", "service.version": version})
        ours = ours.merge(Resource({"process.pid": os.getpid()}))
        # What the environment says of the service goes before what we say.
        self._resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())

    def spans(self, account: Account) -> Iterator[ReadableSpan]:
        """That of the server, then those below it."""
        trace: Trace = account.trace
        is_call = not account.method
        name = account.route.removeprefix("/") if is_call else f"{account.method} {account.route}"
        yield ReadableSpan(
            name,
            context=trace.context,
            parent=trace.parent,
            resource=self._resource,
            attributes=_attributes(account),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if _is_fault(account.status) else StatusCode.UNSET),
            start_time=_wall(account, account.arrived),
            end_time=account.wall_ns,
            instrumentation_scope=self._scope,
        )
        of = trace.context
        for part, begin, end in parts(account):
            yield ReadableSpan(
                part,
                context=SpanContext(
                    of.trace_id, self._new_id(), False, of.trace_flags, of.trace_state
                ),
                parent=of,
                resource=self._resource,
                attributes={},
                start_time=_wall(account, begin),
                end_time=_wall(account, end),
                instrumentation_scope=self._scope,
            )


def parts(account: Account) -> Iterator[tuple[str, float, float]]:
    """Name, beginning and end of what a request went through; nothing where no model ran."""
    timing = account.timing
    if timing is None or math.isinf(timing.joined):
        return
    joined = max(timing.joined, account.arrived)
    ended = min(timing.ended, account.ended)
    yield "parse", account.arrived, joined
    if math.isfinite(timing.started):
        yield "queue", joined, timing.started
        yield "compute", timing.started, ended
    else:  # a text, which waits and runs at each of its steps
        yield "compute", joined, ended
    yield "serialise", ended, account.ended


def _attributes(account: Account) -> dict[str, Any]:
    """By OpenTelemetry's conventions, and our own beside them."""
    if account.method:
        found: dict[str, Any] = {
            "http.request.method": account.method,
            "http.route": account.route,
            "http.response.body.size": account.sent,
        }
        if account.status.isdigit():
            found["http.response.status_code"] = int(account.status)
    else:
        service, _, method = account.route.removeprefix("/").partition("/")
        found = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        found["rpc.response.status_code"] = account.status
    found["gatecast.request_id"] = account.request_id
    if account.client is not None:
        found["client.address"] = account.client
    if account.key is not None:
        found["gatecast.key"] = account.key
    if _is_fault(account.status):
        found["error.type"] = account.status
    return found | _of_model(account)


def _of_model(account: Account) -> dict[str, Any]:
    answered, timing = account.answered, account.timing
    if answered is None:
        return {}
    found: dict[str, Any] = {"gatecast.model": answered.model, "gatecast.version": answered.version}
    if timing is not None:
        found["gatecast.rows"] = timing.rows
        found["gatecast.queue_ms"] = round(timing.queue_s * 1e3, 3)
        found["gatecast.compute_ms"] = round(timing.compute_s * 1e3, 3)
    return found


def _is_fault(status: str) -> bool:
    """Whether the service is to blame, as the conventions see it."""
    return status in _FAULTS or status == "cancelled" or (status.isdigit() and status >= "500")


def _wall(account: Account, moment: float) -> int:
    """A moment as nanoseconds since 1970."""
    return account.wall_ns - round((account.ended - moment) * 1e9)
