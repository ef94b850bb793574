"""A light gRPC load: prebuilt messages over HTTP/2 connections that each wait for their answer.

gRPC's own Python client takes about as long for a call as the server does; on a shared machine it
would measure itself. This one writes the frames (RFC 9113) and reads no more of them than it must:
an answer counts when its message has the expected size, which an error does not.
"""

import asyncio
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import uvloop

from benchmarks.load import Load, LoadFailed
from benchmarks.serving.figures import percentile

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE_S = 30.0  # for the last answers
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_FRAME = 16_384  # bytes of the largest frame that every peer must take
_WINDOWS = 65_535  # bytes that may be sent before a peer says more
_LARGEST_WINDOW = 2**31 - 1


def measure(
    address: tuple[str, int],
    messages: Sequence[bytes],
    least: int,
    connections: int,
    seconds: float,
) -> Load:
    """Ask from so many connections at once; meant for a process of its own.

    Args:
        messages: `ModelInferRequest`s of at most 64 KiB, asked in rotation.
        least: bytes that the message of an answer must have.

    Raises:
        LoadFailed: an answer is an error or does not come, or a connection was closed.
    """
    try:
        return uvloop.run(_measure(address, messages, least, connections, seconds))
    except OSError as error:  # a timeout among them
        raise LoadFailed(f"gRPC on port {address[1]}: {error!r}") from error


async def _measure(
    address: tuple[str, int],
    messages: Sequence[bytes],
    least: int,
    connections: int,
    seconds: float,
) -> Load:
    loop = asyncio.get_running_loop()
    bodies = [b"\0" + struct.pack(">I", len(message)) + message for message in messages]
    if max(map(len, bodies)) > _WINDOWS:
        raise LoadFailed(f"a message is longer than {_WINDOWS} bytes; send fewer rows")
    started = time.perf_counter()
    clients = [
        _Client(f"{address[0]}:{address[1]}", bodies, turn, least, started + seconds)
        for turn in range(connections)
    ]
    for client in clients:
        await loop.create_connection(partial(_itself, client), *address)
    async with asyncio.timeout(seconds + PATIENCE_S):
        await asyncio.gather(*(client.done for client in clients))
    elapsed = time.perf_counter() - started
    latencies = [one for client in clients for one in client.latencies]
    p50, p99 = (1e3 * percentile(latencies, percent) for percent in (50, 99))
    return Load(len(latencies) / elapsed, p50, p99)


def _itself(client: "_Client") -> "_Client":
    return client


class _Client(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(
        self, authority: str, bodies: Sequence[bytes], turn: int, least: int, end: float
    ) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.bodies, self.turn, self.least, self.end = bodies, turn, least, end
        self.head = _request_head(authority)
        self.buffer = self.body = b""
        self.waits = False  # the body, for a wider window
        self.stream = -1
        self.received = self.unread = 0  # bytes of this answer, and of all since the last window
        self.window, self.stream_window = _WINDOWS, _WINDOWS

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        settings = struct.pack(">HIHI", 4, _LARGEST_WINDOW, 1, 0)  # stream window, no header table
        self.transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _window_update(_LARGEST_WINDOW - _WINDOWS)
        )

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        at = 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3])
            if len(data) - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == _DATA:
                self.received += length
            else:
                self._take(kind, flags, data[at + 9 : at + 9 + length])
            at += 9 + length
        self.buffer = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection: {exc}")

    def _take(self, kind: int, flags: int, content: bytes) -> None:
        if kind == _HEADERS and flags & _END_STREAM:
            self._answered()
        elif kind == _SETTINGS and not flags & _ACK:
            for key, value in struct.iter_unpack(">HI", content):
                self.stream_window = value if key == 4 else self.stream_window
            self.transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            if self.stream < 0:
                self._ask()
        elif kind == _PING and not flags & _ACK:
            self.transport.write(_frame(_PING, _ACK, 0, content))
        elif kind == _WINDOW:
            self._widen(int.from_bytes(content))
        elif kind in (_RESET, _GOAWAY):
            self._fail(f"the server ended a call or the connection: {content!r}")

    def _ask(self) -> None:
        """Send the next question, as soon as the window of the connection lets it through."""
        self.body = self.bodies[self.turn % len(self.bodies)]
        self.stream += 2
        self.turn += 1
        self.received = 0
        self.sent = time.perf_counter()
        if self.sent >= self.end:
            self._finish()
        else:
            self._send()

    def _send(self) -> None:
        if len(self.body) > min(self.window, self.stream_window):
            self.waits = True
            return
        self.waits = False
        self.window -= len(self.body)
        parts = [_frame(_HEADERS, _END_HEADERS, self.stream, self.head)]
        for begin in range(0, len(self.body), _FRAME):
            last = begin + _FRAME >= len(self.body)
            part = self.body[begin : begin + _FRAME]
            parts.append(_frame(_DATA, _END_STREAM if last else 0, self.stream, part))
        self.transport.write(b"".join(parts))

    def _widen(self, more: int) -> None:
        """Windows of streams are not followed: a whole question fits into one."""
        self.window += more
        if self.waits:
            self._send()

    def _answered(self) -> None:
        if self.received < self.least:
            self._fail(f"an answer has {self.received} bytes, expected {self.least}: an error")
            return
        self.latencies.append(time.perf_counter() - self.sent)
        self.unread += self.received
        if self.unread > _LARGEST_WINDOW // 2:
            self.transport.write(_window_update(self.unread))
            self.unread = 0
        self._ask()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()

    def _fail(self, why: str) -> None:
        with suppress(asyncio.InvalidStateError):
            self.done.set_exception(LoadFailed(why))


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + content


def _window_update(more: int) -> bytes:
    return _frame(_WINDOW, 0, 0, more.to_bytes(4))


def _request_head(authority: str) -> bytes:
    """The header block in HPACK (RFC 7541) without compression: `POST http`, then literals."""

    def text(value: str) -> bytes:
        return bytes([len(value)]) + value.encode()

    return (
        b"\x83\x86"
        + (b"\x04" + text(METHOD) + b"\x01" + text(authority))
        + (b"\x00" + text("content-type") + text("application/grpc"))
        + (b"\x00" + text("te") + text("trailers"))
    )
