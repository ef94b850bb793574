"""200 swaps under load: what callers notice, and what memory keeps: `python -m benchmarks.swaps`.

One worker serves a model of three versions. Callers ask without a pause while an admin promotes one
after the other; two are warm, so each swap opens a version and lets go of one. Every answer must be
a version's own bits. What is resident is read before, every
quarter, and after. `--distinct` publishes a new version for every swap instead, found by the watch.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from tests.artifacts import edit
from tests.end_to_end.server import ServerProcess, client, serving

REQUEST = {
    "model": "tiny",
    "series": [{"item_id": "a", "start": "2024-01-01", "target": [1.0, 3.0, 2.0]}],
}
KEPT = 3  # versions on disk, with --distinct


class Callers:
    """Threads that ask without a pause."""

    def __init__(self, server: ServerProcess, count: int) -> None:
        self._server = server
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        self.failures: list[str] = []
        self.medians: set[str] = set()
        self.milliseconds: list[float] = []
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let them go."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = json.dumps(REQUEST).encode()
        with client(self._server) as http:
            while not self._ended.is_set():
                began = time.perf_counter()
                try:
                    answer = http.post("/v1/forecast", content=body)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                self.milliseconds.append(1e3 * (time.perf_counter() - began))
                if answer.status_code != 200:
                    self.failures.append(answer.text)
                else:
                    self.medians.add(json.dumps(answer.json()["series"][0]["median"]))


def main() -> int:
    """Swap, and print a line for each quarter; 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--distinct", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        for version in (1, 2, 3):
            edit.times(models, 1.0 + version / 4, version)
        with serving(models, watch_s=0.02 if asked.distinct else 0) as server:
            return _measure(server, models, asked)


def _measure(server: ServerProcess, models: Path, asked: argparse.Namespace) -> int:
    callers = Callers(server, asked.callers)
    seconds: list[float] = []
    with client(server) as http:
        for swap in range(asked.swaps + 1):
            if swap % max(asked.swaps // 4, 1) == 0:
                print(f"{swap:>5} swaps  {server.memory() / 2**20:7.1f} MiB resident", flush=True)
            began = time.perf_counter()
            _swap(http, models, swap, asked.distinct)
            seconds.append(time.perf_counter() - began)
        callers.end()
    times = sorted(callers.milliseconds)
    print(
        f"{len(times)} answers, {len(callers.failures)} failures, {len(callers.medians)} forecasts"
    )
    print(f"an answer: p50 {times[len(times) // 2]:.2f} ms, p99 {times[-len(times) // 100]:.2f} ms")
    print(f"a swap: {1e3 * sum(seconds) / len(seconds):.1f} ms")
    for failure in callers.failures[:3]:
        print(failure, file=sys.stderr)
    return int(bool(callers.failures))


def _swap(http: httpx.Client, models: Path, swap: int, distinct: bool) -> None:
    if not distinct:
        answer = http.post("/v1/models/tiny/promote", json={"version": 1 + swap % 3})
        assert answer.status_code == 200, answer.text
        return
    version = 4 + swap
    folder = edit.times(models / ".new", 1.0 + version / 1000, version)
    os.rename(folder, models / "tiny" / str(version))
    while http.get("/v1/models").json()["models"][0]["version"] != version:
        time.sleep(0.005)
    shutil.rmtree(models / "tiny" / str(version - KEPT), ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
