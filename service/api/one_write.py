"""A transport that sends the head of an answer together with the first part of its body.

uvicorn writes them one after the other, and each write wakes the client and costs a system call: a
fifth of a small answer.
"""

import asyncio
from typing import Any

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class OneWrite:
    """Around the transport of one connection."""

    __slots__ = ("_held", "_is_next_a_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""
        self._is_next_a_head = True
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold a head back until more comes."""
        if self._is_next_a_head and data != CONTINUE:
            self._is_next_a_head = False
            self._held = data
        elif self._held:
            self._transport.write(self._held + data)
            self._held = b""
        else:
            self._transport.write(data)

    def end(self) -> None:
        """The answer is complete, also one without a body; what is written next is a head."""
        self._flush()
        self._is_next_a_head = True

    def close(self) -> None:
        """Send what is held, then hang up."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""
