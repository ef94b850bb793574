"""Starting, staying up and leaving: a real process that serves, or ends at once with one line."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import onnxruntime as ort
import pytest

from tests.artifacts import edit
from tests.conftest import ARTIFACTS
from tests.end_to_end.server import ServerProcess, client, serving

GATECAST = str(Path(sys.executable).with_name("gatecast"))
REQUEST = {
    "model": "tiny",
    "series": [{"item_id": "a", "start": "2024-01-01", "target": [1.0, 3.0, 2.0]}],
}


def gatecast(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """A command that is to end by itself, with GATECAST_ settings in its environment."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GATECAST_")}
    given = {f"GATECAST_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [GATECAST, *arguments], capture_output=True, text=True, timeout=60, env=clean | given
    )


def refusal(*flags: str, **settings: object) -> str:
    """The one line with which `gatecast serve` refuses to start."""
    ended = gatecast("serve", "--models", str(ARTIFACTS), *flags, **settings)
    assert ended.returncode > 0
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def counted(http: httpx.Client, name: str) -> float:
    """The value of one metric with its labels; 0 where it is not there."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within some thousand looks."""
    return any(condition() for _ in range(5000))


def workers(server: ServerProcess) -> set[int]:
    """Pids of the processes that answer requests, where the service has several."""
    listed = subprocess.run(
        ["pgrep", "-P", str(server.process.pid), "-f", "spawn_main"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {int(pid) for pid in listed.stdout.split()}


def patient(server: ServerProcess) -> httpx.Client:
    """A client that waits while the address is known but no worker listens yet."""
    return client(server, transport=httpx.HTTPTransport(retries=8))


@contextmanager
def two_workers() -> Iterator[ServerProcess]:
    """A service of two workers that answer, ended by SIGTERM: a kill would leave the workers."""
    with serving(ARTIFACTS, "--workers", "2") as server:
        try:
            with patient(server) as http:
                assert http.get("/health/ready").status_code == 200
            yield server
        finally:
            server.terminate()
            code = server.wait()
        assert code == 0, server.log


def test_a_missing_models_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    line = refusal("--models", str(tmp_path / "nowhere"))
    assert "--models" in line
    assert "nowhere does not exist; train a model first" in line


def test_a_file_as_models_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    assert "--models" in refusal("--models", str(tmp_path / "models"))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--port", "http"),
        ("--port", "65536"),
        ("--port", "-1"),
        ("--lanes", "-1"),
        ("--workers", "0"),
        ("--workers", "two"),
        ("--max-batch-rows", "0"),
        ("--max-queue-rows", "1.5"),
        ("--max-body-bytes", "32MB"),
        ("--drain-grace-s", "-0.1"),
        ("--log-level", "loud"),
        ("--provider", "tpu"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(flag: str, value: str) -> None:
    line = refusal(flag, value)
    assert line.startswith(f"Error: {flag}: ")
    assert line.endswith(f"got {value!r}")


def test_a_setting_of_the_environment_that_cannot_be_is_refused_by_its_name() -> None:
    assert refusal(lanes=-1).startswith("Error: --lanes: ")
    assert refusal(port="http").startswith("Error: --port: ")


def test_an_unknown_flag_is_refused() -> None:
    ended = gatecast("serve", "--lames", "1")
    assert ended.returncode != 0
    assert "--lames" in ended.stderr


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this installation has CUDA"
)
def test_cuda_where_there_is_none_is_refused_with_the_remedy() -> None:
    line = refusal("--provider", "cuda")
    assert "provider cuda was asked for" in line
    assert "--provider cpu" in line


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_port_in_use_ends_the_service(count: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = gatecast("serve", "--models", str(ARTIFACTS), "--port", port, "--workers", count)
    assert ended.returncode > 0
    assert "address already in use" in ended.stderr.lower()
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_worker_that_cannot_start_ends_the_service_with_an_error(
    count: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import service.repository.intake as i\ni.Intake.load = None\n"
    (tmp_path / "sitecustomize.py").write_text(code)  # run by every process before its own code
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    ended = gatecast("serve", "--models", str(ARTIFACTS), "--port", "0", "--workers", count)
    assert ended.returncode > 0
    assert "Application startup failed" in ended.stderr


def test_settings_are_printed_at_start_and_flags_beat_the_environment() -> None:
    with serving(ARTIFACTS, "--lanes", "3", "--max-batch-rows=5", lanes=7, workers=1) as server:
        printed = dict(re.findall(r"^ +(\w+) (\S+)$", server.log, re.MULTILINE))
    assert printed["lanes"] == "3"
    assert printed["max_batch_rows"] == "5"
    assert printed["workers"] == "1"
    assert printed["models"] == str(ARTIFACTS)
    assert printed["provider"] == "cpu"
    assert int(printed["max_queue_rows"]) > 0


def test_the_environment_beats_the_defaults() -> None:
    with serving(ARTIFACTS, max_body_bytes=10) as server, client(server) as http:
        assert re.search(r"^ +max_body_bytes 10$", server.log, re.MULTILINE)
        assert http.post("/v1/forecast", json=REQUEST).status_code == 413


def test_a_broken_model_does_not_keep_a_good_one_from_serving(tmp_path: Path) -> None:
    edit.copy(tmp_path)
    (edit.copy(tmp_path, "broken") / "golden.npz").write_bytes(b"")
    with serving(tmp_path) as server, client(server) as http:
        assert http.post("/v1/forecast", json=REQUEST).status_code == 200
        listed = http.get("/v1/models").json()
        assert [model["name"] for model in listed["models"]] == ["tiny"]
        (refused,) = listed["refused"]
        assert refused["name"] == "broken"
        assert "golden.npz" in refused["reason"]
        ready = http.get("/health/ready")
        assert (ready.status_code, ready.json()["refused"]) == (200, ["broken"])
        assert http.get("/v1/models/broken").status_code == 404
        assert counted(http, 'gatecast_models{state="refused"}') == 1
        assert counted(http, 'gatecast_models{state="live"}') == 1
        assert refused["reason"] in server.log


def test_a_service_without_a_model_is_alive_but_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path) as server, client(server) as http:
        assert http.get("/health/live").status_code == 200
        ready = http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": "no model is served", "models": [], "refused": []}
        answer = http.post("/v1/forecast", json=REQUEST)
        assert answer.status_code == 404
        assert "served: none" in answer.json()["error"]["message"]
        server.terminate()
        assert server.wait() == 0


def test_two_workers_give_the_same_answers_and_count_together() -> None:
    answers = []
    with two_workers() as server:
        for _ in range(40):
            with client(server) as http:  # a connection each: either worker may take it
                answers.append(http.post("/v1/forecast", json=REQUEST))
        name = 'gatecast_requests_total{route="/v1/forecast",status="200"}'
        for _ in range(10):
            with client(server) as http:
                assert eventually(lambda: counted(http, name) == 40)
                assert counted(http, 'gatecast_series_total{model="tiny"}') == 40
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_a_killed_worker_is_replaced_and_nothing_counted_is_forgotten() -> None:
    name = 'gatecast_series_total{model="tiny"}'
    with two_workers() as server:
        with client(server) as http:
            assert http.post("/v1/forecast", json=REQUEST).status_code == 200
        before = workers(server)
        assert len(before) == 2
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        assert eventually(lambda: len(workers(server) - {victim}) == 2)
        assert before - {victim} < workers(server)
        with patient(server) as http:
            assert http.get("/health/ready").status_code == 200
            assert http.post("/v1/forecast", json=REQUEST).status_code == 200
            assert eventually(lambda: counted(http, name) == 2)
    assert not workers(server)


@pytest.mark.parametrize("count", ["1", "2"])
def test_another_programs_folder_of_metrics_is_left_alone(
    count: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "nowhere"))
    with serving(ARTIFACTS, "--workers", count) as server:
        with patient(server) as http:
            assert http.get("/metrics").status_code == 200
        server.terminate()
        assert server.wait() == 0
    assert not (tmp_path / "nowhere").exists()


def test_a_mistake_of_ours_is_logged_once_and_counted_as_500(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import service.inference as i\ni._in_order = None\n"  # on every way of a request
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with serving(ARTIFACTS) as server, client(server) as http:
        answer = http.post("/v1/forecast", json=REQUEST)
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "internal"
        assert counted(http, 'gatecast_requests_total{route="/v1/forecast",status="500"}') == 1
        assert server.log.count("Traceback") == 1
        assert "NoneType" in server.log


def test_models_are_listed_with_their_versions_and_what_is_damaged(tmp_path: Path) -> None:
    for version in (2, 10):
        edit.copy(tmp_path, version=version)
    (edit.copy(tmp_path, "broken") / "model.onnx").unlink()
    ended = gatecast("models", "--models", str(tmp_path))
    assert ended.returncode == 0
    broken, tiny = ended.stdout.splitlines()
    assert broken == "broken@1  damaged: broken/1: model.onnx is missing; versions [1]"
    assert re.match(r"tiny@10  forecast: freq 4h, .* horizon 6, .*versions \[2, 10\]$", tiny)


def test_models_of_the_committed_folder_and_of_none() -> None:
    listed = gatecast("models", "--models", str(ARTIFACTS))
    assert listed.stdout.startswith("tiny@1  forecast: freq 4h")
    missing = gatecast("models", "--models", "no/such/folder")
    assert missing.returncode != 0
    assert "no/such/folder does not exist" in missing.stderr


def test_an_answer_outlives_a_restart_bit_for_bit() -> None:
    texts = set()
    for lanes in (1, 2):
        with serving(ARTIFACTS, lanes=lanes) as server, client(server) as http:
            texts.add(json.dumps(http.post("/v1/forecast", json=REQUEST).json()))
    assert len(texts) == 1
