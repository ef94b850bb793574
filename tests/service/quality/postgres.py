"""A PostgreSQL server of a test's own, on a free port of the loopback address."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.processes import eventually


def binaries() -> Path | None:
    """Where Debian, or whoever, has put them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = str(found[-1]) if found else shutil.which("initdb")
    return Path(path).parent if path else None


class Postgres:
    """A server that can be killed and started again."""

    def __init__(self, home: Path) -> None:
        folder = binaries()
        if folder is None:
            pytest.skip("PostgreSQL's initdb and postgres are not installed")
        self._bin, self._home = folder, home
        self._user = "nobody" if os.getuid() == 0 else None  # it refuses to run as root
        if self._user:
            shutil.chown(home, self._user)
        self._data = home / "data"
        self._run(
            "initdb", "-D", str(self._data), "-U", "gatecast", "-A", "trust", "-N", "-E", "UTF8"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"postgresql://gatecast@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Until it answers."""
        settings = ("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(self._home))
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *settings], user=self._user, stdout=log, stderr=log, cwd=self._home
            )
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        assert eventually(lambda: subprocess.run(ready, check=False).returncode == 0)

    def kill(self) -> None:
        """At once, with every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self._bin / name), *arguments]
        done = subprocess.run(
            command, user=self._user, cwd=self._home, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def running() -> Iterator[Postgres]:
    """A server that answers, ended by its pid."""
    with tempfile.TemporaryDirectory(prefix="gatecast-postgres-") as home:
        server = Postgres(Path(home))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
