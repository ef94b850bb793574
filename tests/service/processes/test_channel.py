"""The channel: messages keep their borders, connections arrive as themselves, ends are noticed."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.processes.channel import (
    CONNECTION,
    LEAVE,
    PING,
    Closed,
    Report,
    pair,
    read_report,
    receive,
    report,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Pair]:
    """The parent's end and the worker's."""
    ours, theirs = pair()
    with ours, theirs:
        yield ours, theirs


def test_orders_arrive_one_by_one_in_their_order(ends: Pair) -> None:
    ours, theirs = ends
    for order in (PING, PING, LEAVE):
        ours.send(order)
    assert [receive(theirs) for _ in range(3)] == [(PING, None), (PING, None), (LEAVE, None)]
    with pytest.raises(BlockingIOError):
        receive(theirs)


def test_a_connection_arrives_as_itself_and_outlives_the_senders_copy(ends: Pair) -> None:
    ours, theirs = ends
    client, accepted = socket.socketpair()
    socket.send_fds(ours, [CONNECTION], [accepted.fileno()])
    accepted.close()
    order, received = receive(theirs)
    assert order == CONNECTION
    assert received is not None
    with client, received:
        client.sendall(b"question")
        assert received.recv(100) == b"question"
        assert not received.get_inheritable()


def test_the_end_of_either_side_is_noticed_after_what_it_said(ends: Pair) -> None:
    ours, theirs = ends
    ours.send(PING)
    ours.close()
    assert receive(theirs) == (PING, None)
    with pytest.raises(Closed):
        receive(theirs)


def test_the_last_reports_of_a_dead_worker_are_read(ends: Pair) -> None:
    ours, theirs = ends
    last = Report(taken=3, open=2, leaving=False)
    report(theirs, last)
    theirs.close()
    assert read_report(ours) == last
    with pytest.raises(Closed):
        read_report(ours)


def test_a_worker_that_died_with_unread_orders_has_closed_its_channel(ends: Pair) -> None:
    ours, theirs = ends
    ours.send(PING)
    theirs.close()
    with pytest.raises(Closed):
        read_report(ours)


def test_reports_nobody_reads_do_not_block_the_worker(ends: Pair) -> None:
    _, theirs = ends

    def without_end() -> None:
        while True:
            report(theirs, Report(0, 0, False))

    with pytest.raises(BlockingIOError):
        without_end()


@given(st.builds(Report, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.booleans()))
def test_a_report_arrives_as_it_was_sent(said: Report) -> None:
    ours, theirs = pair()
    with ours, theirs:
        report(theirs, said)
        assert read_report(ours) == said
