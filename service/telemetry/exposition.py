"""The totals of the tally as Prometheus text, in Gatecast's names and in Triton's.

Written here and not by prometheus_client, because Triton's counters lack the `_total` that it
appends to the names of counters. A family's cells are `[value]`, or for a histogram one cell per
bucket, not cumulative, and the sum.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from service.telemetry.statistics import (
    COMPUTE,
    FAILURES,
    INFERENCES,
    LAST,
    QUEUE,
    SERIES,
    ModelStatistics,
    Totals,
    every_model,
)
from service.telemetry.tally import Key

# 50 microseconds to 13 seconds, doubling: a small model answers far below the usual first bucket.
SECONDS = tuple(50e-6 * 2**k for k in range(19))
ROWS = tuple(2.0**k for k in range(11))
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
# In units of scale: from rounding to nonsense.
DIFFERENCES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

_MODEL = ("model", "version")


@dataclass(frozen=True)
class Family:
    """One name of `/metrics`."""

    name: str
    kind: str  # counter, gauge or histogram
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()  # of a histogram's buckets, without the last

    def lines(self, values: dict[Key, Sequence[float]]) -> Iterator[str]:
        """Its text; values by the values of its labels."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for key, cells in sorted(values.items()):
            labels = [f'{n}="{_escaped(v)}"' for n, v in zip(self.labels, key, strict=True)]
            if self.bounds:
                yield from self._histogram(labels, cells)
            else:
                yield f"{self.name}{_braced(labels)} {float(cells[0])}"

    def _histogram(self, labels: list[str], cells: Sequence[float]) -> Iterator[str]:
        counts = [float(count) for count in accumulate(cells[:-1])]
        for bound, count in zip((*self.bounds, "+Inf"), counts, strict=True):
            at = _braced([*labels, f'le="{bound}"'])
            yield f"{self.name}_bucket{at} {count}"
        yield f"{self.name}_count{_braced(labels)} {counts[-1]}"
        yield f"{self.name}_sum{_braced(labels)} {float(cells[-1])}"


_FAMILIES = (
    Family("gatecast_requests_total", "counter", "Answered requests", ("route", "status")),
    Family(
        "gatecast_request_seconds",
        "histogram",
        "From the request's head to the end of its answer",
        ("route",),
        SECONDS,
    ),
    Family(
        "gatecast_refused_total",
        "counter",
        "Requests answered with an error, or cancelled",
        ("reason",),
    ),
    Family("gatecast_cancelled_total", "counter", "Requests whose caller hung up"),
    Family(SERIES, "counter", "Rows run: series, rows of a table, tokens of a text", ("model",)),
    Family(INFERENCES, "histogram", "A request's stay in the queue and in runs", _MODEL, SECONDS),
    Family(QUEUE, "histogram", "A request's wait for a lane", _MODEL, SECONDS),
    Family(COMPUTE, "histogram", "A request's time in runs", _MODEL, SECONDS),
    Family("gatecast_batch_rows", "histogram", "Series in one run", _MODEL, ROWS),
    Family("gatecast_run_seconds", "histogram", "One run of the model", _MODEL, SECONDS),
    Family("gatecast_padded_share", "histogram", "Padding in one run", _MODEL, SHARES),
    Family("gatecast_batch_failures_total", "counter", "Runs in which a row failed", _MODEL),
    Family(LAST, "gauge", "End of the last run, since 1970", _MODEL),
    Family("gatecast_queue_rows", "gauge", "Series waiting now"),
    Family("gatecast_texts", "gauge", "Texts being written now", _MODEL),
    Family("gatecast_step_texts", "histogram", "Texts in one step of generation", _MODEL, ROWS),
    Family("gatecast_tokens_total", "counter", "Tokens written, of texts that have ended", _MODEL),
    Family("gatecast_first_token_seconds", "histogram", "Until the first token", _MODEL, SECONDS),
    Family("gatecast_workers", "gauge", "Workers that live"),
    Family("gatecast_worker_starts_total", "counter", "Workers that began to answer"),
    Family("gatecast_models", "gauge", "Models by state", ("state",)),
    Family("gatecast_model_info", "gauge", "1 while the alias means it", (*_MODEL, "alias")),
    Family("gatecast_swaps_total", "counter", "Changes of the live version", ("model",)),
    Family(
        "gatecast_refused_versions_total",
        "counter",
        "Versions not let in, by what was wrong",
        ("model", "reason"),
    ),
    Family("gatecast_canary_share", "gauge", "Percent of requests for the canary", ("model",)),
    Family("gatecast_shadow_total", "counter", "Comparisons", (*_MODEL, "outcome")),
    Family(
        "gatecast_shadow_difference",
        "histogram",
        "Mean absolute difference of a shadow's answer, in units of scale",
        _MODEL,
        DIFFERENCES,
    ),
    Family(
        "gatecast_telemetry_lost_total",
        "counter",
        "Lines of the access log and traced requests that were not delivered",
        ("kind", "reason"),
    ),
    Family("gatecast_quality_recorded_total", "counter", "Forecasts of a series written", _MODEL),
    Family("gatecast_quality_lost_total", "counter", "Forecasts not recorded", ("reason",)),
    Family("gatecast_quality_down", "gauge", "1 while a worker cannot reach the database"),
    Family("gatecast_actuals_total", "counter", "Actuals posted"),
    Family("gatecast_actuals_met_total", "counter", "Steps of forecasts that they met"),
    Family("gatecast_quality_forecasts", "gauge", "Recent forecasts of a series", _MODEL),
    Family("gatecast_quality_points", "gauge", "Recent steps with an actual", _MODEL),
    Family("gatecast_quality_mase", "gauge", "MASE of recent points", _MODEL),
    Family("gatecast_quality_wql", "gauge", "WQL of recent points", _MODEL),
    Family(
        "gatecast_quality_coverage",
        "gauge",
        "Share of recent actuals in the central interval of that width",
        (*_MODEL, "width"),
    ),
    Family(
        "gatecast_quality_outside_share",
        "gauge",
        "Share of recent inputs outside the range of training",
        _MODEL,
    ),
    Family("gatecast_quality_scale_ratio", "gauge", "Scale of recent inputs to training's", _MODEL),
    Family(
        "gatecast_quality_rollbacks_total", "counter", "Automatic rollbacks", ("model", "outcome")
    ),
    Family("gatecast_store_up", "gauge", "1 if the last look at the store worked", ("store",)),
    Family(
        "gatecast_store_seen_timestamp_seconds",
        "gauge",
        "The last look at the object store that worked, since 1970",
        ("store",),
    ),
    Family("gatecast_store_loaded_bytes_total", "counter", "Loaded while serving", ("store",)),
    Family("nv_inference_request_success", "counter", "Requests that succeeded", _MODEL),
    Family(FAILURES, "counter", "Requests that failed", (*_MODEL, "reason")),
    Family("nv_inference_count", "counter", "Rows run", _MODEL),
    Family("nv_inference_exec_count", "counter", "Runs", _MODEL),
    Family("nv_inference_request_duration_us", "counter", "Spent by requests", _MODEL),
    Family("nv_inference_queue_duration_us", "counter", "Spent waiting", _MODEL),
    Family("nv_inference_compute_input_duration_us", "counter", "Spent on inputs", _MODEL),
    Family("nv_inference_compute_infer_duration_us", "counter", "Spent running", _MODEL),
    Family("nv_inference_compute_output_duration_us", "counter", "Spent on outputs", _MODEL),
    Family("nv_inference_pending_request_count", "gauge", "Requests waiting now", _MODEL),
)
FAMILIES = {family.name: family for family in _FAMILIES}


