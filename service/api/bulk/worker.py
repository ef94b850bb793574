"""The other side of `helper`: one table after the other, until the service has gone."""

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from service.api.bulk import arrow
from service.api.bulk.helper import LENGTH, Array, pack_head, unpack_head
from service.errors import ServiceError, TooLarge

_NICENESS = 10  # a table can wait, the service's event loops cannot

Task = Callable[[dict[str, Any], list[Array]], tuple[dict[str, Any], Sequence[Array]]]


def main(descriptor: int, memory: int) -> None:
    """Answer tasks that come through the socket.

    Args:
        memory: bytes that may be taken beyond what is taken now.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service says when it is over
    os.nice(_NICENESS)
    _limit(memory)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
        while prefix := stream.read(LENGTH.size):
            head, arrays = unpack_head(stream.read(LENGTH.unpack(prefix)[0]))
            for array in arrays:
                stream.readinto(array.reshape(-1).view(np.uint8).data)
            said, answer = _answer(head.said, arrays)
            del arrays
            stream.write(pack_head(said, answer))
            for array in answer:
                stream.write(array.reshape(-1).view(np.uint8).data)
            stream.flush()


def _answer(said: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], Sequence[Array]]:
    task: Task = arrow.read if said["task"] == "read" else arrow.write
    try:
        found, answer = task(said, arrays)
        return found, [np.ascontiguousarray(array) for array in answer]
    except ServiceError as error:
        return {"error": type(error).__name__, "message": error.message, "field": error.field}, []
    except MemoryError:
        message = "the table needs more memory than one may take; send fewer series at a time"
        return {"error": TooLarge.__name__, "message": message, "field": None}, []


def _limit(memory: int) -> None:
    """What unpacks without end meets the end of memory, in this process alone; Linux only."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
