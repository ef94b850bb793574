"""Three times the capacity, every request with a deadline: what is answered, and when."""

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.serving.arrivals import BROKEN
from benchmarks.serving.bench import Bench
from benchmarks.serving.figures import Figure, percentile

TIMES = 3
DEADLINE_MS = 200
CONNECTIONS = 1024
ANSWERS = (200, 429, 504)


def measure(bench: Bench, note: Callable[[str], None]) -> Iterator[Figure]:
    """Goodput as a share of the peak, the latest answer against its deadline, hung ones, memory.

    An answer is good when it is 200 and came within the deadline. Deadlines count from the moment
    of sending, because a server cannot know of a request that the generator holds back.
    """
    model, seconds = bench.options.overload, bench.options.overload_seconds
    offered = TIMES * bench.peak(model)
    before = bench.server.memory_mib()
    header = {"gatecast_timeout_ms": str(DEADLINE_MS)}
    journal = bench.singles(model, offered, seconds, CONNECTIONS, **header)
    after = bench.server.memory_mib()
    peak = (offered / TIMES + bench.peak(model)) / 2  # before and after: it took a while
    took = 1e3 * (journal.answered - journal.sent)
    good = int(((journal.status == 200) & (took <= DEADLINE_MS)).sum())
    served = took[journal.status == 200]
    group = f"{model}: open loop, {TIMES} times the peak for {seconds:g} s"
    yield Figure(group, "offered, times the peak", len(journal.sent) / seconds / peak)
    yield Figure(group, "goodput / peak", good / seconds / peak, at_least=0.9)
    for status in ANSWERS:
        yield Figure(group, f"answers {status}, share", float((journal.status == status).mean()))
    others = ~np.isin(journal.status, (*ANSWERS, 0))
    if others.any():
        seen = {int(s): int((journal.status == s).sum()) for s in set(journal.status[others])}
        note(f"{group}: answers other than {ANSWERS}: {seen} ({BROKEN}: connection closed)")
    yield Figure(group, "other answers and broken connections", int(others.sum()), at_most=0)
    latest = float(np.nanmax(took)) - DEADLINE_MS
    yield Figure(group, "latest answer after its deadline, ms", latest, at_most=10)
    late = int((took > DEADLINE_MS + 10).sum())
    yield Figure(group, "answers more than 10 ms after it", late, at_most=0)
    if served.size:
        yield Figure(group, "p50 of answers 200, ms", percentile(served, 50))
    yield Figure(group, "hung requests", journal.hung, at_most=0)
    yield Figure(group, "never sent, share", float(np.isnan(journal.sent).mean()))
    sent = journal.lateness_ms[~np.isnan(journal.sent)]
    yield Figure(group, "lateness of the generator, p99 ms", percentile(sent, 99))
    yield Figure(group, "memory before, MiB", before)
    yield Figure(group, "memory after, MiB", after)
    yield Figure(group, "memory after / before", after / before, at_most=1.1)
