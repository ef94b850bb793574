"""How long the first bytes of a caller have waited to be read.

Where callers come in a crowd, some wait longer for their connection to be taken than for their
answer, and the time they allow runs meanwhile. Only the kernel knows since when.
"""

import asyncio
import socket
import struct
import sys

_LAST_DATA = struct.Struct("@I")  # milliseconds, of struct tcp_info in Linux's linux/tcp.h:
_OFFSET = 52  # of tcpi_last_data_recv, behind 8 bytes and 11 integers of 4
_SIZE = _OFFSET + _LAST_DATA.size


def unread_s(transport: asyncio.BaseTransport) -> float:
    """Seconds since the last bytes of a connection came; 0 where nobody knows."""
    connection = transport.get_extra_info("socket")
    if connection is None or sys.platform != "linux":
        return 0.0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:  # it is no TCP, or the caller has gone
        return 0.0
    if len(info) < _SIZE:  # another kernel that calls itself Linux
        return 0.0
    (milliseconds,) = _LAST_DATA.unpack_from(info, _OFFSET)
    return float(milliseconds) / 1e3
