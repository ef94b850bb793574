"""A long load of all dialects: does any answer fail or change, and does memory grow?

    python -m benchmarks.soak --requests 1000000

A service of its own, workers as by default. Its capacity for the mix of questions is measured
first, then a Poisson process offers a share of it. Every status counts; two judges ask the same
questions beside it, over HTTP and gRPC, and compare every byte with what was answered at the start.
Memory of all processes is read throughout, and a line is fitted to what comes after the beginning.
"""

import itertools
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks import load
from benchmarks.load import LoadFailed, Question
from benchmarks.serving import arrivals, panels, questions
from benchmarks.serving.processes import Server
from benchmarks.serving.rpc import METHOD
from tests.artifacts import babble, edit
from tests.end_to_end.server import ServerProcess, serving

VARIETY = 4  # different bodies of each kind
SERIES = 8  # of a bulk request
TEXT = {"model": "babble", "prompt": "the time", "length": 8, "seed": 1}
CALLERS = 16  # without a pause, for the capacity
CONNECTIONS = 64  # of the load
CHUNK = 10_000  # requests on one set of connections
CAPACITY_S = 10
PAUSE_S = 0.02  # of a judge between two questions
SAMPLE_S = 0.5
BEGINNING = 0.1  # of the time: caches fill

Ask = Callable[[], bytes]


@click.command()
@click.option("--requests", default=1_000_000)
@click.option("--share", default=0.7, help="Of the capacity that is measured first.")
@click.option("--workers", default="auto")
def main(requests: int, share: float, workers: str) -> None:
    """Print what became of it; exit 1 where an answer failed or was another one."""
    with tempfile.TemporaryDirectory() as folder:
        edit.copy(Path(folder))
        babble.write(Path(folder))
        with serving(Path(folder), workers=workers, grpc_port=0) as running:
            soak = Soak(running)
            rate = share * load.measure(running.url, soak.asked, CALLERS, CAPACITY_S).rate
            with soak.watched():
                while (left := requests - soak.statuses.total()) > 0:
                    soak.play(rate, min(CHUNK, left))
            running.terminate()
            code = running.wait()
        faults = sum("ERROR" in line or "Traceback" in line for line in running.lines)
    click.echo(f"offered {rate:.0f} requests/s, {share:.0%} of the capacity")
    soak.tell()
    click.echo(f"exit code {code}, {faults} errors in the log")
    sys.exit(bool(soak.failed or code or faults))


def mixed() -> list[Question]:
    """The questions in the order in which they are asked: singles, and one of the others in five.

    Tables are one in eighty: a process beside reads them, one after the other.
    """
    signature = edit.forecaster(edit.TINY).signature
    rows = questions.walks(signature, VARIETY, seed=1)
    few = [rows[at : at + 1] for at in range(VARIETY)]
    packed, table = (form.write("tiny", signature, SERIES) for form in panels.FORMS)
    others = [
        packed,
        *(questions.open_inference("tiny", one) for one in few),
        *(questions.binary("tiny", one) for one in few),
        *[Question("/v1/generate", json.dumps(TEXT).encode())] * 4,
        *[Question("/v1/models/tiny")] * 2,
        table,
    ]
    singles = itertools.cycle(questions.native("tiny", one) for one in few)
    return [one for other in others for one in (*itertools.islice(singles, 4), other)]


class Soak:
    """The load, and what became of it."""

    def __init__(self, running: ServerProcess) -> None:
        host, port = running.url.removeprefix("http://").split(":")
        self._server = Server(running.process.pid, host, int(port), 0.0)
        self._rpc = running.rpc
        self._over = threading.Event()
        self._latencies: list[NDArray[np.float64]] = []
        self._memory: list[tuple[float, float]] = []  # seconds, MiB
        self._began = time.monotonic()
        self.asked = mixed()
        self.statuses: Counter[int] = Counter()
        self.judged: Counter[str] = Counter()
        self.wrong: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether any answer was missing, an error, or another one than at the start."""
        return bool(self.wrong) or set(self.statuses) != {200} or len(self.judged) != 2

    def play(self, rate: float, count: int) -> None:
        """So many requests at such a rate."""
        random = np.random.default_rng(self.statuses.total())
        times = random.exponential(1 / rate, count).cumsum()
        wires = [one.wire(self._server.host) for one in self.asked]
        journal = arrivals.play((self._server.host, self._server.port), wires, times, CONNECTIONS)
        self.statuses.update(journal.status.tolist())
        self._latencies.append(journal.latency_ms)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Beside the load, answers are compared and memory is read."""
        signature = edit.forecaster(edit.TINY).signature
        rows = questions.walks(signature, VARIETY, seed=2)
        with ExitStack() as stack:
            call: Any = stack.enter_context(grpc.insecure_channel(self._rpc)).unary_unary(METHOD)
            messages = [questions.grpc_message("tiny", row[None]) for row in rows]
            over_rpc: list[Ask] = [partial(call, message, timeout=60) for message in messages]
            over_http = [partial(self._ask, question) for question in self.asked]
            self._began = time.monotonic()
            for work in (
                partial(self._judge, "gRPC", over_rpc),
                partial(self._judge, "HTTP", over_http),
                self._read_memory,
            ):
                thread = threading.Thread(target=work)
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._over.set)
            yield

    def tell(self) -> None:
        """Print it."""
        click.echo(f"{self.statuses.total()} requests by status: {dict(self.statuses)}")
        judged = ", ".join(f"{count} over {name}" for name, count in self.judged.items())
        click.echo(f"compared to the bit: {judged}; {len(self.wrong)} wrong {self.wrong[:3]}")
        p50, p99 = np.nanpercentile(np.concatenate(self._latencies), [50, 99])
        click.echo(f"latency: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        seconds, mib = np.array(self._memory).T
        later = seconds > BEGINNING * seconds[-1]
        slope, error = line(seconds[later], mib[later])
        unit = 1e5 * seconds[-1] / (self.statuses.total() + self.judged.total())
        click.echo(
            f"memory of all processes: {mib[0]:.1f} MiB at the start, {mib[later][0]:.1f} after "
            f"{BEGINNING:.0%}, {mib[-1]:.1f} at the end; "
            f"slope {slope * unit:+.3f} +- {error * unit:.3f} MiB per 100 000 requests"
        )

    def _ask(self, question: Question) -> bytes:
        status, _, body = self._server.ask(question)
        if status != 200:
            raise LoadFailed(f"{question.path} answered {status}")
        return body

    def _judge(self, name: str, asks: Sequence[Ask]) -> None:
        expected = [ask() for ask in asks]
        for ask, right in itertools.cycle(zip(asks, expected, strict=True)):
            if self._over.wait(PAUSE_S):
                return
            try:
                if ask() != right:
                    self.wrong.append(f"{name}: another answer")
            except (LoadFailed, grpc.RpcError) as error:
                self.wrong.append(f"{name}: {error}")
            self.judged[name] += 1

    def _read_memory(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._memory.append((time.monotonic() - self._began, self._server.memory_mib()))


def line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """The slope of the least squares line and its standard error."""
    centred = x - x.mean()
    spread = float((centred**2).sum())
    slope = float((centred * y).sum()) / spread
    rest = y - y.mean() - slope * centred
    return slope, float(np.sqrt((rest**2).sum() / (len(x) - 2) / spread))


if __name__ == "__main__":
    main()
