"""Closed loops: how much of the floor throughput is reached, in every dialect."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.load import Load, LoadFailed
from benchmarks.serving.bench import SINGLES, Bench
from benchmarks.serving.figures import Figure, efficiency, floor
from benchmarks.serving.questions import BINARY, NATIVE, OPEN_INFERENCE, Dialect

GRPC = "Open Inference gRPC"


@dataclass(frozen=True)
class Case:
    """One kind of load and the efficiency that each dialect must reach."""

    model: str
    rows: int  # series in a request
    connections: int
    http: dict[Dialect, float]
    grpc: float | None = None

    def __str__(self) -> str:
        noun = "series" if self.rows == 1 else "series each"
        return f"{self.model}: {self.rows} {noun}, {self.connections} connections"


CASES = {
    "S": Case("S", 1, SINGLES, {NATIVE: 0.66, OPEN_INFERENCE: 0.66}),
    "L": Case("L", 1, SINGLES, {NATIVE: 0.95, OPEN_INFERENCE: 0.95}),
    "S64": Case("S", 64, 8, {NATIVE: 0.80, OPEN_INFERENCE: 0.80, BINARY: 0.92}, grpc=0.75),
}


def measure(case: Case, bench: Bench, note: Callable[[str], None]) -> Iterator[Figure]:
    """H, R and every dialect, one after the other; each round begins with another one."""
    loads: dict[str, Load] = {}
    memory: dict[str, float] = {}
    rates: dict[str, float] = {}

    def empty() -> None:
        rates["H"] = bench.empty_rate(case.connections)

    def runtime() -> None:
        rates["R"] = bench.raw_rate(case.model)

    def served(name: str, ask: Callable[[], Load]) -> None:
        try:
            loads[name] = ask()
            memory[name] = bench.server.memory_mib()
        except LoadFailed as error:
            note(f"{case}, {name}: {error}")

    steps: list[Callable[[], None]] = [empty, runtime]
    for dialect in case.http:
        ask = partial(bench.http, dialect, case.model, case.rows, case.connections)
        steps.append(partial(served, dialect.name, ask))
    if case.grpc is not None:
        ask = partial(bench.grpc, case.model, case.rows, case.connections)
        steps.append(partial(served, GRPC, ask))
    first = bench.number % len(steps)
    for step in steps[first:] + steps[:first]:
        step()
    targets = {dialect.name: target for dialect, target in case.http.items()}
    targets |= {} if case.grpc is None else {GRPC: case.grpc}
    yield from _figures(case, rates["H"], rates["R"], loads, memory, targets)


def _figures(
    case: Case,
    http: float,
    raw: float,
    loads: dict[str, Load],
    memory: dict[str, float],
    targets: dict[str, float],
) -> Iterator[Figure]:
    group = str(case)
    yield Figure(group, "uvicorn, empty requests/s (H)", http)
    yield Figure(group, "ONNX Runtime alone, rows/s (R)", raw)
    yield Figure(group, "floor throughput, requests/s (F)", floor(http, raw, case.rows))
    for name, target in targets.items():
        if (found := loads.get(name)) is None:
            continue
        share = efficiency(found.rate, http, raw, case.rows)
        yield Figure(group, f"{name}: measured / F", share, at_least=target)
        yield Figure(group, f"{name}: requests/s", found.rate)
        yield Figure(group, f"{name}: p50 ms", found.p50_ms)
        yield Figure(group, f"{name}: p99 ms", found.p99_ms)
        yield Figure(group, f"{name}: memory MiB", memory[name])
