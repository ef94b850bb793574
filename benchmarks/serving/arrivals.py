"""Requests that come when they come: a Poisson process over many connections.

A closed loop waits for a slow server and so spares it; here the times are drawn beforehand, and a
latency counts from the time at which the request should have been sent, also where the generator
was late or no connection was free. The loop itself is arrivals.c, compiled at first use: it shares
the machine with the server, and in Python it took a tenth of two cores at 5000 requests a second.
The two pass arrays in files, so nothing of Python runs while requests are sent.
"""

import hashlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache import kept
from benchmarks.load import LoadFailed

PATIENCE_S = 5.0  # after the last request; what is not answered then hangs
BROKEN = -1  # the status of a request whose connection was closed instead of an answer
SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Journal:
    """What became of every request; seconds since the common start."""

    intended: NDArray[np.float64]  # [N]
    sent: NDArray[np.float64]  # NaN: no connection was free before the end
    answered: NDArray[np.float64]  # NaN: never
    status: NDArray[np.int64]  # 0: never answered; BROKEN: closed instead
    begun: float  # time.time() of the start

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """From the time at which each should have been sent."""
        return 1e3 * (self.answered - self.intended)

    @property
    def lateness_ms(self) -> NDArray[np.float64]:
        """How late the generator itself was."""
        return 1e3 * (self.sent - self.intended)

    @property
    def hung(self) -> int:
        """Requests that were sent and got neither an answer nor an end."""
        return int(((self.status == 0) & ~np.isnan(self.sent)).sum())


def poisson(rate: float, seconds: float, seed: int = 0) -> NDArray[np.float64]:
    """Times of arrival in seconds, as many as come in that time."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, int(rate * seconds * 1.2) + 100)
    times = gaps.cumsum()
    found: NDArray[np.float64] = times[times < seconds]
    return found


def play(
    address: tuple[str, int],
    questions: Sequence[bytes],
    times: NDArray[np.float64],
    connections: int,
) -> Journal:
    """Send request n at times[n]; meant for a process of its own.

    Args:
        questions: whole HTTP requests, asked in rotation.
        times: seconds from the start, increasing.

    Raises:
        LoadFailed: nobody listens, or the generator cannot be compiled.
    """
    program = _compiled()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), questions, times)
        _run(program, folder, address, connections)
        return _read(Path(folder), times)


def _compiled() -> Path:
    """The program, kept from one process to the next as long as its source stays the same."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    return kept(f"arrivals-{digest[:16]}", _compile)


def _compile(program: Path) -> None:
    compiler = shutil.which("cc")
    if not compiler:
        raise LoadFailed(
            "cc is not on PATH: open loops are sent by a C program, compiled at first use; "
            "`apt-get install gcc libc6-dev`"
        )
    command = [compiler, "-O2", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LoadFailed(
            f"cc could not compile {SOURCE.name}, which wants Linux and glibc 2.35 or newer with "
            f"its headers (`apt-get install libc6-dev`):\n{done.stderr}"
        )


def _write(folder: Path, questions: Sequence[bytes], times: NDArray[np.float64]) -> None:
    times.astype(np.float64).tofile(folder / "times")
    np.array([len(question) for question in questions], np.int64).tofile(folder / "lengths")
    (folder / "questions").write_bytes(b"".join(questions))


def _run(program: Path, folder: str, address: tuple[str, int], connections: int) -> None:
    host, port = address
    numbers = [str(port), str(connections), str(PATIENCE_S)]
    command = [str(program), socket.gethostbyname(host), *numbers]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise LoadFailed(f"port {port}: {done.stderr.strip() or f'exit code {done.returncode}'}")


def _read(folder: Path, times: NDArray[np.float64]) -> Journal:
    sent, answered, begun = (np.fromfile(folder / name) for name in ("sent", "answered", "begun"))
    status = np.fromfile(folder / "status", np.int64)
    return Journal(times, sent, answered, status, float(begun[0]))
