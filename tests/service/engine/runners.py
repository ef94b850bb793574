"""What the engine's tests hand to it: columns of numbers, and runners that can be watched."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Memory = tuple[Array, ...]


class Column:
    """Rows of `width` equal numbers each."""

    def __init__(self, *values: float, width: int = 1) -> None:
        self.values = np.array(values, np.float32)
        self.shape = width

    def __len__(self) -> int:
        return len(self.values)

    def write(self, start: int, stop: int, memory: Memory, at: int) -> None:
        memory[0][at : at + stop - start] = self.values[start:stop, np.newaxis]


class Doubler:
    """A runner that doubles its rows and remembers the batches and their threads."""

    name, version = "doubler", 1

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.threads: set[int] = set()

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]

    def allocate(self, width: int, rows: int) -> Memory:
        return (np.full((rows, width), np.nan, np.float32),)

    def padded_share(self, memory: Memory) -> float:
        return 0.25

    def run(self, rows: Array) -> Array:
        self.batches.append(rows[:, 0].tolist())
        self.threads.add(threading.get_ident())
        return rows * 2


class Gate(Doubler):
    """A runner that waits inside a batch until it is opened, so a test can fill the line."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def run(self, rows: Array) -> Array:
        self.entered.release()
        assert self.opened.wait(30)
        return super().run(rows)


class Cursed(Doubler):
    """A runner that fails where a batch holds one of the cursed numbers."""

    def __init__(self, *cursed: float) -> None:
        super().__init__()
        self.cursed = set(cursed)

    def run(self, rows: Array) -> Array:
        answer = super().run(rows)
        if found := self.cursed & set(rows[:, 0].tolist()):
            raise ValueError(f"cursed: {sorted(found)}")
        return answer
