"""One worker as its parent sees it: a process, a channel, and the books about its connections."""

import multiprocessing
import signal
import socket
import time
from collections import deque

from service.processes.channel import (
    ANNOUNCE,
    CONNECTION,
    LEAVE,
    NOW,
    PING,
    Closed,
    Report,
    pair,
    read_report,
)
from service.processes.worker import work
from service.settings import Settings

MOST_UNCONFIRMED = 64  # connections under way to a worker; far below what a socket can hold
SLOW_S = 0.5  # without a word: give new connections to others
_spawn = multiprocessing.get_context("spawn")  # a fork would copy onnxruntime's threads' locks


class Child:
    """A started worker. `connections` counts what it holds and what is under way to it."""

    def __init__(self, settings: Settings) -> None:
        self.channel, theirs = pair()
        self.process = _spawn.Process(target=work, args=(theirs, settings))
        # An early Ctrl-C would end Python with a traceback: the worker lets it in when it can.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        self.process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.ready = False
        self.leaving = False
        self.given = 0  # when it was last given a connection, as a number of the parent's
        self._sent = 0
        self._open = 0
        self._unconfirmed: deque[socket.socket] = deque()
        self._asked: float | None = None  # since when an answer is due

    @property
    def takes(self) -> bool:
        """Whether a new connection may be given to it."""
        return self.ready and not self.leaving and len(self._unconfirmed) < MOST_UNCONFIRMED

    @property
    def connections(self) -> int:
        """Connections of this worker."""
        return self._open + len(self._unconfirmed)

    @property
    def silent_s(self) -> float:
        """Seconds for which an answer is due."""
        return 0.0 if self._asked is None else time.monotonic() - self._asked

    def give(self, connection: socket.socket, number: int) -> None:
        """Pass a connection on; ours is kept until the worker says that it has it."""
        self.given = number
        self._sent += 1
        self._unconfirmed.append(connection)
        self._say(CONNECTION, connection)

    def ping(self) -> None:
        """Ask for a report."""
        if self.ready and self._asked is None:
            self._say(PING)

    def announce(self) -> None:
        """Say to those who ask for readiness that it will leave; nothing else changes."""
        self._say(ANNOUNCE)

    def hurry(self) -> None:
        """Leave at once, whatever is in progress."""
        self.leave()
        self._say(NOW)

    def leave(self) -> None:
        """Finish what is in progress, after the connections already under way."""
        if not self.leaving:
            self.leaving = True
            self._say(LEAVE)
            if not self.ready:
                self.process.terminate()

    def read(self) -> bool:
        """Take in its reports; whether there may be more."""
        try:
            while True:
                self._note(read_report(self.channel))
        except BlockingIOError:
            return True
        except Closed:
            return False

    def bury(self) -> list[socket.socket]:
        """After its end: the connections it never took, for others to answer."""
        self.read()
        self.process.join()
        self.channel.close()
        orphans = list(self._unconfirmed)
        self._unconfirmed.clear()
        return orphans

    def _note(self, report: Report) -> None:
        self.ready = True
        self._open = report.open
        while len(self._unconfirmed) > self._sent - report.taken:
            self._unconfirmed.popleft().close()
        self._asked = time.monotonic() if self._unconfirmed else None
        if report.leaving:
            self.leave()

    def _say(self, order: bytes, connection: socket.socket | None = None) -> None:
        if self._asked is None:
            self._asked = time.monotonic()
        try:
            socket.send_fds(self.channel, [order], [connection.fileno()] if connection else [])
        except OSError:  # it is gone, which its sentinel tells; what it never took is in the books
            self.ready = False
