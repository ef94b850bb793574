"""The parts of a request: whatever was measured, they follow each other within it."""

import math
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.engine.job import NOWHERE, Timing
from service.telemetry.account import Account, Answered
from service.telemetry.spans import parts
from tests.service.telemetry.test_logs import account

moments = st.lists(st.floats(0, 1e6), min_size=5, max_size=5).map(sorted)


def of(timing: Timing | None, arrived: float, ended: float) -> Account:
    answered = Answered("m", 1, timing)
    return msgspec.structs.replace(account(), arrived=arrived, ended=ended, answered=answered)


@given(moments)
def test_parts_fill_a_request_without_gaps(times: list[float]) -> None:
    arrived, joined, started, ran, ended = times
    timing = Timing(0.0, 0.0, 1, joined, started, ran)
    found = list(parts(of(timing, arrived, ended)))
    assert [name for name, *_ in found] == ["parse", "queue", "compute", "serialise"]
    assert all(one[2] == other[1] for one, other in pairwise(found))
    assert [found[0][1], *(end for _, _, end in found)] == times


def test_a_text_waits_and_runs_at_each_step_and_has_no_queue() -> None:
    timing = Timing(0.1, 0.2, rows=1, joined=2.0, ended=8.0)
    assert list(parts(of(timing, 1.0, 9.0))) == [
        ("parse", 1.0, 2.0),
        ("compute", 2.0, 8.0),
        ("serialise", 8.0, 9.0),
    ]


def test_what_no_model_ran_for_and_a_text_that_has_not_ended_have_no_parts() -> None:
    assert list(parts(account())) == []
    assert list(parts(of(None, 1.0, 2.0))) == []
    assert list(parts(of(NOWHERE, 1.0, 2.0))) == []


@given(st.lists(moments, min_size=1, max_size=4))
def test_a_request_in_pieces_lasts_from_its_first_to_its_last(pieces: list[list[float]]) -> None:
    whole = NOWHERE
    for joined, started, ran, queue_s, compute_s in pieces:
        whole = whole.longest(Timing(queue_s, compute_s, 2, joined, started, ran))
    assert whole.rows == 2 * len(pieces)
    assert whole.joined == min(piece[0] for piece in pieces)
    assert whole.started == min(piece[1] for piece in pieces)
    assert whole.ended == max(piece[2] for piece in pieces)
    assert math.isinf(NOWHERE.joined)
