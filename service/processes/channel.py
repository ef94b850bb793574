"""What a parent and its worker say to each other, over a pair of Unix sockets.

Down go connections as open files, one a message, and orders. A parent's death ends the stream,
which is an order to leave as well: no worker outlives it. Up go reports of totals rather than of
events, so that a later one stands for all before it.
"""

import array
import socket
import struct
from typing import NamedTuple

CONNECTION, PING, ANNOUNCE, LEAVE, NOW = b"c", b"p", b"a", b"l", b"n"
_REPORT = struct.Struct("<QQ?")
_DESCRIPTOR = array.array("i").itemsize
_LONGEST = 64  # bytes of a message


class Report(NamedTuple):
    """What a worker says of itself; the first one says that it is ready."""

    taken: int  # connections it has received since its start
    open: int  # connections it holds
    leaving: bool


class Closed(Exception):
    """The other side is gone, or has said all it had to say."""


def pair() -> tuple[socket.socket, socket.socket]:
    """The parent's end and the worker's; messages keep their borders, and neither end blocks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def receive(channel: socket.socket) -> tuple[bytes, socket.socket | None]:
    """The next order, and the connection that came with it.

    Raises:
        BlockingIOError: there is none now.
        Closed: there will be none.
    """
    space = socket.CMSG_SPACE(_DESCRIPTOR)
    order, files, _, _ = channel.recvmsg(_LONGEST, space, socket.MSG_CMSG_CLOEXEC)
    if not order:
        raise Closed
    if not files:
        return order, None
    (descriptor,) = array.array("i", files[0][2][:_DESCRIPTOR])
    return order, socket.socket(fileno=descriptor)


def report(channel: socket.socket, said: Report) -> None:
    """Send a report.

    Raises:
        BlockingIOError: the parent has too many unread ones; send a newer one later.
        OSError: the parent is gone.
    """
    channel.send(_REPORT.pack(*said))


def read_report(channel: socket.socket) -> Report:
    """The next report.

    Raises:
        BlockingIOError: there is none now.
        Closed: there will be none.
    """
    try:
        said = channel.recv(_LONGEST)
    except ConnectionError:
        raise Closed from None
    if not said:
        raise Closed
    return Report(*_REPORT.unpack(said))
