"""Latency where the machine is not full: one client, and 70 % of the peak."""

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.serving.bench import Bench
from benchmarks.serving.figures import Figure, percentile
from benchmarks.serving.questions import NATIVE, OPEN_INFERENCE

SHARE = 0.7
CONNECTIONS = 256  # enough that none is waited for
CROWD_S = 0.5  # in which they are new: the server takes them one by one, beside the first requests


def one_connection(bench: Bench, note: Callable[[str], None]) -> Iterator[Figure]:
    """The median of S over one connection, less the median of a run of one row."""
    group = "S: one connection"
    asked = (NATIVE, OPEN_INFERENCE)
    alone = bench.raw_median_ms("S")
    yield Figure(group, "ONNX Runtime alone, one row: median ms", alone)
    for dialect in asked if bench.number % 2 == 0 else asked[::-1]:
        p50 = bench.http(dialect, "S", 1, 1).p50_ms
        yield Figure(group, f"{dialect.name}: p50 ms", p50)
        yield Figure(group, f"{dialect.name}: p50 above a run, ms", p50 - alone, at_most=0.15)


def poisson(bench: Bench, note: Callable[[str], None]) -> Iterator[Figure]:
    """S in an open loop, at a share of what a closed loop came to.

    The crowd of new connections at its beginning is told apart, as it depends on how long one
    measures; overload counts it.
    """
    rate = SHARE * bench.peak("S")
    journal = bench.singles("S", rate, CROWD_S + bench.options.seconds, CONNECTIONS)
    group = "S: open loop, Poisson, 70 % of the peak"
    answered = journal.latency_ms[journal.status == 200]
    if len(answered) < len(journal.status):
        note(f"{group}: {len(journal.status) - len(answered)} requests were not answered by 200")
    # A request without an answer is slower than any with one.
    latency = np.where(journal.status == 200, journal.latency_ms, np.inf)
    is_new = journal.intended < CROWD_S
    yield Figure(group, "requests/s", rate)
    yield Figure(group, f"p99 ms of the first {CROWD_S:g} s", percentile(latency[is_new], 99))
    yield Figure(group, "p50 ms", percentile(latency[~is_new], 50))
    yield Figure(group, "p99 ms", percentile(latency[~is_new], 99), at_most=5)
    yield Figure(group, "p99.9 ms", percentile(latency[~is_new], 99.9))
    yield Figure(group, "lateness of the generator, p99 ms", percentile(journal.lateness_ms, 99))
