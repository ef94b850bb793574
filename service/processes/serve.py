"""`gatecast serve` after its settings are known: one process, or a parent with its workers."""

import os
import resource
import signal
import socket
import sys
import tempfile

import click

from service.processes.supervisor import Supervisor
from service.processes.worker import Worker
from service.settings import Settings
from service.telemetry import logs

_OWN_FILES = 200  # of a worker, beside its connections; more than it needs


def serve(settings: Settings) -> None:
    """Answer until SIGTERM.

    Raises:
        SystemExit: with a code above 0 where the service could not start.
        ClickException: the address cannot be had.
    """
    for leave in (signal.SIGTERM, signal.SIGINT):  # before anything else answers to them
        signal.signal(leave, lambda *_: sys.exit(0))
    _raise_open_files(settings)
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # another program's counts, if at all
    if settings.worker_count() == 1 and settings.tls_certificate is None:
        worker = Worker(settings)
        worker.run()
        if not worker.started:
            sys.exit(1)
        return
    logs.configure(settings, worker=False)
    with bind(settings.host, settings.port) as listening:
        with _folder_of_metrics() as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            in_peace = Supervisor(settings, listening).run()
        if not in_peace:
            sys.exit(1)


def bind(host: str, port: int) -> socket.socket:
    """A socket on an address that is ours and that nobody can connect to yet.

    Raises:
        ClickException: the address cannot be had.
    """
    try:
        wanted = socket.AF_INET6 if ":" in host else socket.AF_INET  # of a name with both, as ever
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, family=wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        listening.bind(address)
    except OSError as error:
        raise click.ClickException(f"--host {host} --port {port}: {error.strerror}") from None
    listening.setblocking(False)
    return listening


def wanted_files(settings: Settings) -> int:
    """Open files that a worker may come to need."""
    return settings.max_connections + _OWN_FILES


def _folder_of_metrics() -> "tempfile.TemporaryDirectory[str]":
    """Where workers count, gone at the end.

    Raises:
        ClickException: it cannot be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="gatecast-metrics-")
    except OSError as error:
        raise click.ClickException(
            f"several workers need a folder for their metrics: {error}; make room, or name "
            "another place by TMPDIR, or --workers 1"
        ) from None


def _raise_open_files(settings: Settings) -> None:
    """As many as the connections need; say so where the machine does not let us have them."""
    wanted = wanted_files(settings)
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if now != resource.RLIM_INFINITY and now < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if allowed < wanted:
        logs.say(
            settings,
            f"max_connections {settings.max_connections} needs {wanted} open files, a process may "
            f"have {most} here; raise that limit (ulimit -n)",
        )
