"""One call about very many series, again and again, while others ask about one at a time."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import fmean

import numpy as np

from benchmarks.load import LoadFailed, Question
from benchmarks.serving.arrivals import Journal
from benchmarks.serving.bench import Bench
from benchmarks.serving.figures import Figure, batch_ms, percentile
from benchmarks.serving.panels import FORMS, Form
from service.settings import Settings

MODEL = "S"
RATE = 300.0  # single requests per second: a few percent of the machine
CONNECTIONS = 32
LEAST_SECONDS = 5.0  # for a p99 that is more than the slowest request
FEW = 100  # series of the call whose answer is checked

Span = tuple[float, float]  # seconds since 1970: sent, answered


def measure(bench: Bench, note: Callable[[str], None]) -> Iterator[Figure]:
    """By how many batch times the p99 of single requests is higher while a bulk call runs.

    A batch time is that of `max_batch_rows` rows on one core by ONNX Runtime alone.

    Raises:
        LoadFailed: single requests alone are not answered.
    """
    unit = batch_ms(bench.raw_rate(MODEL), bench.cores, Settings().max_batch_rows)
    count = bench.options.series
    group = f"{MODEL}: {RATE:g} single requests/s beside calls about {count} series"
    yield Figure(group, "batch time, ms", unit)
    quiet = _p99(_singles(bench), [])
    yield Figure(group, "p99 of singles alone, ms", quiet)
    for form in FORMS if bench.number % 2 == 0 else FORMS[::-1]:
        try:
            spans, journal = _together(bench, form)
            busy = _p99(journal, spans)
        except LoadFailed as error:
            note(f"bulk, {form.name}: {error}")
            continue
        took = fmean(answered - sent for sent, answered in spans)
        yield Figure(group, f"{form.name}: series/s", count / took)
        yield Figure(group, f"{form.name}: p99 of singles, ms", busy)
        higher = (busy - quiet) / unit
        yield Figure(group, f"{form.name}: p99 higher, batch times", higher, at_most=3)


def _singles(bench: Bench) -> Journal:
    seconds = max(bench.options.seconds, LEAST_SECONDS)
    return bench.singles(MODEL, RATE, seconds, CONNECTIONS)


def _together(bench: Bench, form: Form) -> tuple[list[Span], Journal]:
    """Bulk calls, one after the other, for as long as single requests are sent."""
    few = form.write(MODEL, bench.signature(MODEL), FEW)
    form.check(_answer(bench, few), bench.signature(MODEL), FEW)
    many = form.write(MODEL, bench.signature(MODEL), bench.options.series)
    spans: list[Span] = []
    with ThreadPoolExecutor(1) as pool:
        singles: Future[Journal] = pool.submit(_singles, bench)
        while not singles.done():
            sent = time.time()
            body = _answer(bench, many)
            spans.append((sent, time.time()))
            if len(body) < form.least(bench.signature(MODEL), bench.options.series):
                raise LoadFailed(f"{many.path} answered with only {len(body)} bytes")
        return spans, singles.result()


def _answer(bench: Bench, question: Question) -> bytes:
    status, _, body = bench.server.ask(question, timeout=120)
    if status != 200:
        raise LoadFailed(f"{question.path} answered {status}: {body[:200].decode()}")
    return body


def _p99(journal: Journal, spans: list[Span]) -> float:
    """Of the requests that fell into one of the spans; without spans, of all."""
    sent = journal.begun + journal.intended
    chosen = np.full(len(sent), not spans)
    for begin, end in spans:
        chosen |= (begin <= sent) & (sent <= end)
    if not chosen.any():
        raise LoadFailed("no single request was sent while the bulk call ran")
    if (failed := int((journal.status[chosen] != 200).sum())) > 0:
        raise LoadFailed(
            f"{failed} of {int(chosen.sum())} single requests were not answered by 200"
        )
    return percentile(journal.latency_ms[chosen], 99)
