"""What Triton's statistics extension says of one model version, added up over all workers.

Computed from the numbers behind `/metrics` whenever somebody asks; nothing is counted for it alone.
As in Triton times are what requests spent: eight requests in one run of 1 ms spent 8 ms. Only the
statistics by size of batch are those of runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.telemetry.tally import Key, tally

# Keys of the tally, before the model's name and its version.
SERIES = "gatecast_series_total"  # [series]
INFERENCES = "gatecast_inference_seconds"  # histograms: [one cell per bucket, sum]
QUEUE = "gatecast_queue_seconds"
COMPUTE = "gatecast_compute_seconds"
FAILURES = "nv_inference_request_failure"  # and the reason: [requests, seconds]
RUNS = "gatecast_runs"  # and the rows of a run: [runs, seconds of input, infer, output]
LAST = "gatecast_last_inference_seconds"  # [seconds of the Unix epoch]
_OF_MODELS = {SERIES, INFERENCES, QUEUE, COMPUTE, FAILURES, RUNS, LAST}

Totals = Mapping[Key, Sequence[float]]


@dataclass(frozen=True)
class Spent:
    """How often, and how long in all."""

    count: int
    ns: int


@dataclass(frozen=True)
class BatchStatistics:
    """Runs of one number of rows."""

    batch_size: int
    compute_input: Spent
    compute_infer: Spent
    compute_output: Spent


@dataclass(frozen=True)
class ModelStatistics:
    """One model version since the service started."""

    name: str
    version: int
    last_inference_ms: int  # of the Unix epoch; 0 before the first
    inference_count: int  # rows
    execution_count: int  # runs
    success: Spent
    fail: Spent
    queue: Spent  # from here on of what succeeded
    compute_input: Spent
    compute_infer: Spent
    compute_output: Spent
    batches: tuple[BatchStatistics, ...]


def statistics(name: str, version: int) -> ModelStatistics:
    """The statistics of a model version; zeros when nothing was asked yet."""
    counted = _by_model(tally.totals()).get((name, version), {})
    return _model_statistics(name, version, counted)


def every_model(totals: Totals) -> list[ModelStatistics]:
    """The statistics of all versions that were counted, in the order of their names."""
    return [_model_statistics(*model, of) for model, of in sorted(_by_model(totals).items())]


def _by_model(totals: Totals) -> dict[tuple[str, int], dict[Key, Sequence[float]]]:
    models: dict[tuple[str, int], dict[Key, Sequence[float]]] = {}
    for (family, *labels), cells in totals.items():
        if family in _OF_MODELS:
            name, version, *more = labels
            models.setdefault((name, int(version)), {})[family, *more] = cells
    return models


def _model_statistics(name: str, version: int, counted: Totals) -> ModelStatistics:
    success = _spent_of(counted.get((INFERENCES,), ()))
    compute = _spent_of(counted.get((COMPUTE,), ()))
    failures = [cells for (family, *_), cells in counted.items() if family == FAILURES]
    runs = {int(of[0]): cells for (family, *of), cells in counted.items() if family == RUNS}
    before, after = _around_runs(runs)
    return ModelStatistics(
        name=name,
        version=version,
        last_inference_ms=round(1e3 * counted.get((LAST,), (0.0,))[0]),
        inference_count=round(counted.get((SERIES,), (0.0,))[0]),
        execution_count=round(sum(cells[0] for cells in runs.values())),
        success=success,
        fail=_spent(sum(cells[0] for cells in failures), sum(cells[1] for cells in failures)),
        queue=_spent_of(counted.get((QUEUE,), ())),
        compute_input=Spent(compute.count, round(compute.ns * before)),
        compute_infer=Spent(compute.count, round(compute.ns * (1.0 - before - after))),
        compute_output=Spent(compute.count, round(compute.ns * after)),
        batches=tuple(
            BatchStatistics(rows, *(_spent(count, part) for part in parts))
            for rows, (count, *parts) in sorted(runs.items())
        ),
    )


def _around_runs(runs: Mapping[int, Sequence[float]]) -> tuple[float, float]:
    """The shares of input and of output in what rows spent in runs."""
    spent = [sum(rows * cells[part] for rows, cells in runs.items()) for part in (1, 2, 3)]
    whole = sum(spent) or 1.0
    return spent[0] / whole, spent[2] / whole


def _spent_of(histogram: Sequence[float]) -> Spent:
    return _spent(sum(histogram[:-1]), sum(histogram[-1:]))


def _spent(count: float, seconds: float) -> Spent:
    return Spent(round(count), round(1e9 * seconds))
