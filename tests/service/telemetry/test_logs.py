"""Lines of a log, ids of requests, and what a thread writes of them."""

import json
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.settings import Settings
from service.telemetry import metrics
from service.telemetry.access_log import AccessLog, json_line
from service.telemetry.account import Account
from service.telemetry.backlog import Backlog
from service.telemetry.logs import formatter
from service.telemetry.request_id import request_id

FORM = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


def account(name: str = "a" * 128) -> Account:
    return Account(
        request_id=name,
        method="POST",
        route="/v1/forecast",
        status="200",
        sent=7,
        arrived=1.0,
        ended=2.0,
        wall_ns=1_700_000_000_123_456_000,
        client="127.0.0.1",
        key=None,
        answered=None,
    )


def failed(log_format: str, **extra: str) -> str:
    """The line of an exception."""
    try:
        raise ZeroDivisionError("over\nthere")
    except ZeroDivisionError:
        record = logging.LogRecord(
            "gatecast", logging.ERROR, "", 0, "it %s", ("broke",), sys.exc_info()
        )
    record.__dict__.update(extra)
    settings = Settings(log_format=log_format)
    return formatter(settings, worker=True).format(record)


def test_an_exception_is_one_line_of_json_with_the_requests_id() -> None:
    line = failed("json", request_id="r1")
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("ERROR", "gatecast", "it broke")
    assert (found["request_id"], found["worker"]) == ("r1", os.getpid())
    assert found["exception"].endswith("ZeroDivisionError: over\nthere")


def test_a_line_of_text_names_the_request_beside_the_message() -> None:
    assert failed("text", request_id="r1").splitlines()[0] == "ERROR it broke (request r1)"
    assert failed("text").splitlines()[0] == "ERROR it broke"


@given(st.binary(max_size=200) | st.from_regex(FORM, fullmatch=True).map(str.encode))
def test_an_id_is_the_callers_own_or_a_new_one(sent: bytes) -> None:
    found = request_id(sent)
    assert FORM.fullmatch(found)
    if FORM.fullmatch(sent.decode("latin-1")):
        assert found == sent.decode()
    else:
        assert found != request_id(sent)


def test_the_line_of_a_request_has_its_time_to_the_microsecond() -> None:
    assert json.loads(json_line(account()))["time"] == "2023-11-14T22:13:20.123456+00:00"


def test_lines_are_written_in_whole_pieces_that_the_kernel_does_not_mix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _, piece: pieces.append(piece))
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    written = AccessLog(as_json=True)
    for number in range(100):
        written.put(account(str(number)))
    assert written.close()
    assert all(len(piece) <= select.PIPE_BUF and piece.endswith(b"\n") for piece in pieces)
    found = [json.loads(line)["request_id"] for line in b"".join(pieces).splitlines()]
    assert found == [str(number) for number in range(100)]
    assert len(pieces) < 20


def lost_of(kind: str, reason: str) -> Callable[[], float]:
    cells = metrics.lost(kind, reason)
    before = cells[0]
    return lambda: cells[0] - before


def test_a_log_that_nobody_reads_is_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise BrokenPipeError

    lost = lost_of("access_log", "refused")
    monkeypatch.setattr(os, "write", broken)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    written = AccessLog(as_json=False)
    for _ in range(3):
        written.put(account())
    assert written.close()
    assert lost() == 3


def test_a_full_backlog_takes_no_more_and_counts_what_it_did_not_take() -> None:
    begun, gate, done = threading.Event(), threading.Event(), list[int]()

    def work(some: list[int]) -> None:
        begun.set()
        assert gate.wait(60)
        done.extend(some)

    lost = lost_of("test", "full")
    backlog = Backlog("test", work, most=5, batch=2, rest_s=0.0)
    backlog.put(0)
    assert begun.wait(60)  # it holds that one, and five may wait
    for number in range(1, 9):
        backlog.put(number)
    gate.set()
    assert backlog.close()
    assert done == [0, 1, 2, 3, 4, 5]
    assert lost() == 3


def test_nothing_that_was_put_is_forgotten() -> None:
    done = list[int]()
    backlog = Backlog("test", done.extend, most=100_000, batch=7, rest_s=0.0)
    for number in range(20_000):
        backlog.put(number)
    assert backlog.close()
    assert done == list(range(20_000))
