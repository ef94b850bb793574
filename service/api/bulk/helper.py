"""A process that reads and writes tables for the service, started when the first one comes.

Arrow and Parquet are formats of compressed, nested pieces from which a few bytes unpack to
gigabytes, and their library is large. So they are read by a process of their own, with a limit of
memory and of time: whatever a table does to it, the service answers and goes on, and its event loop
only moves bytes, as many at a time as a socket holds.
"""

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service import errors
from service.errors import DeadlineExceeded, Malformed, ServiceError, TooLarge

STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"

LONGEST_S = 30.0  # of one task; a table of the largest size takes a second or two
LARGEST_HEAD = 1 << 20  # bytes of what goes beside the arrays
PIECE = 1 << 18  # bytes moved in a turn; left alone, a turn lasts while the other side keeps up
LENGTH = struct.Struct("<Q")

Array = NDArray[Any]
_ENTRY = "from service.api.bulk.worker import main; main({fd}, {memory})"


class Head(msgspec.Struct):
    """What goes before the arrays, in either direction."""

    said: dict[str, Any]
    arrays: list[tuple[str, tuple[int, ...]]]  # dtype and shape


class HelperDied(Exception):
    """The process ended in the middle of a task."""


class Helper:
    """One process, one task at a time; callers wait in line."""

    def __init__(self, memory: int) -> None:
        self.memory = memory  # bytes the process may take beyond what it starts with
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def ask(
        self, said: dict[str, Any], arrays: Sequence[Array], timeout_s: float | None = None
    ) -> tuple[dict[str, Any], list[Array]]:
        """Send one task and wait for its answer. A task that is given up ends the process.

        Raises:
            DeadlineExceeded: no answer within `timeout_s`, waiting in line included.
            Malformed: the process died of it.
            TooLarge: it worked for `LONGEST_S`, or took all the memory it may take.
            ServiceError: whatever the task raised.
        """
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                found, answer = await self._exchange(said, arrays)
        except TimeoutError:
            raise DeadlineExceeded("no time was left to read the table or write one") from None
        if "error" in found:
            kind: type[ServiceError] = getattr(errors, found["error"])
            raise kind(found["message"], found["field"])
        return found, answer

    async def _exchange(
        self, said: dict[str, Any], arrays: Sequence[Array]
    ) -> tuple[dict[str, Any], list[Array]]:
        done = False
        try:
            connection = self._socket or await self._start()
            async with asyncio.timeout(LONGEST_S):
                await send(connection, said, arrays)
                answer = await receive(connection)
            done = True
            return answer
        except TimeoutError:
            raise TooLarge(f"the table took longer than {LONGEST_S:g} s; split it") from None
        except (HelperDied, OSError):
            raise Malformed("the table cannot be read: its reader came to an end") from None
        finally:
            if not done:
                await self.close()

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = _ENTRY.format(fd=theirs.fileno(), memory=self.memory)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-P", "-c", command],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._socket = ours
        return ours

    async def close(self) -> None:
        """End the process, if there is one; the next task starts another."""
        process, self._process = self._process, None
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            await asyncio.shield(asyncio.to_thread(process.wait))


async def send(connection: socket.socket, said: dict[str, Any], arrays: Sequence[Array]) -> None:
    """Write one message."""
    loop = asyncio.get_running_loop()
    whole = [np.ascontiguousarray(array) for array in arrays]
    await loop.sock_sendall(connection, pack_head(said, whole))
    for array in whole:
        if array.size:
            view = array.reshape(-1).view(np.uint8).data
            for at in range(0, len(view), PIECE):
                await loop.sock_sendall(connection, view[at : at + PIECE])
                await asyncio.sleep(0)


async def receive(connection: socket.socket) -> tuple[dict[str, Any], list[Array]]:
    """Read one message straight into the memory of its arrays.

    Raises:
        HelperDied: the other side has gone.
    """
    loop = asyncio.get_running_loop()

    async def fill(view: memoryview) -> None:
        while view:
            count = await loop.sock_recv_into(connection, view[:PIECE])
            if not count:
                raise HelperDied
            view = view[count:]
            await asyncio.sleep(0)

    prefix = bytearray(LENGTH.size)
    await fill(memoryview(prefix))
    encoded = bytearray(LENGTH.unpack(prefix)[0])
    await fill(memoryview(encoded))
    head, arrays = unpack_head(encoded)
    for array in arrays:
        if array.size:
            await asyncio.to_thread(array.fill, 0)  # fresh memory takes the kernel milliseconds
            await fill(array.reshape(-1).view(np.uint8).data)
    return head.said, arrays


def pack_head(said: dict[str, Any], arrays: Sequence[Array]) -> bytes:
    """What goes before the bytes of the arrays."""
    kinds = [(array.dtype.str, array.shape) for array in arrays]
    encoded = msgspec.msgpack.encode(Head(said, kinds))
    return LENGTH.pack(len(encoded)) + encoded


def unpack_head(encoded: bytes | bytearray) -> tuple[Head, list[Array]]:
    """The head, and room for the arrays that follow it."""
    head = msgspec.msgpack.decode(encoded, type=Head)
    return head, [np.empty(shape, dtype) for dtype, shape in head.arrays]
