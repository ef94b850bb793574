"""All counters and histograms in one place, added up over the workers of one service.

With several workers prometheus_client keeps its values in files of PROMETHEUS_MULTIPROC_DIR, which
`gatecast serve` sets before any worker starts; whichever worker is asked answers for all of them.
"""

import os
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

from service.batcher import BatchReport

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# 50 microseconds to 13 seconds, doubling: a small model answers far below the usual first bucket.
SECONDS = tuple(50e-6 * 2**k for k in range(19))
ROWS = tuple(2.0**k for k in range(11))

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody reads
registry = CollectorRegistry()

requests = Counter(
    "gatecast_requests_total", "Answered requests", ["route", "status"], registry=registry
)
request_seconds = Histogram(
    "gatecast_request_seconds",
    "From the request's head to the end of its answer",
    ["route"],
    buckets=SECONDS,
    registry=registry,
)
refused = Counter(
    "gatecast_refused_total", "Requests answered with an error", ["reason"], registry=registry
)
cancelled = Counter(
    "gatecast_cancelled_total", "Requests whose caller hung up before the answer", registry=registry
)
series = Counter("gatecast_series_total", "Series forecast", ["model"], registry=registry)
batch_rows = Histogram("gatecast_batch_rows", "Series in one run", buckets=ROWS, registry=registry)
batch_failures = Counter(
    "gatecast_batch_failures_total", "Runs that raised an error", registry=registry
)
queue_seconds = Histogram(
    "gatecast_queue_seconds", "Wait for a lane", buckets=SECONDS, registry=registry
)
run_seconds = Histogram(
    "gatecast_run_seconds", "One run of a batch", buckets=SECONDS, registry=registry
)
queue_rows = Gauge(
    "gatecast_queue_rows", "Series waiting now", registry=registry, multiprocess_mode="livesum"
)
models = Gauge(
    "gatecast_models", "Models by state", ["state"], registry=registry, multiprocess_mode="livemax"
)


def observe_batch(report: BatchReport) -> None:
    """Count one run."""
    batch_rows.observe(report.rows)
    run_seconds.observe(report.run_seconds)
    for wait in report.waits:
        queue_seconds.observe(wait)
    if report.failed:
        batch_failures.inc()
    queue_rows.set(report.waiting_rows)


def exposition() -> bytes:
    """Everything in the Prometheus text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(registry)
    _forget_dead_workers(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    over_workers = CollectorRegistry()
    multiprocess.MultiProcessCollector(over_workers)  # type: ignore[no-untyped-call]
    return generate_latest(over_workers)


def _forget_dead_workers(folder: Path) -> None:
    """Drop what a killed worker last said of the present; its counts stay."""
    for path in folder.glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
