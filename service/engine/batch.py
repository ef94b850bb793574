"""One batch: rows written into its memory, run, and given back to those they belong to.

A batch that fails is run again in halves, and these in halves, until only the guilty rows have the
error; the others never learn of it.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.engine.job import Job, Piece
from service.engine.pool import Pool
from service.engine.runner import Array, Memory, Runner

Result = Array | Exception  # of a piece


class BatchReport(NamedTuple):
    """What one batch did, for whoever measures."""

    model: str
    version: int
    rows: int
    padded_share: float  # of its memory
    input_s: float  # writing its memory
    run_seconds: float
    output_s: float  # handing out what came back
    failed: bool
    waiting_rows: int  # in the line at the end


class Batch:
    """Rows that a lane has taken. Times are monotonic seconds."""

    __slots__ = ("ended", "failed", "memory", "pieces", "pool", "rows", "started", "written")

    def __init__(self, pool: Pool, pieces: Sequence[Piece], started: float) -> None:
        self.pool = pool
        self.pieces = pieces
        self.rows = sum([piece.stop - piece.start for piece in pieces])
        self.memory: Memory = ()
        self.failed = False  # as a whole; single rows may have their answers all the same
        self.started = self.written = self.ended = started

    def run(self) -> list[Result]:
        """A result or an error for each piece; never raises."""
        try:
            self._write()
            results = self._run()
        except Exception as error:
            self.failed = True
            results = [error for _ in self.pieces]
        self.ended = time.monotonic()
        return results

    def teach(self, until: float) -> None:
        """Let the pool know what such a batch costs.

        Between two batches of a busy service lie threads that wait for each other and callers who
        are refused; one who looks at runs alone promises answers in half of the time they take.

        Args:
            until: its own end, or where others waited the start of the next one.
        """
        if not self.failed:
            self.pool.observe(self.rows, until - self.started)

    def hand_out(self, results: list[Result]) -> list[Job]:
        """Give each piece its result; the jobs that are over by it. On the event loop."""
        seconds = self.ended - self.started
        over: list[Job] = []
        for piece, result in zip(self.pieces, results, strict=True):
            job = piece.entry.job
            if isinstance(result, Exception):
                is_over = job.fail(result)
            else:
                is_over = job.receive(piece, result, self.started, seconds)
            if is_over:
                over.append(job)
        return over

    def report(self, output_s: float, waiting_rows: int) -> BatchReport:
        """What it did, once its results are handed out."""
        runner = self.pool.runner
        return BatchReport(
            runner.name,
            runner.version,
            self.rows,
            runner.padded_share(self.memory) if self.memory else 0.0,
            self.written - self.started,
            self.ended - self.written,
            output_s,
            self.failed,
            waiting_rows,
        )

    def _write(self) -> None:
        self.memory = self.pool.runner.allocate(self.pool.shape, self.rows)
        at = 0
        for piece in self.pieces:
            piece.entry.rows.write(piece.start, piece.stop, self.memory, at)
            at += piece.stop - piece.start
        self.written = time.monotonic()

    def _run(self) -> list[Result]:
        runner = self.pool.runner
        try:
            answer = _answer(runner, self.memory)
        except Exception:  # whose it is, the rows will tell when they run again
            if self.rows == 1:
                raise
            self.failed = True
            return self._search_the_guilty(runner)
        results: list[Result] = []
        at = 0
        for piece in self.pieces:
            size = piece.stop - piece.start
            results.append(answer[at : at + size])
            at += size
        return results

    def _search_the_guilty(self, runner: Runner) -> list[Result]:
        rows = _run_in_halves(runner, self.memory)
        results: list[Result] = []
        at = 0
        for piece in self.pieces:
            own = rows[at : at + piece.stop - piece.start]
            at += len(own)
            good = [row for row in own if not isinstance(row, Exception)]
            bad = [row for row in own if isinstance(row, Exception)]
            results.append(bad[0] if bad else np.concatenate(good))
        return results


def _run_in_halves(runner: Runner, memory: Memory) -> list[Result]:
    """For each row of a memory that failed as a whole, its answer [1, ...] or its own error."""
    count = len(memory[0])
    middle = (count + 1) // 2
    results: list[Result] = []
    for half in (slice(0, middle), slice(middle, count)):
        part = tuple(array[half] for array in memory)
        try:
            answer = _answer(runner, part)
        except Exception as error:
            alone = len(part[0]) == 1
            results += [error] if alone else _run_in_halves(runner, part)
        else:
            results += [answer[row : row + 1] for row in range(len(answer))]
    return results


def _answer(runner: Runner, memory: Memory) -> Array:
    answer = runner.run(*memory)
    if len(answer) != len(memory[0]):
        raise RuntimeError(f"{len(memory[0])} rows went in, {len(answer)} came out")
    return answer
