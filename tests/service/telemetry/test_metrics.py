"""What /metrics says equals what was done, counted once more and read by Prometheus' parser."""

import itertools
import random

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.engine.batch import BatchReport
from service.telemetry import metrics

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

chance = random.Random(6)
_numbers = itertools.count()


def run(model: str, version: int = 1, rows: int = 8, **changes: float) -> BatchReport:
    """A report of one run."""
    times = {"padded_share": 0.0, "input_s": 0.0, "run_seconds": 0.001, "output_s": 0.0}
    return BatchReport(model, version, rows, failed=False, waiting_rows=0, **(times | changes))


def new(kind: str) -> str:
    """A name that no other test counts under."""
    return f"{kind}-{next(_numbers)}"


def samples() -> Samples:
    """All samples of the exposition by name and labels."""
    lines = metrics.exposition().decode().splitlines()
    # Without the kinds, for the parser renames counters whose names lack `_total`.
    text = "\n".join(line for line in lines if not line.startswith("#"))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float | None:
    return samples().get((name, frozenset(labels.items())))


def histogram(name: str, **labels: str) -> tuple[dict[float, float], float, float]:
    """Cumulative counts by bound, count and sum."""
    found = {
        key: number
        for key, number in samples().items()
        if key[0].startswith(name) and set(labels.items()) <= key[1]
    }
    buckets = {
        float(dict(labels)["le"]): number
        for (sample, labels), number in found.items()
        if sample == f"{name}_bucket"
    }
    (count,) = [number for (sample, _), number in found.items() if sample == f"{name}_count"]
    (total,) = [number for (sample, _), number in found.items() if sample == f"{name}_sum"]
    return buckets, count, total


def duration() -> float:
    """Seconds, from far below the first bound to beyond the last."""
    return float(10.0 ** chance.uniform(-6.0, 2.0))


def check(found: tuple[dict[float, float], float, float], values: list[float]) -> None:
    """A histogram holds exactly these values."""
    buckets, count, total = found
    assert buckets == {bound: np.sum(np.array(values) <= bound) for bound in buckets}
    assert buckets[float("inf")] == count == len(values)
    assert total == pytest.approx(sum(values))


def test_exchanges_are_counted_by_route_and_status_and_timed_by_route() -> None:
    route = new("/v1/route")
    done = [(chance.choice(["200", "404", "429"]), duration()) for _ in range(300)]
    for status, time in done:
        metrics.observe_request(route, status, time)
    for status in {status for status, _ in done}:
        expected = [each for each, _ in done].count(status)
        assert value("gatecast_requests_total", route=route, status=status) == expected
    check(histogram("gatecast_request_seconds", route=route), [time for _, time in done])


def test_answered_requests_are_counted_and_timed_by_model() -> None:
    model = new("model")
    done = [(chance.randint(1, 9), duration(), duration(), duration()) for _ in range(300)]
    for one in done:
        metrics.observe_inference(model, 3, one[0], True, *one[1:])
    names = ("gatecast_inference_seconds", "gatecast_queue_seconds", "gatecast_compute_seconds")
    for at, name in enumerate(names, 1):
        check(histogram(name, model=model, version="3"), [one[at] for one in done])
    rows = sum(one[0] for one in done)
    assert value("gatecast_series_total", model=model) == rows
    triton = {"model": model, "version": "3"}
    assert value("nv_inference_request_success", **triton) == len(done)
    assert value("nv_inference_count", **triton) == rows
    micros = 1e6 * np.sum([one[1:] for one in done], axis=0)
    for name, expected in zip(("request", "queue", "compute_infer"), micros, strict=True):
        found = value(f"nv_inference_{name}_duration_us", **triton)
        assert found == pytest.approx(expected, abs=1e-2)


def test_texts_and_their_steps_are_counted_by_model() -> None:
    model = new("model")
    of = {"model": model, "version": "2"}
    for texts in (1, 2, 7, 7, 2000):
        metrics.observe_step(model, 2, texts)
    check(histogram("gatecast_step_texts", **of), [1, 2, 7, 7, 2000])
    firsts = [duration() for _ in range(100)]
    for first in firsts:
        metrics.observe_text(model, 2, 3, first)
    metrics.observe_text(model, 2, 0, None)  # ended before its first token
    check(histogram("gatecast_first_token_seconds", **of), firsts)
    assert value("gatecast_tokens_total", **of) == 300
    for texts in (5, 4):
        metrics.observe_texts(model, 2, texts)
    assert value("gatecast_texts", **of) == 4


def test_a_bound_is_part_of_its_bucket_and_the_first_is_50_microseconds() -> None:
    route = new("/v1/route")
    times = [49e-6, 50e-6, 51e-6, 100e-6, 50e-6 * 2**18, 14.0]
    for time in times:
        metrics.observe_request(route, "200", time)
    buckets, _, _ = histogram("gatecast_request_seconds", route=route)
    assert list(buckets)[:3] == [50e-6, 100e-6, 200e-6]
    assert list(buckets.values())[:3] == [2, 4, 4]
    assert list(buckets.values())[-2:] == [5, 6]


