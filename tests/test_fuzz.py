"""A few hundred of the inputs of benchmarks/fuzz.py, and of what the OpenAPI document allows."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from benchmarks import fuzz
from benchmarks.fuzzing import seeds
from tests.end_to_end.server import ServerProcess, client

EACH = 15
SEED = 7


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """A plain service and one with TLS, which have made no mistake when all is over."""
    with fuzz.fuzzed(tmp_path_factory.mktemp("fuzz")) as (plain, secured):
        yield plain, secured
        assert fuzz.mistakes(plain) + fuzz.mistakes(secured) == []


def test_damaged_inputs_are_refused_or_answered_and_change_nothing(
    both: tuple[ServerProcess, ServerProcess],
) -> None:
    plain, _ = both
    right = fuzz.answers(plain)
    for kind, (data, send) in fuzz.senders(*both).items():
        result = fuzz.fuzz(plain, kind, data, send, EACH, SEED)
        assert result.faults == [], kind
        assert result.words.total() == EACH
    assert fuzz.answers(plain) == right


def test_the_openapi_document_is_true(both: tuple[ServerProcess, ServerProcess]) -> None:
    done = fuzz.over_document(both[0], examples=2, seed=SEED)
    assert done.returncode == 0, done.stdout


def test_the_seeds_are_right(both: tuple[ServerProcess, ServerProcess]) -> None:
    *over_http, over_rpc = fuzz.answers(both[0])
    assert {answer[0] for answer in over_http} == {200}  # type: ignore[index]
    assert over_rpc == ["OK"]


def test_a_start_that_no_date_can_say_is_refused_by_its_row(
    both: tuple[ServerProcess, ServerProcess],
) -> None:
    question = seeds.bodies()["bulk Arrow"]
    table = pa.ipc.open_stream(question.body).read_all()
    far = pa.array([0, 2**62, -(2**63) + 1], pa.int64()).cast(pa.timestamp("us"))
    table = table.set_column(table.column_names.index("start"), "start", far)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = question.headers
    with client(both[0]) as http:
        answer = http.post(question.path, content=sink.getvalue().to_pybytes(), headers=headers)
    assert answer.status_code == 422
    assert "row 1 of column start is 4611686018427387904 microseconds" in answer.text