def exposition(totals: Totals) -> bytes:
    """All families in the Prometheus text format, also those that nothing was counted for."""
    values: dict[str, dict[Key, Sequence[float]]] = {
        family.name: {} if family.labels else {(): [0.0]} for family in _FAMILIES
    }
    for (name, *key), cells in (*totals.items(), *_derived(totals)):
        if name in FAMILIES:
            labels = tuple(key[: len(FAMILIES[name].labels)])
            before = values[name].get(labels, [0.0] * len(cells))
            values[name][labels] = [a + b for a, b in zip(before, cells, strict=True)]
    lines = [line for family in _FAMILIES for line in family.lines(values[family.name])]
    return ("\n".join(lines) + "\n").encode()


def _derived(totals: Totals) -> Iterator[tuple[Key, Sequence[float]]]:
    """What follows from other numbers."""
    yield ("gatecast_cancelled_total",), totals.get(("gatecast_refused_total", "cancelled"), [0.0])
    for one in every_model(totals):
        model = (one.name, str(one.version))
        yield ("gatecast_batch_rows", *model), _batch_rows(one)
        for name, value in _triton(one).items():
            yield (f"nv_inference_{name}", *model), [value]


def _batch_rows(one: ModelStatistics) -> list[float]:
    cells = [0.0] * (len(ROWS) + 2)
    for batch in one.batches:
        runs = batch.compute_infer.count
        cells[bisect_left(ROWS, batch.batch_size)] += runs
        cells[-1] += runs * batch.batch_size
    return cells


def _triton(one: ModelStatistics) -> dict[str, float]:
    return {
        "request_success": one.success.count,
        "count": one.inference_count,
        "exec_count": one.execution_count,
        "request_duration_us": one.success.ns / 1e3,
        "queue_duration_us": one.queue.ns / 1e3,
        "compute_input_duration_us": one.compute_input.ns / 1e3,
        "compute_infer_duration_us": one.compute_infer.ns / 1e3,
        "compute_output_duration_us": one.compute_output.ns / 1e3,
    }


def _braced(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
