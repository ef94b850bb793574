"""Damaged inputs for everything that takes bytes: no 500, no crash, no hang, no growth of memory.

    python -m benchmarks.fuzz --inputs 100000 --seed 1
    python -m benchmarks.fuzz --document 100        # schemathesis over the OpenAPI document

Requests that are right are changed in a few places (benchmarks/fuzzing) and sent over HTTP, gRPC
and bare connections, to a service of its own with short limits of time. Every input has to get an
answer below 500 or the end of its connection; afterwards the service has to answer as before, and
its log has to be free of errors. What failed is kept in a folder.
"""

import hashlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.fuzzing import seeds
from benchmarks.fuzzing.mutations import mutate
from benchmarks.fuzzing.senders import Outcome, as_bodies, as_calls, as_connections
from benchmarks.serving.processes import Server
from tests.artifacts import babble, edit
from tests.end_to_end.server import ServerProcess, serving
from tests.end_to_end.test_tls import Authority

LIMITS: dict[str, Any] = {
    "head_timeout_s": 1,
    "body_timeout_s": 1,
    "idle_timeout_s": 2,
    "max_text_tokens": 64,
}
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,negative_data_rejection"
)

_OF_ITS_OWN = re.compile(rb'"id":"[0-9a-f-]{36}"|"created_at":\d+')  # of one answer: KServe's

Send = Callable[[Iterable[bytes]], Iterable[Outcome]]


@dataclass
class Result:
    """What became of one kind of input."""

    kind: str
    seconds: float = 0.0
    words: Counter[str] = field(default_factory=Counter)
    faults: list[Outcome] = field(default_factory=list)
    growth_mib: float = 0.0


@click.command()
@click.option("--inputs", default=100_000, help="In all; an equal share for each kind.")
@click.option("--seed", default=1)
@click.option("--kept", type=click.Path(path_type=Path), default=Path("build/fuzz"))
@click.option("--document", default=0, help="Examples of each operation, instead of all else.")
def main(inputs: int, seed: int, kept: Path, document: int) -> None:
    """Print a line for each kind; exit 1 where anything failed."""
    with tempfile.TemporaryDirectory() as folder, fuzzed(Path(folder)) as (plain, secured):
        if document:
            done = over_document(plain, document, seed)
            click.echo(done.stdout)
            sys.exit(done.returncode)
        kinds = senders(plain, secured)
        right, bad = answers(plain), 0
        for kind, (data, send) in kinds.items():
            result = fuzz(plain, kind, data, send, inputs // len(kinds), seed)
            click.echo(told(result))
            bad += len(result.faults) + (answers(plain) != right)
            keep(result, kept)
        said = [line for one in (plain, secured) for line in mistakes(one)]
        click.echo("".join(said))
        bad += len(said)
    sys.exit(bad > 0)


@contextmanager
def fuzzed(folder: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two services of the same models, the second with TLS."""
    models = folder / "models"
    edit.copy(models)
    babble.write(models)
    with (
        serving(models, grpc_port=0, **LIMITS) as plain,
        serving(models, *Authority(folder).flags, **LIMITS) as secured,
    ):
        yield plain, secured


def senders(plain: ServerProcess, secured: ServerProcess) -> dict[str, tuple[bytes, Send]]:
    """For each kind of input, one that is right and how to send others."""
    over_http, over_tls = address(plain.url), address(secured.url)
    host, port = plain.rpc.split(":")
    found: dict[str, tuple[bytes, Send]] = {
        name: (question.body, partial(as_bodies, over_http, question))
        for name, question in seeds.bodies().items()
    }
    found["gRPC message"] = seeds.message(), partial(as_calls, plain.rpc)
    found["HTTP/2 frames"] = seeds.frames(), partial(as_connections, (host, int(port)), ends=True)
    found["HTTP/1.1 pipelined"] = seeds.pipelined(), partial(as_connections, over_http)
    found["TLS hello"] = seeds.hello(), partial(as_connections, over_tls)
    return found


def answers(server: ServerProcess) -> list[object]:
    """What is answered to what is right, in every dialect; it must not change."""
    over_http = Server(server.process.pid, *address(server.url), 0.0)
    found: list[object] = []
    for question in seeds.bodies().values():
        status, _, body = over_http.ask(question)
        changes = question.path.endswith("/promote")  # its answer lists what others have added
        found.append((status, b"" if changes else _OF_ITS_OWN.sub(b"", body)))
    return [*found, [outcome.word for outcome in as_calls(server.rpc, [seeds.message()])]]


def mistakes(server: ServerProcess) -> list[str]:
    """What the log says of mistakes of ours; not of gRPC's own end, which another one follows."""
    words = "unexpected error", "internal:", "inference_failed"
    return [line for line in server.lines if any(word in line for word in words)]


def fuzz(
    server: ServerProcess, kind: str, data: bytes, send: Send, count: int, seed: int
) -> Result:
    """So many changes of an input that is right, which is sent first and last."""
    chance = random.Random(f"{kind} {seed}")
    result = Result(kind)
    before, began = server.memory(), time.monotonic()  # what processes share counts in full
    changed = (mutate(chance, data) for _ in range(count))
    for outcome in send(changed):
        result.words[outcome.word] += 1
        if outcome.fault:
            result.faults.append(outcome)
    result.seconds, result.growth_mib = time.monotonic() - began, (server.memory() - before) / 2**20
    return result


def told(result: Result) -> str:
    """One line."""
    count = result.words.total()
    words = ", ".join(f"{word} {times}" for word, times in result.words.most_common(6))
    return (
        f"{result.kind:22} {count:>6} inputs, {count / result.seconds:>6.0f}/s, "
        f"{result.growth_mib:+6.1f} MiB, {len(result.faults)} faults: {words}"
    )


def keep(result: Result, folder: Path) -> None:
    """What failed, each input in a file that names its kind and what became of it."""
    for fault in result.faults:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(fault.sent).hexdigest()[:12]
        name = f"{result.kind}-{fault.word}-{digest}".replace("/", "-").replace(" ", "-")
        (folder / name).write_bytes(fault.sent)


def over_document(
    server: ServerProcess, examples: int, seed: int
) -> "subprocess.CompletedProcess[str]":
    """schemathesis: what the OpenAPI document allows, and what it does not."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", f"{server.url}/openapi.json", "--checks", CHECKS, "--no-color"),
        *("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"),
    ]
    with tempfile.TemporaryDirectory() as folder:  # where it keeps what it learns
        return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)


def address(url: str) -> tuple[str, int]:
    """Host and port of a URL without a path."""
    host, port = url.rpartition("/")[2].split(":")
    return host, int(port)


if __name__ == "__main__":
    main()
