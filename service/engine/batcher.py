"""Rows from many callers -> batches -> lanes -> each caller its own rows or its own error.

An idle lane takes whatever waits, at once, but for one that has just run: it lets its answers go
out before it begins a batch that is not full (`_deliver`). While all lanes are busy the next batch
keeps growing until one of them really takes it, and only then are rows written, straight into its
memory. There is no fixed wait and no polling, and one wake-up of the event loop per batch.

Where there is one lane, a short batch runs on the event loop itself, at the end of the turn in
which its rows came: handing it to a thread and back costs more than the model of a small forecaster
does, most of all in waiting for Python's lock. Longer ones run on threads, so that the loop goes on
answering.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from service.engine.admission import Admission
from service.engine.batch import Batch, BatchReport, Result
from service.engine.deadlines import Deadlines
from service.engine.job import Job, Outputs, resolve
from service.engine.lanes import Lanes
from service.engine.line import Line
from service.engine.pool import Pool, Pools
from service.engine.pulse import Pulse
from service.engine.runner import Rows, Runner
from service.engine.turn import Turn
from service.errors import DeadlineExceeded, Overloaded, Unavailable


class Batcher:
    """One line, several lanes. Every submitted job ends with its rows or with an error."""

    def __init__(
        self,
        lanes: int,
        max_batch_rows: int,
        max_queue_rows: int,
        default_timeout_s: float = 30.0,
        report: Callable[[BatchReport], None] = lambda _: None,
        together: AbstractContextManager[object] | None = None,
    ) -> None:
        """`together` is entered while all callers of a batch are told."""
        self.lanes = lanes
        self.max_batch_rows = max_batch_rows
        self.max_queue_rows = max_queue_rows
        self.default_timeout_s = default_timeout_s
        self._report = report
        self._together = together or nullcontext()
        self._lock = threading.Lock()  # guards the line and what is below
        self._changed = threading.Condition(self._lock)
        self._line = Line(max_batch_rows)
        self._idle = 0  # lane threads that wait
        self._closing = False
        self._pools = Pools(max_batch_rows)  # on the event loop, as what follows
        self._before: Batch | None = None  # run on the event loop while others waited
        self._ran: dict[int, Batch] = {}  # by lane thread: what it learns from when it takes more
        self._threads = Lanes(lanes, self._run_next)

    @property
    def waiting_rows(self) -> int:
        """Rows that no lane has taken yet."""
        return self._line.rows

    def waiting_jobs(self) -> Counter[Runner]:
        """Jobs of which no lane has taken a row, by runner. On the event loop."""
        jobs = self._deadlines.jobs()
        return Counter([job.entries[0].pool.runner for job in jobs if job.waiting == job.rows])

    def start(self) -> None:
        """Start the lanes; to be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(self._loop, self._expire)
        self._pulse = Pulse(self._loop)
        self._turn = Turn(self._loop, self._run_on_the_loop)
        self._admission = Admission(self._line, self.lanes, self.max_queue_rows, self._pulse)
        self._threads.start()

    async def close(self) -> None:
        """End the lanes. Jobs still waiting get `Unavailable`; running batches finish."""
        with self._changed:
            self._closing = True
            self._line.clear()
            self._changed.notify_all()
        await self._threads.join()
        self._deadlines.close()
        self._pulse.stop()
        for job in (*self._turn.jobs(), *self._deadlines.jobs()):
            self._fail(job, Unavailable("the service is shutting down"))

    def measure(self, runner: Runner, shape: Hashable, rows: int, seconds: float) -> None:
        """Learn what a batch costs before anybody asks."""
        self._pools.find(runner, shape).measure(rows, seconds)

    def forget(self, runner: Runner) -> None:
        """Let go of a runner that gets no more requests; those under way are still answered."""
        self._pools.forget(runner)

    async def submit(
        self,
        runner: Runner,
        parts: Sequence[Rows],
        timeout_s: float | None = None,
        *,
        let_in: bool = False,
        patient: bool = False,
    ) -> Outputs:
        """Run every part; their outputs in the same order, and where the time went.

        Args and raises: as `enqueue`, and
            DeadlineExceeded: the time is over.
            Exception: whatever `runner.run` raised for a row of this job.
        """
        ended: asyncio.Future[Outputs] = self._loop.create_future()
        tell = partial(resolve, ended)
        job = self.enqueue(runner, parts, tell, timeout_s, let_in=let_in, patient=patient)
        try:
            return await ended
        finally:  # also when the caller was cancelled: nobody waits for the rest
            self.withdraw(job)
            del ended, tell  # an error that comes from here would know itself by them

    def enqueue(
        self,
        runner: Runner,
        parts: Sequence[Rows],
        tell: Callable[[Job], None],
        timeout_s: float | None = None,
        *,
        let_in: bool = False,
        patient: bool = False,
    ) -> Job:
        """Let rows wait for their batches; all of them are admitted or none. On the event loop.

        Args:
            tell: called on the event loop when the job has a result.
            timeout_s: seconds from now in which the caller wants its answer.
            let_in: these rows belong to a request that was admitted before: they are not judged,
                and the time is counted from now.
            patient: these rows let others go first, see `Line`.

        Raises:
            Overloaded: more rows would wait than `max_queue_rows`, or longer than the timeout.
            DeadlineExceeded: the time is too short even for an idle service.
            Unavailable: the batcher was closed.
        """
        if self._closing:
            raise Unavailable("the service is shutting down")
        now = time.monotonic()
        self._pulse.want()
        allowance = self.default_timeout_s if timeout_s is None else timeout_s
        if not let_in:
            allowance = self._admission.allowance(allowance)
        job = Job(tell, now, allowance, patient)
        for rows in parts:
            job.add(self._pools.find(runner, rows.shape), rows, now)
        if self.lanes == 1 and not self._line.rows and self._turn.admits(job):
            if not let_in:
                self._admission.pass_by(job, now)
            self._turn.plan()
            return job
        with self._lock:
            if not let_in:
                self._admission.judge(job, now)
            self._line.join(job)
            self._wake(job)
        self._deadlines.add(job)
        return job

    def withdraw(self, job: Job) -> None:
        """Want nothing more of a job; one that has told its result is left as it is."""
        job.is_over = True
        self._deadlines.discard(job)
        if job.waiting:
            with self._lock:
                self._line.leave(job)
        job.forget()

    def no_room(self, timeout_s: float | None = None) -> Overloaded | None:
        """What a caller is told as early as possible, before its body is read, where those who wait
        already would make it wait too long; None: it may come in.
        """
        timeout_s = self.default_timeout_s if timeout_s is None else timeout_s
        return self._admission.no_room(timeout_s)

    def _wake(self, job: Job) -> None:
        """Let somebody take the rows: the event loop at the end of its turn, or lane threads."""
        if self.lanes == 1 and job.is_short:
            self._turn.plan()
        elif self._idle:
            self._changed.notify(len(job.entries))

    def _run_on_the_loop(self) -> None:
        """Run one short batch here: that of this turn, else from the line; others have the next."""
        batch = self._turn.take()
        with self._lock:
            pool = self._line.next_pool(short=True)
            if batch is None and pool is not None:
                batch = self._take(pool, pool.short_rows)
            if pool is not None and self._line.rows:
                self._turn.plan()
            before, self._before = self._before, None
            if batch is not None:
                if before is not None:
                    before.teach(batch.started)
                self._before = batch if self._line.rows else None
        if batch is not None:
            results = batch.run()
            if not self._turn.is_planned:
                batch.teach(batch.ended)
            self._settle(batch, results)

    def _run_next(self, me: int) -> bool:
        """Wait for a batch and run it; whether there may be more."""
        batch = self._next_batch(me)
        if batch is None:
            return False
        results = batch.run()
        self._admission.until.pop(me)
        delivered = threading.Event()
        self._loop.call_soon_threadsafe(self._deliver, batch, results, delivered.set)
        if self._line.rows < self.max_batch_rows:
            delivered.wait()
        self._ran[me] = batch
        return True

    def _deliver(self, batch: Batch, results: list[Result], then: Callable[[], None]) -> None:
        """On the event loop: settle, look at the sockets once more, and let the lane go on.

        Where the next batch is not full yet, it may become so: were it begun first, the callers of
        this one would wait for a core until its end, and ask too late to be in it.
        """
        try:
            self._settle(batch, results)
        finally:
            self._loop.call_soon(then)

    def _next_batch(self, me: int) -> Batch | None:
        """Wait for rows and take the most urgent of them; None when closing."""
        before = self._ran.pop(me, None)
        with self._lock:
            while not self._closing:
                pool = self._line.next_pool(short=False)
                if pool is None:
                    if before is not None:
                        before.teach(before.ended)
                        before = None
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                    continue
                batch = self._take(pool, self.max_batch_rows)
                if batch is not None:
                    if before is not None:
                        before.teach(batch.started)
                    self._admission.until[me] = batch.started + pool.cost.seconds(batch.rows)
                    return batch
            return None

    def _take(self, pool: Pool, room: int) -> Batch | None:
        now = time.monotonic()
        pieces = self._line.take(pool, room, now)
        return Batch(pool, pieces, now) if pieces else None

    def _settle(self, batch: Batch, results: list[Result]) -> None:
        """On the event loop: hand every caller of a finished batch its rows or its error."""
        settling = time.monotonic()
        over = batch.hand_out(results)
        settled = time.monotonic()
        with self._together:
            for job in over:
                self._admission.answered(job)
                self._end(job)
        self._report(batch.report(settled - settling, self._line.rows))

    def _expire(self, job: Job) -> None:
        self._admission.expired()
        message = f"no answer within {job.allowance * 1e3:.0f} ms; allow more time or ask again"
        self._fail(job, DeadlineExceeded(message))

    def _fail(self, job: Job, error: Exception) -> None:
        if job.fail(error):
            self._end(job)

    def _end(self, job: Job) -> None:
        """Tell the caller of a result, and forget the job."""
        job.tell()
        self.withdraw(job)
