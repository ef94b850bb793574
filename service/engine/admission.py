"""Who is let in: a job that fits into the line and into its time, by what rows usually cost."""

import math
import time

from service.engine.job import Job
from service.engine.line import Line
from service.engine.pulse import Pulse
from service.errors import DeadlineExceeded, Overloaded

CAUTION = 1.25  # times the expected wait: a row that comes too late was run for nothing


class Admission:
    """Judges jobs by the line before them; guarded by the batcher's lock."""

    def __init__(self, line: Line, lanes: int, max_queue_rows: int, pulse: Pulse) -> None:
        self.until: dict[int, float] = {}  # by lane thread: when its batch is expected to end
        self._line = line
        self._lanes = lanes
        self._max_queue_rows = max_queue_rows
        self._pulse = pulse
        self._least_refused = 0.0  # seconds: the shortest job refused since somebody waits

    def allowance(self, timeout_s: float) -> float:
        """Seconds that are left of a timeout, part of which may have passed unread."""
        return max(timeout_s - self._pulse.lateness, 0.0)

    def judge_early(self, timeout_s: float) -> None:
        """Refuse before anything is known of a job but its time.

        Raises:
            Overloaded: those who wait already would make it wait too long.
        """
        if not self._line.rows and not self.until:
            return
        allowance = self.allowance(timeout_s)
        wait = self._expected_wait(time.monotonic()) + self._least_refused
        if wait > allowance:
            raise _too_busy(wait, allowance)

    def judge(self, job: Job, now: float) -> None:
        """Refuse what does not fit.

        Raises:
            Overloaded: too many rows would wait, or too long.
            DeadlineExceeded: the time is too short even for an idle service.
        """
        if self._line.rows + job.rows > self._max_queue_rows:
            retry_after = math.ceil(self._line.seconds / self._lanes) or 1
            raise Overloaded(
                f"{self._line.rows} series wait and {job.rows} more would exceed the limit of "
                f"{self._max_queue_rows}; try again in {retry_after} s",
                retry_after,
            )
        own = self._own_seconds(job)
        if own > job.allowance:
            raise DeadlineExceeded(
                f"the answer takes {own * 1e3:.1f} ms and the request allows "
                f"{job.allowance * 1e3:.1f} ms; give it more time or send fewer series"
            )
        wait = self._expected_wait(now)
        if wait + own > job.allowance:
            self._least_refused = min(own, self._least_refused or own)
            raise _too_busy(wait + own, job.allowance)
        if not self._line.rows:
            self._least_refused = 0.0

    def _own_seconds(self, job: Job) -> float:
        """What a job takes on an idle service."""
        if job.rows <= self._line.max_batch_rows:
            return max([one.pool.cost.seconds(one.count) for one in job.entries])
        return sum(one.count * one.pool.row_seconds for one in job.entries) / self._lanes

    def _expected_wait(self, now: float) -> float:
        """Until a lane takes a row that comes now, if none overtakes it."""
        running = 0.0
        if self.until:
            running = sum(max(until - now, 0.0) for until in list(self.until.values()))
        return CAUTION * (self._line.seconds + running) / self._lanes


def _too_busy(wait: float, allowance: float) -> Overloaded:
    retry_after = math.ceil(wait - allowance) or 1
    return Overloaded(
        f"the answer would take {wait:.3g} s and the request allows {allowance:.3g} s; try again "
        f"in {retry_after} s",
        retry_after,
    )
