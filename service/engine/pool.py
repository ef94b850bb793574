"""The rows that may share a batch: of one runner and one shape."""

from collections.abc import Hashable
from typing import Any
from weakref import WeakSet

from service.engine.cost import Cost
from service.engine.runner import Runner

SHORT = 0.002  # seconds that a batch on the event loop may take
FEW = 4  # rows: where fewer fit into that time, batches are for threads


class Pool:
    """One runner with one shape, and what its batches cost."""

    __slots__ = ("_max_batch_rows", "cost", "row_seconds", "runner", "shape", "short_rows")

    def __init__(self, runner: Runner, shape: Any, max_batch_rows: int) -> None:
        self.runner = runner
        self.shape = shape
        self.cost = Cost()
        self.row_seconds = 0.0  # of one row in a full batch
        self.short_rows = 0  # that may run on the event loop at once; 0: batches are for threads
        self._max_batch_rows = max_batch_rows

    def measure(self, rows: int, seconds: float) -> None:
        """Learn what a batch costs before anybody asks."""
        self.cost.measure(rows, seconds)
        fitting = min(self.cost.fitting(SHORT), self._max_batch_rows)
        self.short_rows = fitting if fitting >= min(FEW, self._max_batch_rows) else 0
        self._know()

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        self.cost.observe(rows, seconds)
        self._know()

    def _know(self) -> None:
        self.row_seconds = self.cost.seconds(self._max_batch_rows) / self._max_batch_rows


class Pools:
    """Those of every runner. On the event loop."""

    def __init__(self, max_batch_rows: int) -> None:
        self._max_batch_rows = max_batch_rows
        self._by_runner: dict[Runner, dict[Hashable, Pool]] = {}
        self._leaving: WeakSet[Runner] = WeakSet()

    def find(self, runner: Runner, shape: Hashable) -> Pool:
        """That of a runner and a shape."""
        pools = self._by_runner.get(runner)
        if pools is None:
            if runner in self._leaving:  # kept by who asks, and no longer
                return Pool(runner, shape, self._max_batch_rows)
            pools = self._by_runner[runner] = {}
        pool = pools.get(shape)
        if pool is None:
            pool = pools[shape] = Pool(runner, shape, self._max_batch_rows)
        return pool

    def forget(self, runner: Runner) -> None:
        """Let go of a runner that gets no more requests; those under way keep what they have."""
        self._by_runner.pop(runner, None)
        self._leaving.add(runner)
