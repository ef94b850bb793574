"""ONNX Runtime alone: what the machine can do with a model if nothing else needs it."""

import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.serving.figures import percentile

WARM_UP_S = 0.3


def rows_per_second(model: Path, steps: int, rows: int, threads: int, seconds: float) -> float:
    """R: so many threads of one process, each running full batches one after the other."""
    counts = [len(durations) for durations in _run(model, steps, rows, threads, seconds)]
    return rows * sum(counts) / seconds


def median_ms(model: Path, steps: int, rows: int, seconds: float) -> float:
    """The median duration of one run in one thread, milliseconds."""
    (durations,) = _run(model, steps, rows, 1, seconds)
    return 1e3 * percentile(durations, 50)


def _run(model: Path, steps: int, rows: int, threads: int, seconds: float) -> list[list[float]]:
    """Seconds of every run that ended in time, by thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feed = {
        "context": random.normal(100, 10, (rows, steps)).astype(np.float32),
        "lengths": np.full(rows, steps, np.int64),
    }
    begin = time.perf_counter() + WARM_UP_S
    found: list[list[float]] = [[] for _ in range(threads)]

    def lane(durations: list[float]) -> None:
        before = time.perf_counter()
        while before < begin + seconds:
            session.run(None, feed)
            after = time.perf_counter()
            if before >= begin:
                durations.append(after - before)
            before = after

    lanes = [threading.Thread(target=lane, args=(durations,)) for durations in found]
    for one in lanes:
        one.start()
    for one in lanes:
        one.join()
    return found
