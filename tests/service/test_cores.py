"""How many cores there are: affinity and cgroup, whichever is smaller, whatever the files hold."""

import os
from pathlib import Path

import pytest

from service.cores import available_cores


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> int:
    """An affinity of 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)) if pid == 0 else set())
    return 8


def v2(cgroup: Path, text: str) -> Path:
    (cgroup / "cpu.max").write_text(text)
    return cgroup


def v1(cgroup: Path, quota: str, period: str) -> Path:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu/cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu/cpu.cfs_period_us").write_text(period)
    return cgroup


def test_without_a_cgroup_the_affinity_counts(eight: int, tmp_path: Path) -> None:
    assert available_cores(tmp_path / "nothing") == eight


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),  # a fraction is rounded up
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("20000 10000\n", 2),
        ("6400000 100000\n", 8),  # more than the affinity gives nothing
    ],
)
def test_a_quota_of_cgroup_v2_limits_the_affinity(
    eight: int, tmp_path: Path, text: str, cores: int
) -> None:
    assert available_cores(v2(tmp_path, text)) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("-1\n", "100000\n", 8), ("300000\n", "100000\n", 3), ("250000\n", "100000\n", 3)],
)
def test_a_quota_of_cgroup_v1_limits_the_affinity(
    eight: int, tmp_path: Path, quota: str, period: str, cores: int
) -> None:
    assert available_cores(v1(tmp_path, quota, period)) == cores


def test_cgroup_v2_is_asked_before_v1(eight: int, tmp_path: Path) -> None:
    assert available_cores(v2(v1(tmp_path, "100000", "100000"), "300000 100000")) == 3


@pytest.mark.parametrize(
    "text", ["", "\n", "max", "many 100000", "1 2 3", "\u0661.5 1", "0 100000"]
)
def test_what_is_not_a_quota_is_no_limit(eight: int, tmp_path: Path, text: str) -> None:
    assert available_cores(v2(tmp_path, text)) == eight


def test_bytes_that_are_no_text_are_no_limit(eight: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_bytes(b"\xff\xfe\x00")
    assert available_cores(tmp_path) == eight


@pytest.mark.parametrize(("quota", "period"), [("", "100000"), ("x", "y"), ("100000", "")])
def test_what_is_not_a_quota_of_v1_is_no_limit(
    eight: int, tmp_path: Path, quota: str, period: str
) -> None:
    assert available_cores(v1(tmp_path, quota, period)) == eight


def test_half_a_cgroup_v1_is_no_limit(eight: int, tmp_path: Path) -> None:
    v1(tmp_path, "100000", "100000")
    (tmp_path / "cpu/cpu.cfs_period_us").unlink()
    assert available_cores(tmp_path) == eight


def test_a_folder_in_place_of_the_file_is_no_limit(eight: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").mkdir()
    assert available_cores(tmp_path) == eight


def test_a_pinned_process_has_the_cores_it_is_pinned_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert available_cores(v2(tmp_path, "400000 100000")) == 1


def test_on_this_machine_there_is_a_core_and_no_more_than_the_affinity() -> None:
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))
