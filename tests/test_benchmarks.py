"""The arithmetic of the benchmark; what it measures is no test's business."""

import hashlib
import json
import zipfile
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import load, perf_analyzer, soak
from benchmarks.load import LoadFailed, Question
from benchmarks.serving import figures, questions
from benchmarks.serving.figures import Figure

RATES = st.floats(1, 1e6)
NUMBERS = st.floats(-1e6, 1e6)
DONE = {
    "us": 2_000_000,
    "requests": 1000,
    "bytes": 500_000,
    "statuses": 0,
    "broken": 0,
    "timeouts": 0,
    "p50_us": 1500,
    "p99_us": 9000,
    "max_us": 9500,
}


def test_the_floor_spends_the_time_of_an_empty_request_and_of_every_row() -> None:
    # 1 ms for the request, 64 rows of 0.25 ms: 17 ms.
    assert figures.floor(1000, 4000, 64) == pytest.approx(1 / 0.017)


@given(RATES, RATES, st.integers(1, 1000))
def test_the_floor_is_below_what_either_part_can_do_alone(
    http: float, raw: float, rows: int
) -> None:
    floor = figures.floor(http, raw, rows)
    assert floor <= http
    assert floor <= raw / rows
    assert figures.efficiency(floor, http, raw, rows) == pytest.approx(1)


def test_efficiency_is_the_share_of_the_floor() -> None:
    assert figures.efficiency(10, 1000, 4000, 64) == pytest.approx(0.17)


def test_a_batch_takes_one_core() -> None:
    # 60 000 rows per second on two cores: 30 on one core take 1 ms.
    assert figures.batch_ms(60_000, 2, 30) == pytest.approx(1)


