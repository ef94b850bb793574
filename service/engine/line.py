"""Who is next: entries in the order of their deadlines, earliest first, in one heap per pool.

An entry larger than a batch joins again behind those who came meanwhile, as if it had just come
with the time that its caller gave. The parts of a bulk call do more to not hold up others: they let
those go first who come soon after them, and fill no more than half of a batch. Not thread-safe.
"""

from heapq import heappop, heappush

from service.engine.job import Entry, Job, Piece
from service.engine.pool import Pool

COURTESY_S = 0.05  # for which a patient job lets others overtake it
PATIENT_SHARE = 2  # of a batch's rows, one in so many is the most for a patient job

Place = tuple[float, int, Entry]  # by deadline, then in the order of coming


class Line:
    """The entries that wait."""

    def __init__(self, max_batch_rows: int) -> None:
        self.rows = 0
        self.seconds = 0.0  # what they are expected to cost
        self.max_batch_rows = max_batch_rows
        self._heaps: dict[Pool, list[Place]] = {}  # of the pools in which somebody waits
        self._number = 0  # first come, first served among equal deadlines

    def join(self, job: Job) -> None:
        """Let a job in; of one that is larger than a batch, one entry at a time."""
        job.waiting = job.rows
        for entry in job.entries:
            entry.row_seconds = entry.pool.row_seconds
            entry.waiting = entry.count
            self.rows += entry.count
            self.seconds += entry.count * entry.row_seconds
        if job.rows > self.max_batch_rows:
            self._push(job.entries[0], job.deadline)
            return
        for entry in job.entries:
            self._push(entry, job.deadline)

    def leave(self, job: Job) -> None:
        """Forget what still waits of a job."""
        for entry in job.entries:
            if entry.waiting:
                self._count_out(entry, entry.waiting)

    def clear(self) -> None:
        """Forget everything."""
        self._heaps.clear()
        self.rows, self.seconds = 0, 0.0

    def next_pool(self, *, short: bool) -> Pool | None:
        """The pool of the most urgent row, among all or those with short batches only."""
        heaps = self._heaps
        while pools := [pool for pool in heaps if pool.short_rows or not short]:
            pool = pools[0] if len(pools) == 1 else min(pools, key=lambda pool: heaps[pool][0])
            if heaps[pool][0][2].waiting:
                return pool
            self._pop(pool)
        return None

    def take(self, pool: Pool, room: int, now: float) -> list[Piece]:
        """The most urgent rows of a pool, at most `room`; none that would come too late.

        The batch is no larger than its most urgent row has time for.
        """
        pieces: list[Piece] = []
        is_first = True
        while room and pool in self._heaps:
            entry = self._pop(pool)
            job = entry.job
            fitting = pool.cost.within(job.deadline - now) if entry.waiting else 0
            if not fitting or job.is_over:
                self.leave(job)  # whoever waits for it is answered at its deadline
                continue
            if is_first:  # the others have more time
                room, is_first = min(room, fitting), False
            if job.is_patient:
                room = min(room, max(self.max_batch_rows // PATIENT_SHARE, 1))
            size = min(room, entry.waiting)
            start = entry.count - entry.waiting
            pieces.append(Piece(entry, start, start + size, entry.since))
            room -= size
            self._count_out(entry, size)
            if entry.waiting or job.rows > self.max_batch_rows:
                self._rejoin(entry, now)
        return pieces

    def _rejoin(self, entry: Entry, now: float) -> None:
        """What a batch had no room for stays in line, or goes to its end if the job is large."""
        job = entry.job
        if job.rows <= self.max_batch_rows:
            self._push(entry, job.deadline)
            return
        rest = entry if entry.waiting else _following(entry)
        if rest is not None:
            rest.since = now
            self._push(rest, now + job.allowance)

    def _push(self, entry: Entry, due: float) -> None:
        self._number += 1
        if entry.job.is_patient:
            due += COURTESY_S
        heap = self._heaps.get(entry.pool)
        if heap is None:
            heap = self._heaps[entry.pool] = []
        heappush(heap, (due, self._number, entry))

    def _pop(self, pool: Pool) -> Entry:
        heap = self._heaps[pool]
        entry = heappop(heap)[2]
        if not heap:
            del self._heaps[pool]
        return entry

    def _count_out(self, entry: Entry, rows: int) -> None:
        entry.waiting -= rows
        entry.job.waiting -= rows
        self.rows -= rows
        self.seconds -= rows * entry.row_seconds
        if not self.rows:
            self.seconds = 0.0  # no rounding errors are carried on


def _following(entry: Entry) -> Entry | None:
    """The next entry of the job that waits, behind one that was taken."""
    entries = entry.job.entries
    return next((one for one in entries[entries.index(entry) + 1 :] if one.waiting), None)
