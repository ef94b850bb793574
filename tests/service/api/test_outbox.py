"""The outbox: what is written within it leaves at its end, in order, whatever happens within."""

import asyncio
from typing import cast

import pytest

from service.api.outbox import Outbox


class Connection:
    """A transport that tells what is written to it."""

    def __init__(self, name: str, sent: list[tuple[str, bytes]]) -> None:
        self.name = name
        self.sent = sent

    def write(self, data: bytes) -> None:
        self.sent.append((self.name, data))


def connections(*names: str) -> tuple[list[tuple[str, bytes]], list[asyncio.Transport]]:
    """What is sent, and the connections it is sent to."""
    sent: list[tuple[str, bytes]] = []
    return sent, [cast(asyncio.Transport, Connection(name, sent)) for name in names]


def test_what_is_ready_together_leaves_together() -> None:
    outbox = Outbox()
    sent, (a, b) = connections("a", "b")
    outbox.write(a, b"0")
    assert sent == [("a", b"0")]
    with outbox:
        outbox.write(a, b"1")
        outbox.write(b, b"2")
        assert len(sent) == 1
    assert sent[1:] == [("a", b"1"), ("b", b"2")]
    outbox.write(b, b"3")
    assert sent[3:] == [("b", b"3")]


def test_what_was_ready_leaves_although_the_next_could_not_be_made() -> None:
    outbox = Outbox()
    sent, (a,) = connections("a")

    def failing() -> None:
        with outbox:
            outbox.write(a, b"1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert sent == [("a", b"1")]
    with outbox:
        pass
    assert len(sent) == 1
