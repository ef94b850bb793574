"""What is counted, where it happens, and `/metrics`.

Counting is an addition to a cell of the `tally` that was looked up once: all of a single-row
request and its share of a run of eight cost 1.1 microseconds, with one worker or several.
prometheus_client's counters and histograms cost 5.4 and 9.5, for half of the numbers.

A request that failed counts as a failure, and in no histogram of its model. All functions are
called on the event loop.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from service.engine.batch import BatchReport
from service.telemetry import exposition as text
from service.telemetry.exposition import FAMILIES, ROWS, SECONDS, SHARES
from service.telemetry.statistics import COMPUTE, FAILURES, INFERENCES, LAST, QUEUE, RUNS, SERIES
from service.telemetry.tally import Cells, Over, tally

CANCELLED = "cancelled"  # in place of a status or a reason: the caller hung up
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Triton's reasons of a failure by ours; all others are OTHER.
TRITON_REASONS = {
    "overloaded": "REJECTED",
    "deadline": "REJECTED",
    CANCELLED: "CANCELED",
    "inference_failed": "BACKEND",
}

Name = TypeVar("Name")
Found = TypeVar("Found")
Model = tuple[str, int]  # name, version


def observe_request(route: str, status: str, seconds: float) -> None:
    """Count an exchange, however it ended.

    Args:
        route: the template of its path.
        status: of the answer, or `cancelled`.
        seconds: from its head to the end of its answer.
    """
    requests, times = _routes[route, status]
    requests[0] += 1.0
    times[bisect_left(SECONDS, seconds)] += 1.0
    times[-1] += seconds


def observe_inference(
    model: str,
    version: int,
    rows: int,
    ok: bool,
    total_s: float,
    queue_s: float,
    compute_s: float,
    reason: str = "internal",
) -> None:
    """Count a request that reached a model.

    Args:
        ok: it was answered; else `reason` is the type of its error, or `cancelled`.
        queue_s: the longest wait of its rows.
        compute_s: the longest run of its rows, writing and reading memory included.
    """
    if not ok:
        failures = _failures[model, version, TRITON_REASONS.get(reason, "OTHER")]
        failures[0] += 1.0
        failures[1] += total_s
        return
    series, totals, waits, runs = _inferences[model, version]
    series[0] += rows
    totals[bisect_left(SECONDS, total_s)] += 1.0
    totals[-1] += total_s
    waits[bisect_left(SECONDS, queue_s)] += 1.0
    waits[-1] += queue_s
    runs[bisect_left(SECONDS, compute_s)] += 1.0
    runs[-1] += compute_s


def observe_batch(report: BatchReport) -> None:
    """Count one run, also one in which rows failed."""
    model, version = report.model, report.version
    seconds, share = report.run_seconds, report.padded_share
    times, shares, last, failed = _runs[model, version]
    times[bisect_left(SECONDS, seconds)] += 1.0
    times[-1] += seconds
    shares[bisect_left(SHARES, share)] += 1.0
    shares[-1] += share
    last[0] = time.time()
    if report.failed:
        failed[0] += 1.0
    size = _sizes[model, version, report.rows]
    size[0] += 1.0
    size[1] += report.input_s
    size[2] += seconds
    size[3] += report.output_s
    _queues[_QUEUE][0] = report.waiting_rows
    if not report.waiting_rows and (pending := _pending.get((model, version))):
        pending[0] = 0.0


def observe_step(model: str, version: int, texts: int) -> None:
    """Count a step of generation, which runs one token of each of so many texts."""
    rows = _steps[model, version]
    rows[bisect_left(ROWS, texts)] += 1.0
    rows[-1] += texts


def observe_text(model: str, version: int, tokens: int, first_s: float | None) -> None:
    """Count a text that has ended, in whichever way.

    Args:
        tokens: written.
        first_s: seconds until the first of them; None where there is none.
    """
    count, times = _texts[model, version]
    count[0] += tokens
    if first_s is not None:
        times[bisect_left(SECONDS, first_s)] += 1.0
        times[-1] += first_s


def observe_texts(model: str, version: int, texts: int) -> None:
    """Say how many texts a model writes now in this worker."""
    _writing[model, version][0] = texts


def refuse(reason: str) -> None:
    """Count a request that got an error: its type, or `cancelled` where the caller hung up."""
    _refused[reason][0] += 1.0


def observe_start() -> None:
    """Count this worker, which begins to answer."""
    tally.cells(("gatecast_workers",), over=Over.LIVING)[0] = 1.0
    _open("gatecast_worker_starts_total")[0] += 1.0


def observe_waiting(rows: int, requests: Mapping[Model, int] | None = None) -> None:
    """Say what waits in this worker now: rows, and requests by model where that is known."""
    _queues[_QUEUE][0] = rows
    for model, count in (requests or {}).items():
        _pending[model][0] = count


def observe_models(live: Collection[Model], refused: int) -> None:
    """Say which versions are served, whose counters begin at zero, and how many models are not."""
    for model in live:
        _inferences[model], _runs[model]
        for reason in {*TRITON_REASONS.values(), "OTHER"}:
            _failures[*model, reason]
    for state, count in (("live", len(live)), ("refused", refused)):
        tally.cells(("gatecast_models", state), over=Over.LIVING | Over.LARGEST)[0] = count


def lost(kind: str, reason: str) -> Cells:
    """Where it is counted what of the service's own account was not delivered.

    A cell has one writer: each reason belongs to one thread.
    """
    return _open("gatecast_telemetry_lost_total", kind, reason)


def exposition() -> bytes:
    """Everything in the Prometheus text format, over all workers."""
    return text.exposition(tally.totals())


class _Opened(dict[Name, Found]):
    """Opens cells when they are asked for the first time."""

    def __init__(self, opening: Callable[[Name], Found]) -> None:
        self._opening = opening

    def __missing__(self, name: Name) -> Found:
        self[name] = self._opening(name)
        return self[name]


def _open(family: str, *labels: str) -> Cells:
    bounds = FAMILIES[family].bounds
    return tally.cells((family, *labels), len(bounds) + 2 if bounds else 1)


def _open_route(name: tuple[str, str]) -> tuple[Cells, Cells]:
    return _open("gatecast_requests_total", *name), _open("gatecast_request_seconds", name[0])


def _open_refused(reason: str) -> Cells:
    return _open("gatecast_refused_total", reason)


def _open_inferences(model: Model) -> tuple[Cells, Cells, Cells, Cells]:
    of = (model[0], str(model[1]))
    return _open(SERIES, *of), _open(INFERENCES, *of), _open(QUEUE, *of), _open(COMPUTE, *of)


def _open_failures(name: tuple[str, int, str]) -> Cells:
    return tally.cells((FAILURES, name[0], str(name[1]), name[2]), 2)


def _open_runs(model: Model) -> tuple[Cells, Cells, Cells, Cells]:
    of = (model[0], str(model[1]))
    return (
        _open("gatecast_run_seconds", *of),
        _open("gatecast_padded_share", *of),
        tally.cells((LAST, *of), over=Over.LARGEST),
        _open("gatecast_batch_failures_total", *of),
    )


def _open_size(name: tuple[str, int, int]) -> Cells:
    return tally.cells((RUNS, name[0], str(name[1]), str(name[2])), 4)


def _open_pending(model: Model) -> Cells:
    key = ("nv_inference_pending_request_count", model[0], str(model[1]))
    return tally.cells(key, over=Over.LIVING)


def _open_steps(model: Model) -> Cells:
    return _open("gatecast_step_texts", model[0], str(model[1]))


def _open_texts(model: Model) -> tuple[Cells, Cells]:
    of = (model[0], str(model[1]))
    return _open("gatecast_tokens_total", *of), _open("gatecast_first_token_seconds", *of)


def _open_writing(model: Model) -> Cells:
    return tally.cells(("gatecast_texts", model[0], str(model[1])), over=Over.LIVING)


def _open_queue(name: str) -> Cells:
    return tally.cells((name,), over=Over.LIVING)


_routes = _Opened(_open_route)
_refused = _Opened(_open_refused)
_inferences = _Opened(_open_inferences)
_failures = _Opened(_open_failures)
_runs = _Opened(_open_runs)
_sizes = _Opened(_open_size)
_pending = _Opened(_open_pending)
_steps = _Opened(_open_steps)
_texts = _Opened(_open_texts)
_writing = _Opened(_open_writing)
_queues = _Opened(_open_queue)
_QUEUE = "gatecast_queue_rows"