@pytest.mark.parametrize(
    ("ours", "triton"),
    [
        ("overloaded", "REJECTED"),
        ("deadline", "REJECTED"),
        ("cancelled", "CANCELED"),
        ("inference_failed", "BACKEND"),
        ("unavailable", "OTHER"),
    ],
)
def test_a_failed_request_counts_under_tritons_reason_and_nowhere_else(
    ours: str, triton: str
) -> None:
    model = new("model")
    metrics.observe_inference(model, 1, 2, False, 0.5, 0.1, 0.2, ours)
    labels = {"model": model, "version": "1"}
    assert value("nv_inference_request_failure", **labels, reason=triton) == 1
    assert not value("nv_inference_request_success", **labels)
    assert not value("gatecast_series_total", model=model)
    assert value("gatecast_queue_seconds_count", **labels) is None


def test_runs_are_counted_by_rows_padding_and_time() -> None:
    model = new("model")
    done = [(chance.randint(1, 2000), chance.random(), duration()) for _ in range(300)]
    for rows, share, time in done:
        report = run(model, rows=rows, padded_share=share, run_seconds=time)
        metrics.observe_batch(report._replace(failed=rows % 2 == 0))
    labels = {"model": model, "version": "1"}
    check(histogram("gatecast_batch_rows", **labels), [float(one[0]) for one in done])
    check(histogram("gatecast_padded_share", **labels), [one[1] for one in done])
    check(histogram("gatecast_run_seconds", **labels), [one[2] for one in done])
    failed = sum(one[0] % 2 == 0 for one in done)
    assert value("gatecast_batch_failures_total", **labels) == failed
    assert value("nv_inference_exec_count", **labels) == len(done)


def test_what_requests_spent_in_runs_is_divided_as_the_rows_of_the_runs_were() -> None:
    model = new("model")
    # Six rows in a run that wrote for 1 ms, ran for 2 and read for 1; two rows in one that ran 4.
    metrics.observe_batch(run(model, 1, 6, input_s=0.001, run_seconds=0.002, output_s=0.001))
    metrics.observe_batch(run(model, 1, 2, input_s=0.0, run_seconds=0.004, output_s=0.0))
    for _ in range(8):
        metrics.observe_inference(model, 1, 1, True, 0.01, 0.001, 0.004)
    labels = {"model": model, "version": "1"}
    parts = {
        part: value(f"nv_inference_compute_{part}_duration_us", **labels)
        for part in ("input", "infer", "output")
    }
    assert parts == pytest.approx({"input": 6000, "infer": 20_000, "output": 6000})


def test_refusals_are_counted_by_reason_and_cancelled_ones_also_alone() -> None:
    before = samples()
    for reason in ["queue_full", "deadline", "cancelled", "deadline", "cancelled"]:
        metrics.refuse(reason)
    after = samples()

    def more(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return after[key] - before.get(key, 0.0)

    assert more("gatecast_refused_total", reason="queue_full") == 1
    assert more("gatecast_refused_total", reason="deadline") == 2
    assert more("gatecast_refused_total", reason="cancelled") == 2
    assert more("gatecast_cancelled_total") == 2


def test_a_served_model_is_there_before_anybody_asks() -> None:
    models = [(new("model"), 1), (new("model"), 7)]
    metrics.observe_models(models, refused=3)
    assert value("gatecast_models", state="live") == 2
    assert value("gatecast_models", state="refused") == 3
    name, version = models[1]
    labels = {"model": name, "version": str(version)}
    for counter in ("request_success", "count", "exec_count", "queue_duration_us"):
        assert value(f"nv_inference_{counter}", **labels) == 0
    for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
        assert value("nv_inference_request_failure", **labels, reason=reason) == 0


def test_what_waits_is_what_was_said_last() -> None:
    model = new("model")
    metrics.observe_batch(run(model)._replace(waiting_rows=12))
    assert value("gatecast_queue_rows") == 12
    metrics.observe_waiting(0)
    assert value("gatecast_queue_rows") == 0
    metrics.observe_waiting(9, {(model, 2): 5})
    metrics.observe_waiting(8, {(model, 2): 4})
    assert value("gatecast_queue_rows") == 8
    pending = "nv_inference_pending_request_count"
    assert value(pending, model=model, version="2") == 4
    metrics.observe_batch(run(model, 2)._replace(waiting_rows=3))
    assert value(pending, model=model, version="2") == 4
    metrics.observe_batch(run(model, 2))
    assert value(pending, model=model, version="2") == 0


def test_the_text_is_what_prometheus_reads() -> None:
    name = 'a"b\\c\nd{}=,'
    metrics.observe_models([(name, 1)], refused=0)
    metrics.observe_batch(run(name))
    metrics.observe_inference(name, 1, 1, True, 0.1, 0.0, 0.1)
    key = ("nv_inference_count", frozenset({("model", name), ("version", "1")}))
    assert samples()[key] == 1
    text = metrics.exposition().decode()
    assert text.endswith("\n")
    assert len(set(samples())) == sum(not line.startswith("#") for line in text.splitlines())
    kinds = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert kinds["nv_inference_request_success"] == "counter"
    assert kinds["nv_inference_pending_request_count"] == "gauge"
    assert kinds["gatecast_requests"] == "counter"
    assert kinds["gatecast_padded_share"] == "histogram"
    assert "unknown" not in kinds.values()
