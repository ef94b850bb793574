"""How many cores this process may really use: the host's count is wrong inside a container."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = CGROUP) -> int:
    """The CPU affinity of this process, at most its cgroup quota (rounded up), at least 1."""
    affinity = len(os.sched_getaffinity(0))
    allowed = quota(cgroup)
    return max(1, min(affinity, math.ceil(allowed))) if allowed else affinity


def quota(cgroup: Path = CGROUP) -> float | None:
    """Cores of the cgroup's CPU quota; None: no limit."""
    return _quota_v2(cgroup / "cpu.max") or _quota_v1(cgroup / "cpu")


def _quota_v2(path: Path) -> float | None:
    """cgroup v2 writes "<quota> <period>" in microseconds, or "max <period>" for no limit."""
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    """cgroup v1 has a file for each number; a quota of -1 means no limit."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError):
        return None
