"""What telling costs: CPU time of a forecast with everything off, with an access log, with traces.

`python -m benchmarks.telemetry [--rounds 5] [--seconds 2] [--connections 8]`

One worker of one lane for each way, asked in turns, so that what else the machine does meets all of
them. What is counted is the CPU time of the whole process, its threads that write and send
included, divided by answers; the best round counts, since neighbours on the cores only add. Needs
wrk.
"""

import argparse
import json
import os
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.load import Question, measure
from tests.conftest import ARTIFACTS
from tests.end_to_end.server import ServerProcess, serving

SERIES = {"item_id": "a", "start": "2024-01-01", "target": [1.0, 3.0, 2.0]}
ASKED = Question("/v1/forecast", json.dumps({"model": "tiny", "series": [SERIES]}).encode())
WITH_ID = Question(ASKED.path, ASKED.body, {"x-request-id": "0af7651916cd43dd"})
OFF: dict[str, object] = {}
WAYS: dict[str, tuple[dict[str, object], str, Question]] = {
    "off": (OFF, "", ASKED),
    "off, the caller sends an id": (OFF, "", WITH_ID),
    "access log, text": ({"access_log": True}, "", ASKED),
    "access log, json": ({"access_log": True, "log_format": "json"}, "", ASKED),
    "traces, none sampled": ({"traces": True}, "0", ASKED),
    "traces, 1 of 100": ({"traces": True}, "0.01", ASKED),
    "traces, all": ({"traces": True}, "1", ASKED),
}
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """A line for each way: microseconds of CPU in its best round, and beyond the first way's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=8)
    asked = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with ExitStack() as stack:
        collector = stack.enter_context(_collector())
        servers = {n: stack.enter_context(_started(way, collector)) for n, way in WAYS.items()}
        for _ in range(asked.rounds):
            for name, server in servers.items():
                question = WAYS[name][2]
                before = _cpu_s(server)
                load = measure(server.url, [question], asked.connections, asked.seconds)
                took = _cpu_s(server) - before
                found[name].append(1e6 * took / (load.rate * asked.seconds))
    least = min(found["off"])
    for name, each in found.items():
        median = statistics.median(each)
        print(f"{name:<30} {min(each):6.0f} us {min(each) - least:+5.0f}   median {median:.0f}")
    return 0


@contextmanager
def _started(
    way: tuple[dict[str, object], str, Question], collector: str
) -> Iterator[ServerProcess]:
    settings, share, _ = way
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": share or "0",
    }
    os.environ.update(told)
    with serving(ARTIFACTS, lanes=1, **settings) as server:  # type: ignore[arg-type]
        yield server


@contextmanager
def _collector() -> Iterator[str]:
    """One that takes everything and keeps nothing."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _cpu_s(server: ServerProcess) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


if __name__ == "__main__":
    sys.exit(main())
