"""The open loop against a small server of our own, which answers as each test wants."""

import shutil
import socketserver
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from benchmarks.load import LoadFailed, Question
from benchmarks.serving import arrivals
from benchmarks.serving.arrivals import BROKEN, Journal, play
from benchmarks.serving.processes import free_port

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not on PATH")

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Answer = Callable[[bytes], list[bytes] | None]  # pieces, an empty one: close; None: say nothing


@dataclass
class _Heard:
    """What a server was asked, in order."""

    address: tuple[str, int]
    questions: list[bytes] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)  # which connection each came over


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "PATIENCE_S", 0.1)


@contextmanager
def serving(answer: Answer) -> Iterator[_Heard]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while question := _whole(self.rfile):
                heard.questions.append(question)
                heard.ports.append(self.client_address[1])
                for piece in answer(question) or []:
                    if not piece:
                        return
                    self.wfile.write(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        heard = _Heard(("127.0.0.1", server.server_address[1]))
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield heard
        server.shutdown()
        thread.join()


def _whole(stream: BufferedIOBase) -> bytes:
    """One question as it came, with its body; nothing at the end."""
    head, length = b"", 0
    for line in stream:
        head += line
        if line.startswith(b"content-length: "):
            length = int(line[16:])
        if line == b"\r\n":
            return head + stream.read(length)
    return b""


def at(*seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(seconds, np.float64)


def ask(path: str, body: bytes = b"") -> bytes:
    return Question(path, body).wire("here")


def test_arrivals_are_a_poisson_process() -> None:
    times = arrivals.poisson(rate=1000, seconds=20, seed=1)
    gaps = np.diff(times)
    assert times[0] > 0
    assert times[-1] < 20
    assert (gaps > 0).all()
    assert len(times) == pytest.approx(20_000, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of exponential ones


def test_a_latency_counts_from_when_a_request_was_meant_to_be_sent() -> None:
    journal = Journal(
        intended=np.array([1.0, 2.0, 3.0]),
        sent=np.array([1.5, 2.0, np.nan]),
        answered=np.array([1.75, np.nan, np.nan]),
        status=np.array([200, 0, 0]),
        begun=0.0,
    )
    assert journal.latency_ms[0] == 750
    assert journal.lateness_ms[0] == 500
    assert journal.hung == 1


@needs_cc
def test_questions_are_asked_in_rotation() -> None:
    asked = [ask("/a"), ask("/b", b"body"), ask("/c")]
    with serving(lambda _: [OK]) as heard:
        journal = play(heard.address, asked, at(0, 0.001, 0.002, 0.003, 0.004), 1)
    assert heard.questions == [*asked, *asked[:2]]
    assert journal.status.tolist() == [200] * 5


@needs_cc
def test_connections_take_turns() -> None:
    with serving(lambda _: [OK]) as heard:
        play(heard.address, [ask("/")], at(0, 0.02, 0.04), 3)
    assert len(set(heard.ports)) == 3


@needs_cc
def test_a_request_is_sent_when_it_is_due_and_its_times_are_those_of_the_server() -> None:
    told = []

    def answer(question: bytes) -> list[bytes]:
        told.append(time.time())
        return [OK]

    with serving(answer) as heard:
        journal = play(heard.address, [ask("/")], at(0.01, 0.05), 1)
    assert (journal.sent >= journal.intended).all()
    millisecond = 1e-3  # two clocks, read one after the other
    assert (journal.begun + journal.sent <= np.array(told) + millisecond).all()
    assert (journal.begun + journal.answered >= np.array(told) - millisecond).all()


@needs_cc
def test_with_too_few_connections_a_request_waits_and_its_latency_counts_the_wait() -> None:
    with serving(lambda _: [OK]) as heard:
        journal = play(heard.address, [ask("/")], at(0, 0, 0), 1)
    assert (journal.sent[1:] >= journal.answered[:-1]).all()
    assert journal.latency_ms.tolist() == (1e3 * journal.answered).tolist()


@needs_cc
def test_no_requests_make_an_empty_journal() -> None:
    with serving(lambda _: [OK]) as heard:
        journal = play(heard.address, [ask("/")], at(), 2)
    assert len(journal.sent) == len(journal.status) == 0


@needs_cc
def test_a_closed_connection_is_broken_and_made_anew() -> None:
    with serving(lambda question: [b""] if b"/leave" in question else [OK]) as heard:
        journal = play(heard.address, [ask("/stay"), ask("/leave")], at(0, 0, 0, 0), 1)
    assert journal.status.tolist() == [200, BROKEN, 200, BROKEN]
    assert not np.isnan(journal.answered).any()
    assert heard.ports[0] == heard.ports[1] != heard.ports[2]


@needs_cc
def test_a_connection_that_is_closed_after_its_answer_breaks_no_request() -> None:
    with serving(lambda _: [OK, b""]) as heard:
        journal = play(heard.address, [ask("/")], at(0, 0.2), 1)
    assert journal.status.tolist() == [200, 200]
    assert len(set(heard.ports)) == 2


@needs_cc
@pytest.mark.usefixtures("impatient")
def test_a_request_without_an_answer_hangs_and_holds_its_connection() -> None:
    with serving(lambda question: None if b"/hang" in question else [OK]) as heard:
        journal = play(heard.address, [ask("/a"), ask("/hang"), ask("/c")], at(0, 0, 0), 1)
    assert journal.status.tolist() == [200, 0, 0]
    assert np.isnan(journal.answered).tolist() == [False, True, True]
    assert np.isnan(journal.sent).tolist() == [False, False, True]
    assert journal.hung == 1


@needs_cc
@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 429 Too Many Requests\r\nContent-LENGTH:  3", b"\r\n\r", b"\nab", b"c"],
        [b"HTTP/1.1 429 No\r\nx: y\r\ncontent-length: 3000000\r\n\r\n", bytes(3_000_000)],
        [b"HTTP/1.0 429 \r\nx-content-length: 7\r\n\r\n"],
    ],
)
def test_the_status_is_that_of_a_whole_answer(pieces: list[bytes]) -> None:
    with serving(lambda _: pieces) as heard:
        journal = play(heard.address, [ask("/")], at(0, 0, 0), 1)
    assert journal.status.tolist() == [429] * 3
    assert len(set(heard.ports)) == 1


@needs_cc
@pytest.mark.parametrize(
    "wrong",
    [b"220 mail\r\n\r\n", b"HTTP/1.1 what\r\n\r\n", OK + b"more", b"x" * 20_000],
    ids=["another protocol", "no status", "too long", "a head without an end"],
)
def test_what_is_no_answer_breaks_the_connection(wrong: bytes) -> None:
    with serving(lambda _: [wrong]) as heard:
        journal = play(heard.address, [ask("/")], at(0, 0), 1)
    assert journal.status.tolist() == [BROKEN] * 2


@needs_cc
def test_a_question_larger_than_any_buffer_arrives_whole() -> None:
    body = np.random.default_rng(0).bytes(20_000_000)
    with serving(lambda _: [OK]) as heard:
        journal = play(heard.address, [ask("/", body)], at(0, 0), 2)
    assert journal.status.tolist() == [200] * 2
    assert all(question == ask("/", body) for question in heard.questions)


@needs_cc
def test_where_nobody_listens_the_load_fails() -> None:
    port = free_port()
    with pytest.raises(LoadFailed, match=f"port {port}: connect: Connection refused"):
        play(("127.0.0.1", port), [ask("/")], at(0), 2)


@needs_cc
def test_the_program_compiles_without_a_warning(tmp_path: Path) -> None:
    strict = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "it")]
    done = subprocess.run([*strict, str(arrivals.SOURCE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_cc
def test_what_was_compiled_once_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: [OK]) as heard:
        play(heard.address, [ask("/")], at(0), 1)
        monkeypatch.setenv("PATH", "")
        assert play(heard.address, [ask("/")], at(0), 1).status == 200


def test_without_a_compiler_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LoadFailed, match="cc is not on PATH.*apt-get install gcc libc6-dev"):
        play(("127.0.0.1", 1), [ask("/")], at(0), 1)


@needs_cc
def test_where_the_compiler_fails_the_error_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wrong := tmp_path / "wrong.c").write_text("#include <no/such/header.h>\n")
    monkeypatch.setattr(arrivals, "SOURCE", wrong)
    with pytest.raises(LoadFailed, match="(?s)Linux and glibc 2.35.*no/such/header.h"):
        play(("127.0.0.1", 1), [ask("/")], at(0), 1)
