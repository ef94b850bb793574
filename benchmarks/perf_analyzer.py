"""Triton's own load generator, `perf_analyzer`, against this service: unchanged, as a client.

    python -m benchmarks.perf_analyzer --models tests/artifacts --model tiny

The program of today needs a newer C library than many systems have; that of Triton 2.45 does not.
It is fetched once, checked, and kept in the cache of the user: the program lies in tritonclient's
wheel, CUDA's runtime, which it is linked with and never calls, in NVIDIA's, libb64 in Debian's
archive. Every form of asking must be answered without a failure; what was measured is printed.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.cache import kept
from tests.end_to_end.server import ServerProcess, client, serving


@dataclass(frozen=True)
class Wheel:
    """A file of a wheel of the package registry."""

    package: str
    sha256: str
    member: str


PROGRAM = Wheel(
    "tritonclient==2.45.0",
    "28b2d550bf5445ccd3f457bbcabf890db1d271924957d4d26abd431f94b078c1",
    "tritonclient-2.45.0.data/data/bin/perf_analyzer",
)
CUDA = Wheel(
    "nvidia-cuda-runtime-cu12==12.9.79",
    "25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3",
    "nvidia/cuda_runtime/lib/libcudart.so.12",
)
DEBIAN, LIBRARY = "libb64-0d", "libb64.so.0d"
FOLDER = "perf_analyzer"  # of the cache
FORMS = {  # flags of perf_analyzer; the last say how requests follow each other
    "HTTP, binary": ("--concurrency-range", "4"),
    "HTTP, JSON": (
        *("--input-tensor-format", "json", "--output-tensor-format", "json"),
        *("--concurrency-range", "4"),
    ),
    "HTTP, four rows in a request": ("-b", "4", "--concurrency-range", "4"),
    "gRPC": ("-i", "grpc", "--concurrency-range", "4"),
    "gRPC, a stream": ("-i", "grpc", "--streaming", "--concurrency-range", "4"),
    "gRPC, Poisson": (
        *("-i", "grpc", "--request-distribution", "poisson"),
        *("--request-rate-range", "100"),
    ),
}
UNSTEADY = "999"  # percent by which windows may differ: whether it is answered is the question
SUMMARY = re.compile(r"[Tt]hroughput: ([\d.]+) infer/sec, latency (\d+) usec")


@click.command()
@click.option("--models", type=click.Path(path_type=Path), default=Path("tests/artifacts"))
@click.option("--model", default="tiny", help="A forecaster that wants the target alone.")
@click.option("--window", default=1000, help="Milliseconds of one measurement.")
def main(models: Path, model: str, window: int) -> None:
    """Print a line for each form of asking; fail where one is not answered."""
    program, libraries = fetch()
    with serving(models, grpc_port=0) as server, tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data.json")
        data.write_text(json.dumps(question(server, model)))
        failed = 0
        for form, flags in FORMS.items():
            address = server.rpc if "grpc" in flags else server.url.removeprefix("http://")
            asked = [str(program), "-m", model, "-u", address, "--input-data", str(data)]
            said = run([*asked, "-p", str(window), "-s", UNSTEADY, *flags], libraries)
            found = SUMMARY.search(said)
            failed += found is None
            click.echo(f"{form}: {found[0] if found else said}")
    sys.exit(f"{failed} of {len(FORMS)} forms were not answered" if failed else 0)


def question(server: ServerProcess, model: str) -> dict[str, object]:
    """One row as perf_analyzer reads it: the longest context that the model looks at."""
    with client(server) as http:
        said = http.get(f"/v2/models/{model}/config").raise_for_status().json()
    steps = int(said["parameters"]["context_length"]["string_value"])
    context = {"content": [100.5 + step % 7 for step in range(steps)], "shape": [steps]}
    return {"data": [{"context": context, "lengths": {"content": [steps], "shape": [1]}}]}


def run(command: list[str], libraries: Path) -> str:
    """What the program says."""
    done = subprocess.run(
        command,
        env=os.environ | {"LD_LIBRARY_PATH": str(libraries)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.stdout


def fetch() -> tuple[Path, Path]:
    """The program and the folder of its libraries."""
    program = unpack(PROGRAM)
    program.chmod(0o755)
    unpack(CUDA)
    return program, kept(f"{FOLDER}/{LIBRARY}", _from_debian).parent


def unpack(wheel: Wheel) -> Path:
    """A file of a wheel whose bytes are the expected ones."""

    def make(made: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", wheel.package]
            call(pip, folder)
            (file,) = Path(folder).glob("*.whl")
            if hashlib.sha256(file.read_bytes()).hexdigest() != wheel.sha256:
                raise click.ClickException(f"{file.name} is not the file that was expected")
            with zipfile.ZipFile(file) as archive:
                made.write_bytes(archive.read(wheel.member))

    return kept(f"{FOLDER}/{Path(wheel.member).name}", make)


def _from_debian(made: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        call(["apt-get", "download", DEBIAN], folder)  # which checks its signature
        call(["dpkg-deb", "-x", *map(str, Path(folder).glob("*.deb")), "."], folder)
        (found,) = Path(folder).glob(f"usr/lib/*/{LIBRARY}")
        made.write_bytes(found.read_bytes())


def call(command: list[str], folder: str) -> None:
    """Run a command in a folder."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stdout.decode()[-500:]}")


if __name__ == "__main__":
    main()
