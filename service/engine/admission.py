"""Who is let in: a job that fits into the line and into its time, by what rows usually cost."""

import math
import time
from collections import deque

from service.engine.job import Job
from service.engine.line import Line
from service.engine.pulse import Pulse
from service.errors import DeadlineExceeded, Overloaded, ServiceError

# Callers come in herds: all that one look at the sockets finds would be let in by a line that none
# of them has joined yet. One who is still to come after this time is slow, and holds nobody up.
SOON_S = 0.05
AGAIN_S = 0.001  # for which whoever allows the same time as one just refused is refused as well
_MEMORY = 16  # jobs
# Times the expected wait: who is let in and comes too late has cost others their place. One such
# makes the next ones wait for more room; each answer in time that has used up most of it, for a
# little less: others tell nothing of how long a line may be. About one in 150 comes too late then.
CAUTION = 1.6  # at the start
LEAST_CAUTION, MOST_CAUTION = 1.25, 4.0
_ALARM, _CALM = 1.03, 0.9998
_TELLING = 0.5  # of the time of a job: who was answered sooner was in no danger


class Admission:
    """Judges jobs by the line before them; guarded by the batcher's lock."""

    def __init__(self, line: Line, lanes: int, max_queue_rows: int, pulse: Pulse) -> None:
        self.until: dict[int, float] = {}  # by lane thread: when its batch is expected to end
        self._line = line
        self._lanes = lanes
        self._max_queue_rows = max_queue_rows
        self._pulse = pulse
        self._least_refused = 0.0  # seconds: the shortest job refused since somebody waits
        self._expected: deque[float] = deque()  # when those were let in who are still to be judged
        self.caution = CAUTION
        self._passing = 0.0  # seconds from there to the judgement
        self._usual = 0.0  # seconds of lanes that a job takes
        # Until when whoever allows so many seconds is told this.
        self._refused: tuple[float, float, Overloaded | None] = (-math.inf, 0.0, None)

    def expired(self) -> None:
        """One who was let in was not answered in time."""
        self.caution = min(self.caution * _ALARM, MOST_CAUTION)

    def answered(self, job: Job) -> None:
        """One was, be it by an error."""
        if job.deadline - time.monotonic() < (1 - _TELLING) * job.allowance:
            self.caution = max(self.caution * _CALM, LEAST_CAUTION)

    def allowance(self, timeout_s: float) -> float:
        """Seconds that are left of a timeout, part of which may have passed unread."""
        return max(timeout_s - self._pulse.lateness, 0.0)

    def no_room(self, timeout_s: float) -> Overloaded | None:
        """What is said before anything is known of a job but its time; None: it is let in.

        Not raised: most who come in overload are told this, and an error that is raised and caught
        costs as much as the judgement.
        """
        now = time.monotonic()
        until, allowed, full = self._refused
        if now < until and timeout_s == allowed:
            return full
        while self._expected and now - self._expected[0] > SOON_S:
            self._expected.popleft()
        if self._expected or self._line.rows or self.until:
            allowance = self.allowance(timeout_s)
            ahead = self.caution * self._usual * len(self._expected) / self._lanes
            wait = self._expected_wait(now) + ahead + self._passing + self._least_refused
            if wait > allowance:
                full = _too_busy(wait, allowance)
                self._refused = now + AGAIN_S, timeout_s, full
                return full
        self._expected.append(now)
        return None

    def pass_by(self, job: Job, now: float) -> None:
        """Learn from a job that waits for nobody."""
        self._arrived(now)
        self._learn(job)

    def judge(self, job: Job, now: float) -> None:
        """Refuse what does not fit; its rows and its caller are let go of.

        Raises:
            Overloaded: too many rows would wait, or too long.
            DeadlineExceeded: the time is too short even for an idle service.
        """
        self._arrived(now)
        try:
            self._judge(job, now)
        except ServiceError:
            job.forget()
            raise
        if not self._line.rows:
            self._least_refused = 0.0

    def _judge(self, job: Job, now: float) -> None:
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
        self._learn(job)
        if wait + own > job.allowance:
            self._least_refused = min(own, self._least_refused or own)
            raise _too_busy(wait + own, job.allowance)

    def _arrived(self, now: float) -> None:
        """One of those who were let in early is known now."""
        if self._expected:
            self._passing += (now - self._expected.popleft() - self._passing) / _MEMORY

    def _learn(self, job: Job) -> None:
        """What jobs usually take; those that could never be let in tell nothing of it."""
        self._usual += (job.seconds - self._usual) / _MEMORY

    def _own_seconds(self, job: Job) -> float:
        """What a job takes on an idle service."""
        if job.rows > self._line.max_batch_rows:
            return job.seconds / self._lanes
        return max([one.pool.cost.seconds(one.count) for one in job.entries])

    def _expected_wait(self, now: float) -> float:
        """Until a lane takes a row that comes now, if none overtakes it."""
        running = 0.0
        if self.until:
            running = sum(max(until - now, 0.0) for until in list(self.until.values()))
        return self.caution * (self._line.seconds + running) / self._lanes


def _too_busy(wait: float, allowance: float) -> Overloaded:
    retry_after = math.ceil(wait - allowance) or 1
    return Overloaded(
        f"the answer would take {wait:.2g} s and the request allows {allowance:.2g} s; try again "
        f"in {retry_after} s",
        retry_after,
    )
