"""Callers who do not go on: how a service answers the others meanwhile, and what it costs.

    python -m benchmarks.slow_callers --models models --callers 10000

Opens so many connections to a service of its own, each with half a request (nothing, half a head,
or a head with half a body, in turn), asks for forecasts beside them, one after the other, and waits
until the service has sent every one of them away.
"""

import itertools
import json
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import click

from tests.end_to_end.processes import descendants
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import REQUEST

HALVES = (
    b"",
    b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\n",
    b"POST /v1/forecast HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{",
)
SOURCES = 4  # addresses of the loopback net: one has too few ports for many runs


@click.command()
@click.option("--models", type=click.Path(path_type=Path), default=Path("tests/artifacts"))
@click.option("--callers", default=10_000)
@click.option("--asks", default=200, help="Forecasts asked for before, and while they wait.")
@click.option("--workers", default=2)
@click.option("--timeout", default=20.0, help="Seconds for a head, and for a body.")
def main(models: Path, callers: int, asks: int, workers: int, timeout: float) -> None:
    """Print a table of what happened."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with serving(models, workers=workers, head_timeout_s=timeout, body_timeout_s=timeout) as server:
        before, memory = ask(server, asks), resident(server)
        began = time.perf_counter()
        waiting = open_all(server, callers)
        opened = time.perf_counter() - began
        while_waiting, full = ask(server, asks), resident(server)
        ends = drain(waiting)
        gone = time.perf_counter() - began
        after = ask(server, asks)
        server.terminate()
        code = server.wait()
    click.echo(f"{callers} callers opened in {opened:.1f} s, all sent away after {gone:.1f} s")
    click.echo(f"how they ended: {dict(ends)}")
    for name, times in (("before", before), ("while they wait", while_waiting), ("after", after)):
        ordered = sorted(times)
        median, worst = statistics.median(ordered), ordered[-1]
        click.echo(f"forecasts {name}: median {median * 1e3:.2f} ms, worst {worst * 1e3:.1f} ms")
    click.echo(f"memory of all processes: {memory >> 20} MiB, with them {full >> 20} MiB")
    click.echo(f"{(full - memory) / callers / 1024:.1f} KiB for each; exit code {code}")


def ask(server: ServerProcess, times: int) -> list[float]:
    """Seconds of each forecast, which must succeed; every tenth on a new connection."""
    found: list[float] = []
    body = json.dumps(REQUEST)
    for _ in range(times // 10):
        with client(server) as http:
            for _ in range(10):
                began = time.perf_counter()
                answer = http.post("/v1/forecast", content=body)
                found.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    raise click.ClickException(f"a forecast got {answer.status_code}")
    return found


def open_all(server: ServerProcess, callers: int) -> list[socket.socket]:
    """Connections that have each sent half of something."""
    host, port = server.url.removeprefix("http://").split(":")
    found: list[socket.socket] = []
    for half, number in zip(itertools.cycle(HALVES), range(callers), strict=False):
        source = (f"127.0.0.{1 + number % SOURCES}", 0)
        one = socket.create_connection((host, int(port)), timeout=60, source_address=source)
        one.sendall(half)
        found.append(one)
    return found


def drain(waiting: list[socket.socket]) -> Counter[str]:
    """How each of them ended: the status it was told, or without a word."""
    ends: Counter[str] = Counter()
    with selectors.DefaultSelector() as selector:
        for one in waiting:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                said = key.fileobj.recv(65536)  # type: ignore[union-attr]
                ends[said[9:12].decode() or "closed without a word"] += 1
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
    return ends


def resident(server: ServerProcess) -> int:
    """Bytes of all processes of the service."""
    pids = ",".join(map(str, descendants(server.process.pid)))
    said = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True)
    return sum(map(int, said.stdout.split())) * 1024


if __name__ == "__main__":
    sys.exit(main())
