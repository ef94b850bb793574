"""A real `gatecast serve` process on a free port of the loopback address."""

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to read all authorities takes 25 ms

_ADDRESS = re.compile(r"running on (https?://127\.0\.0\.1:\d+)")
_RPC_ADDRESS = re.compile(r"gRPC on (127\.0\.0\.1:\d+)")


class ServerProcess:
    """A started server: its address, its log, and how it ended."""

    def __init__(self, command: list[str], models: Path | str, settings: dict[str, object]) -> None:
        self.models = models
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GATECAST_")}
        settings = {"workers": 1} | settings  # one unless a test is about several
        given = {f"GATECAST_{name.upper()}": str(value) for name, value in settings.items()}
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=clean | given
        )
        self.lines: list[str] = []
        self.url = ""
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """Everything the process wrote to standard error so far."""
        return "".join(self.lines)

    @property
    def rpc(self) -> str:
        """Where a server that was given a `grpc_port` speaks gRPC."""
        found = _RPC_ADDRESS.search(self.log)
        assert found, self.log
        return found[1]

    def wait_until_listening(self) -> None:
        """Return once the address is known; raises if the process ends before."""
        assert self._listening.wait(60), self.log
        assert self.url, f"the server ended with {self.process.wait()}:\n{self.log}"

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The process does nothing meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code, within a minute."""
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def memory(self) -> int:
        """Resident bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := _ADDRESS.search(line):
                self.url = found[1]
                self._listening.set()
        self.process.stderr.close()
        self._listening.set()


@contextmanager
def serving(
    models: Path | str, *flags: str, gatecast: str | None = None, **settings: object
) -> Iterator[ServerProcess]:
    """A listening server over a folder of models or a store of them, ended by pid at the end.

    Args:
        flags: for the command line.
        gatecast: another installation's command.
        settings: for the environment, by field name.
    """
    command = gatecast or str(Path(sys.executable).with_name("gatecast"))
    server = ServerProcess(
        [command, "serve", "--models", str(models), "--port", "0", *flags], models, settings
    )
    try:
        server.wait_until_listening()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.wait()


def client(server: ServerProcess, **options: object) -> httpx.Client:
    """An HTTP client of the server, free of the environment's proxies."""
    defaults = {"timeout": 60, "trust_env": False, "verify": TRUSTS_NOBODY}
    return httpx.Client(base_url=server.url, **defaults, **options)  # type: ignore[arg-type]
