"""What the engine asks of those who bring rows and of those who run them.

Shape letter: B rows.
"""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Memory = tuple[Array, ...]  # of a batch: every array [B, ...]


class Rows(Protocol):
    """Rows of one shape, still in the caller's form; they are written when a batch takes them."""

    @property
    def shape(self) -> Hashable:
        """Rows of one runner and equal shape may share a batch."""
        ...

    def __len__(self) -> int: ...

    def write(self, start: int, stop: int, memory: Memory, at: int) -> None:
        """Write the rows start..stop - 1 as the rows at.. of a batch."""
        ...


class Runner(Protocol):
    """What runs a batch; called from lane threads and from the event loop."""

    @property
    def name(self) -> str:
        """Who it is, for reports."""
        ...

    @property
    def version(self) -> int:
        """Which of that name, for reports."""
        ...

    @property
    def allocate(self) -> Callable[[Any, int], Memory]:
        """The memory of a batch of a shape, for so many rows; its content does not matter."""
        ...

    @property
    def padded_share(self) -> Callable[[Memory], float]:
        """How much of a written memory is padding, 0 to 1."""
        ...

    @property
    def run(self) -> Callable[..., Array]:
        """The arrays of a memory in, one array [B, ...] out."""
        ...
