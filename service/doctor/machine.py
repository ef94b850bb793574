"""The machine as a service would meet it: cores, memory, open files, clock, a place for metrics."""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from service.cores import CGROUP, available_cores, quota
from service.doctor.area import Area
from service.processes.serve import wanted_files
from service.settings import Settings

MIB = 2**20
_MEMINFO = Path("/proc/meminfo")
_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_SANE = 1_704_067_200.0, 4_102_444_800.0  # seconds since 1970: the years 2024 to 2099
_SLOW_CLOCK_S = 2e-6  # of one reading; a good one takes less than a tenth of it
_READINGS = 1000


def cores(settings: Settings, cgroup: Path = CGROUP) -> Area:
    """How many there are, how many we may use, and how many threads would run models on them."""
    allowed, workers, lanes = quota(cgroup), settings.worker_count(), settings.lanes_per_worker()
    usable = min(len(os.sched_getaffinity(0)), allowed or float("inf"))
    area = Area(
        "cores",
        {
            "of the machine": os.cpu_count(),
            "by affinity": len(os.sched_getaffinity(0)),
            "by cgroup quota": "no limit" if allowed is None else allowed,
            "used": available_cores(cgroup),
            "load average": round(os.getloadavg()[0], 2),
            "threads that run models": f"{workers} workers x {lanes} lanes",
        },
    )
    if workers * lanes > usable:
        area.complain(
            f"{workers * lanes} threads would run models on {usable:g} cores: they wait for each "
            "other, or the kernel stops all of them for a part of each period",
            f"give --workers {max(1, int(usable))} --lanes 1, or a quota of whole cores",
        )
    return area


def memory(
    settings: Settings, of_models: int, cgroup: Path = CGROUP, meminfo: Path = _MEMINFO
) -> Area:
    """What there is, and what the workers would need.

    Args:
        of_models: bytes of this process with all models open, as each worker will be.
    """
    total, limit = _of_machine(meminfo), _limit(cgroup)
    most = min(total, limit or total)
    needed = of_models * settings.worker_count()
    area = Area(
        "memory",
        {
            "of the machine": _mib(total),
            "by cgroup limit": "no limit" if limit is None else _mib(limit),
            "of all workers, idle": _mib(needed),
        },
    )
    if needed > 0.8 * most:
        area.complain(
            f"{settings.worker_count()} workers need {_mib(needed)} before the first request, of "
            f"{_mib(most)}",
            "give fewer --workers (and more --lanes), fewer models, or more memory",
        )
    return area


def files(settings: Settings) -> Area:
    """Open files against connections, and where workers count together."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted_files(settings)
    most = "no limit" if hard == resource.RLIM_INFINITY else hard
    area = Area("files", {"open files, most": most, "now": soft, "wanted by a worker": wanted})
    if hard != resource.RLIM_INFINITY and hard < wanted:
        area.complain(
            f"max_connections {settings.max_connections} needs {wanted} open files, a process may "
            f"have {hard}",
            f"raise the limit (ulimit -n), or give --max-connections {max(1, hard - 200)}",
        )
    try:
        with tempfile.TemporaryDirectory(prefix="gatecast-metrics-") as folder:
            area.facts["metrics of workers"] = str(Path(folder).parent)
    except OSError as error:
        area.complain(
            f"no folder for temporary files can be written to: {error}",
            "mount a tmpfs at /tmp, or set TMPDIR; several workers count there",
        )
    return area


def clock(
    now: Callable[[], float] = time.time,
    reading: Callable[[], float] = time.perf_counter,
    source: Path = _CLOCK,
) -> Area:
    """Whether it can be right, and whether it is quick to read."""
    began = reading()
    for _ in range(_READINGS):
        reading()
    each = (reading() - began) / _READINGS
    name = source.read_text().strip() if source.is_file() else "unknown"
    told = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    area = Area("clock", {"time": told, "source": name, "one reading": f"{each * 1e9:.0f} ns"})
    if not _SANE[0] <= now() < _SANE[1]:
        area.complain(f"it is not {told}", "set the clock; certificates and logs go by it")
    if each > _SLOW_CLOCK_S:
        area.complain(
            f"a reading of the clock takes {each * 1e6:.1f} us, and a request needs a dozen",
            "let the kernel use the tsc clock source, where the machine has a steady one",
        )
    return area


def resident() -> int:
    """Bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _of_machine(meminfo: Path) -> int:
    return int(meminfo.read_text().split("MemTotal:")[1].split()[0]) * 1024


def _limit(cgroup: Path) -> int | None:
    """Of cgroup v2, else of v1; a v1 without a limit says a number beyond all memory."""
    for path in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        try:
            found = int(path.read_text())
        except (OSError, ValueError):  # v2 says "max"
            continue
        return found if found < 2**60 else None
    return None


def _mib(size: float) -> str:
    return f"{size / MIB:.0f} MiB"
