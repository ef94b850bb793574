"""Requests that come when they come: a Poisson process over many connections, one epoll loop.

A closed loop waits for a slow server and so spares it; here the times are drawn beforehand, and a
latency counts from the time at which the request should have been sent, also where the generator
was late or no connection was free. The loop is written out, because asyncio's timers and
`epoll_wait` count in milliseconds; `select` on the epoll descriptor waits to the microsecond. It
wakes at most every 0.2 ms, which is added to a latency at the worst and halves what the generator
takes from the server.
"""

import gc
import os
import re
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.load import LoadFailed

TICK_S = 0.0002  # between two wake-ups
BURST = 16  # sent before answers are looked for again
READ = 64  # answers read before what is due is sent
NICE = -10  # before the server, where that is allowed: a late clock would blame the server
PATIENCE_S = 5.0  # after the last request; what is not answered then hangs
BROKEN = -1  # the status of a request whose connection was closed instead of an answer
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


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


class _Connection:
    """One request at a time."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.number = number
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.request = -1  # none
        self.head = b""
        self.status = self.missing = 0  # of the answer that is coming

    def receive(self) -> int:
        """Read what is there: the status of a whole answer, BROKEN, or 0 for not yet."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return 0
        except OSError:
            return BROKEN
        if not data:
            return BROKEN
        if self.missing:
            self.missing -= len(data)
            return 0 if self.missing else self.status
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return 0
        length = _LENGTH.search(self.head, 0, end)
        self.status = int(self.head[9:12])
        self.missing = end + 4 + (int(length[1]) if length else 0) - len(self.head)
        self.head = b""
        return 0 if self.missing else self.status


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
        LoadFailed: nobody listens.
    """
    _allow_files(connections)
    with suppress(PermissionError):
        os.nice(NICE)
    gc.disable()
    try:
        return _Generator(address, questions, times, connections).play()
    except ConnectionError as error:
        raise LoadFailed(f"port {address[1]}: {error}") from error


class _Generator:
    def __init__(
        self,
        address: tuple[str, int],
        questions: Sequence[bytes],
        times: NDArray[np.float64],
        connections: int,
    ) -> None:
        self.address, self.questions, self.times = address, questions, times.tolist()
        self.epoll = select.epoll()  # before the sockets: select takes low descriptors only
        self.by_number: dict[int, _Connection] = {}
        self.idle: deque[_Connection] = deque()  # in turn, so that no worker is spared
        self.in_flight = 0
        for number in range(connections):
            self._connect(number)
        self.sent = np.full(len(times), np.nan)
        self.answered = np.full(len(times), np.nan)
        self.status = np.zeros(len(times), np.int64)
        self.begin = 0.0

    def play(self) -> Journal:
        clock = time.perf_counter
        begun, self.begin = time.time(), clock()
        following, count = 0, len(self.times)
        end = self.times[-1] + PATIENCE_S if count else 0
        waiting = [self.epoll.fileno()]
        while following < count or self.in_flight:
            now = clock() - self.begin
            if now > end:
                break
            burst = 0
            while following < count and burst < BURST and self.idle:
                if self.times[following] > now:
                    break
                self._send(self.idle.popleft(), following)
                following += 1
                burst += 1
                now = clock() - self.begin
            if burst < BURST:
                time.sleep(TICK_S)
                now = clock() - self.begin
                until = self.times[following] if following < count and self.idle else now + 0.05
                if until > now:
                    select.select(waiting, (), (), until - now)
            for descriptor, _ in self.epoll.poll(0, READ):
                self._receive(descriptor)
        return Journal(np.array(self.times), self.sent, self.answered, self.status, begun)

    def _connect(self, number: int) -> None:
        made = _Connection(self.address, number)
        self.by_number[made.socket.fileno()] = made
        self.epoll.register(made.socket, select.EPOLLIN)
        self.idle.append(made)

    def _send(self, connection: _Connection, request: int) -> None:
        question = self.questions[request % len(self.questions)]
        connection.request = request
        self.in_flight += 1
        self.sent[request] = time.perf_counter() - self.begin
        try:
            whole = connection.socket.send(question) == len(question)
        except OSError:
            whole = False
        if not whole:  # closed meanwhile; an idle connection's buffer takes a small question whole
            self._finish(connection, BROKEN)

    def _receive(self, descriptor: int) -> None:
        connection = self.by_number.get(descriptor)
        status = connection.receive() if connection else 0
        if connection and status:
            self._finish(connection, status)

    def _finish(self, connection: _Connection, status: int) -> None:
        request, connection.request = connection.request, -1
        if request >= 0:
            self.answered[request] = time.perf_counter() - self.begin
            self.status[request] = status
            self.in_flight -= 1
        if status != BROKEN:
            self.idle.append(connection)
            return
        if request < 0:
            self.idle.remove(connection)
        del self.by_number[connection.socket.fileno()]
        connection.socket.close()
        self._connect(connection.number)


def _allow_files(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
