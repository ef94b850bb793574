"""A full disk: whoever has to write says so in one line, and whoever serves goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.contract import aliases
from tests.artifacts import edit
from tests.conftest import ARTIFACTS
from tests.end_to_end.disks import gatecast_on_a_small_disk
from tests.end_to_end.processes import held
from tests.end_to_end.server import client, serving
from tests.end_to_end.test_startup import GATECAST, REQUEST, counted, eventually

GATECAST_PYTHON = [sys.executable, "-c"]
KEYS = "keys.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two versions of a model, the first of them pinned, and a file of keys."""
    made = tmp_path / "disk"
    edit.copy(made)
    edit.copy(made, version=2)
    aliases.change(made, "tiny", lambda now: now.promoted("live", 1, None, None))
    for name in ("app", "other"):
        subprocess.run([GATECAST, "keys", "create", name, "--file", made / KEYS], check=True)
    return made


@pytest.mark.parametrize(
    "command",
    [
        ["models", "promote", "tiny", "2", "--models", "."],
        ["keys", "create", "more", "--file", KEYS],
        ["keys", "revoke", "app", "--file", KEYS],
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_is_as_it_was_and_said_in_one_line(
    folder: Path, tmp_path: Path, command: list[str]
) -> None:
    before = contents(folder)
    (after := tmp_path / "after").mkdir()
    full = gatecast_on_a_small_disk(folder, tmp_path, after)
    named = [str(folder / part) if part in (".", KEYS) else part for part in command]
    ended = subprocess.run([full, *named], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stdout == ""  # above all, no key
    (line,) = ended.stderr.splitlines()
    assert "No space left on device" in line
    (after / ".fill").unlink()
    assert contents(after) == before


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_service_on_a_full_disk_refuses_changes_and_answers(folder: Path, tmp_path: Path) -> None:
    full = gatecast_on_a_small_disk(folder, tmp_path)
    with serving(folder, gatecast=full, watch_s=0.05) as server, client(server) as http:
        assert http.post("/v1/forecast", json=REQUEST).json()["version"] == 1
        refused = http.post("/v1/models/tiny/promote", json={"version": 2})
        assert refused.status_code == 409
        assert "cannot be written: No space left on device" in refused.text
        assert http.post("/v1/forecast", json=REQUEST).json()["version"] == 1
        assert http.delete("/v1/models/tiny/versions/2").status_code == 200  # which makes room
        assert "Traceback" not in server.log


def test_a_service_of_a_read_only_folder_refuses_changes_and_answers(
    folder: Path, tmp_path: Path
) -> None:
    frozen = gatecast_on_a_small_disk(folder, tmp_path, read_only=True)
    with serving(folder, gatecast=frozen, watch_s=0.05) as server, client(server) as http:
        refused = http.post("/v1/models/tiny/promote", json={"version": 2})
        assert refused.status_code == 409
        assert "Read-only file system" in refused.text
        refused = http.delete("/v1/models/tiny/versions/2")
        assert refused.status_code == 409
        assert "Read-only file system" in refused.text
        assert http.post("/v1/forecast", json=REQUEST).json()["version"] == 1
        assert "Traceback" not in server.log


def test_a_worker_whose_metrics_find_no_room_answers_and_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk := tmp_path / "disk").mkdir()
    full = gatecast_on_a_small_disk(disk, tmp_path, kib=100)  # enough for one worker's
    monkeypatch.setenv("TMPDIR", str(disk))
    with serving(ARTIFACTS, gatecast=full, workers=2) as server:
        with client(server) as one, client(server) as other:
            for http, times in ((one, 3), (other, 5)):
                for _ in range(times):
                    assert http.post("/v1/forecast", json=REQUEST).status_code == 200
            assert eventually(lambda: sorted(held(server).values()) == [1, 1])
            name = 'gatecast_requests_total{route="/v1/forecast",status="200"}'
            assert {counted(one, name), counted(other, name)} in ({3, 8}, {5, 8})
        assert "metrics cannot be written" in server.log
        assert "No space left on device" in server.log
        assert "Traceback" not in server.log
        server.terminate()
        assert server.wait() == 0


def test_several_workers_without_any_room_for_metrics_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = "import tempfile, service.cli\ntempfile.tempdir = '/proc'\nservice.cli.main()"
    monkeypatch.setenv("GATECAST_MODELS", str(ARTIFACTS))
    command = [*GATECAST_PYTHON, code, "serve", "--workers", "2", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("Error: several workers need a folder")
    assert "Traceback" not in ended.stderr
