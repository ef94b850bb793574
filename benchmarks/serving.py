"""How close the service comes to its floor: `python -m benchmarks.serving [MODELS] [--rounds N]`.

In one run and in turn: uvicorn with an empty answer (H requests/s), ONNX Runtime alone with one
thread per core on batches of 8 (R rows/s), and the service. For k series per request the floor
throughput is F = 1 / (1/H + k/R) requests/s; what counts is measured / F, the median over rounds.
Server and generator share the machine, so the absolute figures are those of half a machine.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.load import Load, measure
from service.contract import artifact, layout
from service.contract.metadata import Metadata
from service.contract.placement import History, place
from service.cores import available_cores
from service.runtime import Runtime

SECONDS = 3.0  # of one measurement
PER_REQUEST = {1: 32, 64: 8}  # series in a request: connections
BODIES = 16  # different ones, asked in rotation
GATECAST = str(Path(sys.executable).with_name("gatecast"))


def main() -> None:
    """Measure every load in turn, round after round, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="?", default=Path("models"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    models: Path = arguments.models
    name = layout.names(models)[0]
    version = layout.versions(models, name)[-1]
    opened = artifact.read(layout.folder(models, name, version))
    runtime = Runtime(opened)
    print(f"model {name}@{version}, {available_cores()} cores, {arguments.rounds} rounds")
    for rows, connections in PER_REQUEST.items():
        bodies = [_body(opened.metadata, rows, seed) for seed in range(BODIES)]
        rounds = [_round(models, runtime, bodies, connections) for _ in range(arguments.rounds)]
        _report(rows, connections, rounds)


def _round(
    models: Path, runtime: Runtime, bodies: list[bytes], connections: int
) -> tuple[Load, float, Load, float, float]:
    """Empty server, runtime alone, service; then the service's start-up time and memory."""
    with _started([sys.executable, "-m", "uvicorn", "benchmarks.empty:app", *_UVICORN]) as empty:
        http = measure(empty.url, "/", bodies, connections, SECONDS)
    rows = _rows_per_second(runtime)
    with _started([GATECAST, "serve", "--models", str(models), "--port", "0"]) as server:
        ours = measure(server.url, "/v1/forecast", bodies, connections, SECONDS)
        memory = _resident_mib(server.pid)
    return http, rows, ours, server.ready_after, memory


def _report(
    rows: int, connections: int, rounds: list[tuple[Load, float, Load, float, float]]
) -> None:
    http = statistics.median(r[0].requests_per_second for r in rounds)
    raw = statistics.median(r[1] for r in rounds)
    ours = statistics.median(r[2].requests_per_second for r in rounds)
    efficiency = [
        r[2].requests_per_second * (1 / r[0].requests_per_second + rows / r[1]) for r in rounds
    ]
    print(
        f"\n{rows} series per request, {connections} connections\n"
        f"  uvicorn, empty answer      {http:10.0f} requests/s\n"
        f"  ONNX Runtime alone         {raw:10.0f} rows/s\n"
        f"  floor throughput           {1 / (1 / http + rows / raw):10.0f} requests/s\n"
        f"  Gatecast                   {ours:10.0f} requests/s, {ours * rows:.0f} series/s\n"
        f"  efficiency (Gatecast / floor) {statistics.median(efficiency):7.2f}"
        f"   (rounds: {', '.join(f'{e:.2f}' for e in efficiency)})\n"
        f"  latency p50 / p99          {statistics.median(r[2].p50_ms for r in rounds):10.2f} /"
        f" {statistics.median(r[2].p99_ms for r in rounds):.2f} ms\n"
        f"  process start to ready     {statistics.median(r[3] for r in rounds):10.2f} s\n"
        f"  resident memory            {statistics.median(r[4] for r in rounds):10.0f} MiB"
    )


def _body(metadata: Metadata, rows: int, seed: int) -> bytes:
    signature = metadata.signature
    random = np.random.default_rng(seed)
    walks = 100 + random.normal(size=(rows, signature.context_length)).cumsum(1)
    series = [
        {"item_id": str(at), "start": "2024-01-01", "target": walk.round(2).tolist()}
        for at, walk in enumerate(walks)
    ]
    return json.dumps({"model": metadata.name, "series": series}).encode()


def _rows_per_second(runtime: Runtime) -> float:
    """ONNX Runtime alone: one thread per core, each running full batches of 8 rows."""
    signature = runtime.metadata.signature
    rows = np.random.default_rng(0).normal(100, 10, (8, signature.context_length))
    (block,) = place([History(row) for row in rows], signature)
    end = time.perf_counter() + SECONDS
    counts: list[int] = []

    def lane() -> None:
        batches = 0
        while time.perf_counter() < end:
            runtime.run(*block.inputs)
            batches += 1
        counts.append(batches)

    threads = [threading.Thread(target=lane) for _ in range(available_cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 8 * sum(counts) / SECONDS


_UVICORN = ["--port", "0", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]


class _Started:
    """A server that announced its address."""

    def __init__(self, process: subprocess.Popen[str], url: str, ready_after: float) -> None:
        self.pid, self.url, self.ready_after = process.pid, url, ready_after


@contextmanager
def _started(command: list[str]) -> Iterator[_Started]:
    """Start a server, wait until it says where it listens, end it by pid."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    try:
        found = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+", line) for line in lines)))
        yield _Started(process, found[0], time.perf_counter() - begun)
    finally:
        process.terminate()
        process.communicate()


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
