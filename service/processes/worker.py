"""One process that answers: uvicorn's server, listening by itself or fed by a parent.

Fed, it opens no socket: connections arrive over the channel and become uvicorn's own protocol. It
leaves when the parent says so or is gone, and only after it has taken what was already on its way.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from service.errors import Unavailable
from service.processes.channel import (
    ANNOUNCE,
    CONNECTION,
    LEAVE,
    NOW,
    Closed,
    Report,
    receive,
    report,
)
from service.settings import Settings
from service.telemetry import logs

AT_ONCE = 16  # connections: a tenth of a millisecond each, in which nobody else is answered
ENDED_S = 0.05  # until it is reported that connections have ended
RETRY_S = 0.01  # until a report is sent again that the parent had no room for
FAREWELL_S = 5.0  # that a leaving worker waits for the connections still on their way
GOODBYE_S = 5.0  # for the end of TLS, which a caller may not answer
TICK_S = 0.1  # between two looks at whether to leave now
CUT_OFF_S = 1.0  # for the answers of those who are cut off
log = logging.getLogger("gatecast")


class _Open(set[Any]):
    """uvicorn's set of open connections, which tells when one has ended."""

    def __init__(self, ended: Callable[[], None]) -> None:
        super().__init__()
        self._ended = ended

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        self._ended()


class Worker(uvicorn.Server):
    """uvicorn's server for both cases; `channel` is None where it listens by itself."""

    def __init__(self, settings: Settings, channel: socket.socket | None = None) -> None:
        logs.configure(settings, worker=True)
        super().__init__(configuration(settings))
        self._settings = settings
        self._channel = channel
        self._taken = 0
        self._arriving: set[asyncio.Task[Any]] = set()
        self._last_taken = asyncio.Event()
        self._report_is_due = False
        self._has_time = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave in peace; alone and asked again, at once.

        A fed worker gets each Ctrl-C twice, from the terminal and from its parent, which is why
        only the parent may hurry it. uvicorn would raise the signal again: a clean end is code 0.
        """
        self.force_exit |= self.should_exit and self._channel is None
        self.should_exit = True
        self._has_time = sig == signal.SIGTERM  # whoever presses Ctrl-C waits for it

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the application, then listen or take what the parent sends."""
        if self._channel is None:
            await super().startup(sockets)
            return
        await super().startup([])
        self.server_state.connections = _Open(self._report_soon)
        asyncio.get_running_loop().add_reader(self._channel, self._read)
        self._report()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let in the last ones, then let everyone finish; at once, those who cannot get a 503."""
        if self._channel is None and self._has_time:
            await self._lead()
        if self._channel is not None:
            self._report()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._last_taken.wait(), FAREWELL_S)
            if self._arriving:
                await asyncio.wait(self._arriving, timeout=FAREWELL_S)
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn waits for nobody then, and leaves the application as it is
            for task in self.server_state.tasks:
                task.cancel()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=CUT_OFF_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lifespan.shutdown(), FAREWELL_S)

    async def _lead(self) -> None:
        """Serve on for the time that others take to notice, or until asked to leave now."""
        self._announce()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.drain_lead_s
        ticks = 0
        while (left := end - loop.time()) > 0 and not self.force_exit:
            await asyncio.sleep(min(left, TICK_S))
            ticks += 1
            await self.on_tick(ticks)  # or the date of answers would stand still

    def _announce(self) -> None:
        self.lifespan.state["drain"].announced = True

    def _read(self) -> None:
        """Take connections that have arrived; of a crowd, some in each turn of the event loop.

        The parent is told before a byte of theirs is read: from then on nobody else can answer
        them. Once for all of them, because each report wakes it.
        """
        assert self._channel is not None
        try:
            for _ in range(AT_ONCE):
                order, connection = receive(self._channel)
                if order == CONNECTION:
                    self._take(connection)
                else:
                    self._obey(order)
        except BlockingIOError:
            pass
        except (Closed, ConnectionError):
            asyncio.get_running_loop().remove_reader(self._channel)
            self._obey(LEAVE)
        self._report()

    def _obey(self, order: bytes) -> None:
        if order == ANNOUNCE:
            self._announce()
        elif order in (LEAVE, NOW):
            self.force_exit |= order == NOW
            self.should_exit = True
            self._last_taken.set()

    def _take(self, connection: socket.socket | None) -> None:
        self._taken += 1
        if connection is not None and self._is_full():
            from service.telemetry import metrics  # whose folder is named after this file is read

            metrics.refuse(Unavailable.error_type)
            connection.close()
        elif connection is None:  # the kernel drops it where this process has too many open files
            log.warning("a connection was lost: this worker has too many open files")
        else:
            loop = asyncio.get_running_loop()
            connection.setblocking(False)
            task = loop.create_task(self._open(connection))
            task.add_done_callback(self._arrived)
            self._arriving.add(task)

    def _is_full(self) -> bool:
        """Whether no more handshakes may begin; without TLS, `Connection` says so to the caller."""
        held = len(self.server_state.connections) + len(self._arriving)
        return self.config.is_ssl and held >= self._settings.max_connections

    async def _open(self, connection: socket.socket) -> None:
        """Make it uvicorn's connection; with TLS, once both sides agree on a secret."""
        secret = self.config.ssl
        await asyncio.get_running_loop().connect_accepted_socket(
            self._protocol,
            connection,
            ssl=secret,
            ssl_handshake_timeout=self._settings.head_timeout_s if secret else None,
            ssl_shutdown_timeout=GOODBYE_S if secret else None,
        )

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def _arrived(self, task: asyncio.Task[Any]) -> None:
        self._arriving.discard(task)
        if not task.cancelled() and task.exception() is not None:  # hung up on the way
            self._report_soon()

    def _report_soon(self) -> None:
        """Once for all that ends in a moment: what it costs is paid for every connection."""
        self._report_after(ENDED_S)

    def _report_after(self, delay_s: float) -> None:
        if not self._report_is_due:
            self._report_is_due = True
            asyncio.get_running_loop().call_later(delay_s, self._report)

    def _report(self) -> None:
        assert self._channel is not None
        self._report_is_due = False
        held = len(self.server_state.connections) + len(self._arriving)
        try:
            report(self._channel, Report(self._taken, held, self.should_exit))
        except BlockingIOError:
            self._report_after(RETRY_S)
        except OSError:  # the parent is gone, which `_read` sees by itself
            return


def configuration(settings: Settings) -> uvicorn.Config:
    """uvicorn as Gatecast runs it. The application reads its settings from the environment."""
    return uvicorn.Config(
        "service.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="service.api.connection:Connection",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=LOGGING_CONFIG if settings.log_format == "text" else None,
        proxy_headers=False,  # nothing here depends on who asks
        log_level=settings.log_level,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
        timeout_keep_alive=settings.idle_timeout_s,  # type: ignore[arg-type]  # only added to
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def work(channel: socket.socket, settings: Settings) -> None:
    """The life of a fed worker, in a process of its own."""
    channel.setblocking(False)
    worker = Worker(settings, channel)
    for leave in (signal.SIGTERM, signal.SIGINT):
        signal.signal(leave, worker.handle_exit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # blocked while it could only die
    worker.run()
