"""Triton's statistics are the numbers of /metrics, arranged in another way."""

import itertools

from service.telemetry import metrics
from service.telemetry.statistics import ModelStatistics, Spent, statistics
from service.telemetry.tally import tally
from tests.service.telemetry.test_metrics import chance, duration, new, run, samples


def test_of_a_model_nobody_asked_for_everything_is_zero() -> None:
    none = Spent(0, 0)
    expected = ModelStatistics("nobody", 4, 0, 0, 0, none, none, none, none, none, none, ())
    assert statistics("nobody", 4) == expected
    assert not any("nobody" in key for key in tally.totals())


def test_requests_that_failed_count_as_failures_alone() -> None:
    model = new("model")
    asked = [
        (chance.randint(1, 99), chance.random() < 0.7, duration(), duration()) for _ in range(200)
    ]
    for rows, ok, total, queue in asked:
        metrics.observe_inference(model, 1, rows, ok, total, queue, 0.0)
    found = statistics(model, 1)
    good = [one for one in asked if one[1]]
    bad = [one for one in asked if not one[1]]
    assert found.inference_count == sum(one[0] for one in good)
    assert _is(found.success, [one[2] for one in good])
    assert _is(found.queue, [one[3] for one in good])
    assert _is(found.fail, [one[2] for one in bad])


def test_runs_are_listed_by_their_rows() -> None:
    model = new("model")
    runs = [run(model, 2, chance.randint(1, 9), run_seconds=duration()) for _ in range(200)]
    runs = [one._replace(input_s=duration(), output_s=duration()) for one in runs]
    for one in runs:
        metrics.observe_batch(one)
    found = statistics(model, 2)
    assert found.execution_count == len(runs)
    assert [batch.batch_size for batch in found.batches] == sorted({one.rows for one in runs})
    for batch in found.batches:
        done = [one for one in runs if one.rows == batch.batch_size]
        assert _is(batch.compute_input, [one.input_s for one in done])
        assert _is(batch.compute_infer, [one.run_seconds for one in done])
        assert _is(batch.compute_output, [one.output_s for one in done])


def test_the_parts_of_what_requests_spent_add_up() -> None:
    model = new("model")
    for number in range(1, 8):
        metrics.observe_batch(run(model, 1, number, input_s=1e-5 * number, output_s=3e-5))
        metrics.observe_inference(model, 1, number, True, 2e-3, 5e-4, 1.1e-3)
    found = statistics(model, 1)
    parts = (found.compute_input, found.compute_infer, found.compute_output)
    assert {part.count for part in parts} == {found.success.count} == {7}
    assert abs(sum(part.ns for part in parts) - 7 * 1_100_000) <= 2
    assert 0 < found.compute_input.ns < found.compute_infer.ns
    assert found.queue.ns + sum(part.ns for part in parts) <= found.success.ns


def test_versions_and_models_are_kept_apart() -> None:
    one, other = new("model"), new("model")
    for name, version in ((one, 1), (one, 2), (one, 12), (other, 1)):
        for _ in range(version):
            metrics.observe_inference(name, version, 1, True, 0.1, 0.1, 0.1)
            metrics.observe_inference(name, version, 1, False, 0.1, 0.1, 0.1)
            metrics.observe_batch(run(name, version))
    for name, version in ((one, 1), (one, 2), (one, 12), (other, 1)):
        found = statistics(name, version)
        assert found.success.count == found.fail.count == found.execution_count == version


def test_the_last_run_is_dated() -> None:
    model = new("model")
    metrics.observe_batch(run(model))
    last = statistics(model, 1).last_inference_ms
    metrics.observe_batch(run(model))
    assert 1_700_000_000_000 < last <= statistics(model, 1).last_inference_ms


def test_prometheus_and_the_statistics_agree() -> None:
    model = new("model")
    for rows, ok in itertools.product((1, 3, 8), (True, False)):
        metrics.observe_batch(run(model, 1, rows, input_s=1e-5, output_s=1e-5))
        metrics.observe_inference(model, 1, rows, ok, 2e-3, 1e-3, 1e-3, "inference_failed")
    found, text = statistics(model, 1), samples()
    labels = {("model", model), ("version", "1")}

    def value(name: str, **more: str) -> float:
        return text[f"nv_inference_{name}", frozenset(labels | set(more.items()))]

    assert value("request_success") == found.success.count
    assert value("request_failure", reason="BACKEND") == found.fail.count
    assert value("count") == found.inference_count
    assert value("exec_count") == found.execution_count
    for name, spent in (
        ("request", found.success),
        ("queue", found.queue),
        ("compute_input", found.compute_input),
        ("compute_infer", found.compute_infer),
        ("compute_output", found.compute_output),
    ):
        assert value(f"{name}_duration_us") == spent.ns / 1e3


def _is(found: Spent, seconds: list[float]) -> bool:
    """Equal but for the last digits of a sum of float64 seconds."""
    return found.count == len(seconds) and abs(found.ns - 1e9 * sum(seconds)) <= 100