@given(st.lists(NUMBERS, min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = figures.percentile(values, percent)
    enough = [v for v in values if 100 * sum(w <= v for w in values) >= percent * len(values)]
    assert found == min(enough)


def test_one_slow_request_of_a_hundred_is_not_the_p99_and_two_are() -> None:
    assert figures.percentile([1.0] * 99 + [9.0], 99) == 1
    assert figures.percentile([1.0] * 98 + [9.0] * 2, 99) == 9


def test_a_request_without_an_answer_is_the_slowest() -> None:
    assert figures.percentile([1.0, np.inf], 99) == np.inf


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        figures.percentile([], 99)


def test_figures_are_the_medians_of_their_rounds() -> None:
    rounds = [[Figure("S", "p99", value, at_most=5), Figure("L", "p99", 1)] for value in (9, 4, 3)]
    first, second = figures.medians(rounds)
    assert first == (Figure("S", "p99", 4, at_most=5), [9, 4, 3])
    assert second == (Figure("L", "p99", 1), [1, 1, 1])


def test_a_round_without_the_figure_is_left_out() -> None:
    found = figures.medians([[Figure("S", "p99", 2)], [], [Figure("S", "p99", 4)]])
    assert found == [(Figure("S", "p99", 3), [2, 4])]


@pytest.mark.parametrize(
    ("figure", "target", "reached"),
    [
        (Figure("", "", 0.66, at_least=0.66), ">= 0.66", True),
        (Figure("", "", 0.65, at_least=0.66), ">= 0.66", False),
        (Figure("", "", 5.1, at_most=5), "<= 5", False),
        (Figure("", "", float("nan"), at_most=5), "<= 5", False),
        (Figure("", "", 5.1), "", True),
    ],
)
def test_a_target_is_reached_or_missed(figure: Figure, target: str, reached: bool) -> None:
    assert (figure.target, figure.reached) == (target, reached)


def test_the_table_names_the_target_the_verdict_and_every_round() -> None:
    printed = figures.table([(Figure("S: one", "p99 ms", 7.25, at_most=5), [6, 7.25, 0.5])])
    heading, row = printed.strip().splitlines()
    assert heading == "S: one"
    assert row.split() == ["p99", "ms", "7.25", "<=", "5", "MISSED", "6,", "7.25,", "0.500"]


def test_what_wrk_says_becomes_a_load() -> None:
    assert load.read(json.dumps(DONE), answer=500) == load.Load(500, 1.5, 9.0)


@pytest.mark.parametrize("wrong", [{"statuses": 1}, {"broken": 2}, {"timeouts": 3}, {"bytes": 9}])
def test_a_load_that_was_not_answered_has_no_speed(wrong: dict[str, int]) -> None:
    with pytest.raises(LoadFailed):
        load.read(json.dumps(DONE | wrong), answer=500)


def test_a_question_on_the_wire_says_how_long_it_is() -> None:
    wire = Question("/x", b"{}", {"a": "b"}).wire("here", gatecast_timeout_ms="200")
    head, body = wire.split(b"\r\n\r\n")
    assert body == b"{}"
    assert head.splitlines() == [
        b"POST /x HTTP/1.1",
        b"host: here",
        b"a: b",
        b"gatecast-timeout-ms: 200",
        b"content-length: 2",
    ]


def test_a_message_of_grpc_is_what_protobuf_reads() -> None:
    # Field 1 "S", then an input of field 5, in the encoding of protobuf.
    rows = np.full((300, 4), 1.5, np.float32)
    message = questions.grpc_message("S", rows)
    tensor = b"\x0a\x07context\x12\x04FP32\x1a\x03\xac\x02\x04"
    assert message.startswith(b"\x0a\x01S\x2a" + bytes([len(tensor)]) + tensor)
    assert message.count(rows.tobytes()) == 1
    assert message.endswith(np.full(300, 4, np.int64).tobytes())


def test_a_binary_question_says_where_its_tensors_begin() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    asked = questions.binary("S", rows)
    at = int(asked.headers["Inference-Header-Content-Length"])
    sizes = [
        tensor["parameters"]["binary_data_size"] for tensor in json.loads(asked.body[:at])["inputs"]
    ]
    assert asked.body[at:] == rows.tobytes() + np.full(2, 4, np.int64).tobytes()
    assert sizes == [32, 16]


def test_every_dialect_asks_with_the_same_numbers() -> None:
    rows = np.array([[100.1, 99.33]], np.float32)
    native = json.loads(questions.native("S", rows).body)["series"][0]["target"]
    tensors = json.loads(questions.open_inference("S", rows).body)["inputs"]
    assert native == tensors[0]["data"] == [100.1, 99.33]


def test_the_slope_of_memory_and_its_error_are_those_of_least_squares() -> None:
    random = np.random.default_rng(0)
    seconds = random.uniform(0, 100, 50)
    mib = 300 + 0.25 * seconds + random.normal(size=50)
    coefficients, covariance = np.polyfit(seconds, mib, 1, cov=True)
    assert soak.line(seconds, mib) == pytest.approx((coefficients[0], covariance[0, 0] ** 0.5))


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The bytes of a wheel that every download brings."""
    made = tmp_path / "made.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("data/bin/program", b"a program")
    content = made.read_bytes()

    def download(_: list[str], folder: str) -> None:
        Path(folder, "some-1.0.whl").write_bytes(content)

    monkeypatch.setattr(perf_analyzer, "call", download)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return content


def test_what_is_fetched_is_checked_and_kept(wheel: bytes) -> None:
    right = hashlib.sha256(wheel).hexdigest()
    known = perf_analyzer.Wheel("some==1.0", right, "data/bin/program")
    for _ in range(2):
        assert perf_analyzer.unpack(known).read_bytes() == b"a program"


def test_a_download_that_is_another_file_is_refused(tmp_path: Path, wheel: bytes) -> None:
    other = perf_analyzer.Wheel("some==1.0", "0" * 64, "data/bin/program")
    with pytest.raises(click.ClickException, match="some-1.0.whl is not the file"):
        perf_analyzer.unpack(other)
    assert not list(tmp_path.rglob("program"))
