"""What looks wrong is said with its remedy, and what is well is not."""

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from service import providers
from service.access.keys import new_key
from service.cores import available_cores
from service.doctor import door, machine, models, report
from service.doctor.area import Area
from service.settings import Settings
from tests.conftest import ARTIFACTS
from tests.end_to_end.test_startup import gatecast

GIB = 2**30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one good model, measured for a moment only."""
    monkeypatch.setattr(models, "BENCH_S", 0.001)
    shutil.copytree(ARTIFACTS / "tiny", tmp_path / "models/tiny")
    return tmp_path / "models"


def only(area: Area) -> tuple[str, str]:
    """The one thing that looks wrong."""
    (trouble,) = area.troubles
    return trouble.what, trouble.remedy


def test_a_good_model_is_proved_and_measured(folder: Path) -> None:
    area = models.models(Settings(models=folder), "cpu")
    assert area.troubles == []
    assert area.facts["tiny/1"].startswith("proved and warm in ")
    assert area.facts["tiny/1"].endswith(", live")
    assert [name for name in area.facts if name.startswith("tiny, ")] == [
        f"tiny, {rows} of 24 steps" for rows in (1, 8)
    ]


def test_a_damaged_version_is_named_beside_the_one_that_answers(folder: Path) -> None:
    shutil.copytree(folder / "tiny/1", folder / "tiny/2")
    (folder / "tiny/2/model.onnx").write_bytes(b"no model")
    area = models.models(Settings(models=folder), "cpu")
    what, remedy = only(area)
    assert "tiny/2" in what
    assert "gatecast models delete tiny@2" in remedy
    assert area.facts["tiny/2"] == "refused"
    assert area.facts["tiny/1"].endswith(", live")


def test_a_model_of_which_nothing_answers_is_told(folder: Path) -> None:
    (folder / "tiny/1/golden.npz").unlink()
    area = models.models(Settings(models=folder), "cpu")
    assert [trouble.what for trouble in area.troubles][1:] == ["no version of tiny answers"]


def test_an_alias_of_a_version_that_is_not_there_is_told(folder: Path) -> None:
    text = json.dumps({"aliases": {"live": 1, "canary": 9}})
    (folder / "tiny/aliases.json").write_text(text)
    assert only(models.models(Settings(models=folder), "cpu"))[0].startswith("tiny/9: an alias")


def test_a_version_from_the_future_tells_of_a_wrong_clock(folder: Path) -> None:
    later = time.time() + 3600
    os.utime(folder / "tiny/1", (later, later))
    what, remedy = only(models.models(Settings(models=folder), "cpu"))
    assert "s from now" in what
    assert "clock" in remedy


def test_a_slow_model_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "SLOW_S", 0.0)
    assert "one row of tiny takes" in only(models.models(Settings(models=folder), "cpu"))[0]


@pytest.mark.parametrize("there", [False, True])
def test_no_model_is_nothing_to_serve(tmp_path: Path, there: bool) -> None:
    (tmp_path / "models").mkdir() if there else None
    what, remedy = only(models.models(Settings(models=tmp_path / "models"), "cpu"))
    assert ("there is no model" if there else "does not exist") in what
    assert "gatecast train" in remedy


def quota_of(folder: Path, text: str) -> Path:
    (folder / "cpu.max").write_text(text)
    return folder


def test_threads_that_fit_the_cores_are_well(tmp_path: Path) -> None:
    settings = Settings(workers=available_cores(), lanes=1)
    assert machine.cores(settings, quota_of(tmp_path, "max 100000")).troubles == []


def test_more_threads_than_the_quota_are_told_with_what_to_give(tmp_path: Path) -> None:
    area = machine.cores(Settings(workers=3, lanes=2), quota_of(tmp_path, "150000 100000"))
    what, remedy = only(area)
    assert "6 threads" in what
    assert "--workers 1 --lanes 1" in remedy
    assert area.facts["by cgroup quota"] == 1.5


@pytest.mark.parametrize(
    ("file", "text", "is_wrong"),
    [
        ("memory.max", f"{GIB}\n", True),
        ("memory.max", f"{4 * GIB}\n", False),
        ("memory.max", "max\n", False),
        ("memory/memory.limit_in_bytes", f"{GIB}\n", True),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", False),
    ],
)
def test_workers_that_do_not_fit_the_memory_are_told(
    tmp_path: Path, file: str, text: str, is_wrong: bool
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    (tmp_path / "meminfo").write_text("MemTotal:  16777216 kB\n")
    found = machine.memory(Settings(workers=4), GIB // 4, tmp_path, tmp_path / "meminfo")
    assert bool(found.troubles) == is_wrong


def test_more_connections_than_open_files_are_told() -> None:
    what, remedy = only(machine.files(Settings(max_connections=2**40)))
    assert str(2**40) in what
    assert "ulimit -n" in remedy


def test_a_clock_that_is_wrong_or_slow_is_told() -> None:
    ticks = iter(range(10**6))
    assert machine.clock().troubles == []
    assert "it is not 1970-01-01" in only(machine.clock(now=lambda: 0.0))[0]
    assert "takes 1001000.0 us" in only(machine.clock(reading=lambda: float(next(ticks))))[0]


def test_a_door_on_this_machine_needs_no_keys() -> None:
    area = door.door(Settings())
    assert area.troubles == []
    assert area.facts["reached from"] == "this machine"


def test_what_keeps_the_service_from_starting_is_told() -> None:
    assert "there are no keys" in only(door.door(Settings(host="0.0.0.0")))[0]


def keys(tmp_path: Path, mode: int) -> Path:
    path = tmp_path / "keys.jsonl"
    path.write_text(new_key("shop", ["infer", "metrics"])[0].model_dump_json() + "\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "is_wrong"), [(0o600, False), (0o644, False), (0o664, True)])
def test_keys_that_others_can_write_are_told(tmp_path: Path, mode: int, is_wrong: bool) -> None:
    area = door.door(Settings(keys=keys(tmp_path, mode)))
    assert bool(area.troubles) == is_wrong
    assert area.facts["keys"].endswith("keys.jsonl, for infer, metrics")


def test_keys_that_cross_the_network_in_the_open_are_told(tmp_path: Path) -> None:
    area = door.door(Settings(keys=keys(tmp_path, 0o600), host="0.0.0.0"))
    assert "without TLS" in only(area)[0]


@pytest.mark.parametrize(
    ("begins_d", "ends_d", "expected"),
    [
        (-1, 90, None),
        (-1, 3, "ends in 3 days"),
        (-9, -1, "certificate has expired"),
        (1, 90, "certificate is not yet valid"),
    ],
)
def test_a_certificate_is_good_and_for_long(
    tmp_path: Path, begins_d: int, ends_d: int, expected: str | None
) -> None:
    now = datetime.now(UTC)
    begins, ends = (now + timedelta(days=d, hours=1) for d in (begins_d, ends_d))
    made = trustme.CA().issue_cert("localhost", not_before=begins, not_after=ends)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    area = door.door(Settings(tls_certificate=certificate, tls_key=key))
    if expected is None:
        assert area.troubles == []
        assert area.facts["certificate"] == "good for 90 days"
    else:
        assert expected in only(area)[0]


def test_both_packages_of_onnxruntime_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_is_installed", lambda _: True)
    area, provider = report.choice(Settings())
    assert "both installed" in only(area)[0]
    assert provider == "cpu"


def test_traces_that_cannot_be_sent_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert report.telemetry(Settings()).troubles == []
    assert "http/protobuf" in only(report.telemetry(Settings(traces=True)))[0]


def test_the_text_ends_with_what_looks_wrong() -> None:
    good, bad = Area("one", {"a": 1}), Area("two", {"bb": "x"})
    assert report.as_text([good]).splitlines()[-1] == "nothing looks wrong"
    bad.complain("it is loose", "tighten it")
    assert report.as_text([good, bad]).splitlines()[-3:] == [
        "looks wrong: 1",
        "  two: it is loose",
        "    -> tighten it",
    ]


def test_the_command_takes_the_settings_of_serve_and_ends_with_a_code_that_says_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "none").mkdir()
    ended = gatecast("doctor", "--json", "--models", str(tmp_path / "none"), workers=1)
    found = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert {"area", "what", "remedy"} == set(found["troubles"][0])
    assert "models" in {trouble["area"] for trouble in found["troubles"]}
    assert found["areas"]["cores"]["threads that run models"].startswith("1 workers x ")
    assert found["areas"]["provider"]["serves"] == "cpu"
    wrong = gatecast("doctor", "--workers", "0")
    assert wrong.returncode == 1
    assert "--workers" in wrong.stderr


def test_a_real_model_through_the_command_looks_well() -> None:
    ended = gatecast("doctor", "--json", "--models", str(ARTIFACTS), "--workers", "1")
    found = json.loads(ended.stdout)
    assert ended.returncode == (1 if found["troubles"] else 0)
    assert "models" not in {trouble["area"] for trouble in found["troubles"]}
    assert found["areas"]["models"]["tiny/1"].endswith(", live")


def test_a_store_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    settings = Settings(models="s3://", store_cache=tmp_path)
    assert "keeps the service from starting" in only(models.models(settings, "cpu"))[1]
