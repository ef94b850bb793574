"""Many texts as two arrays.

They cross between processes without being made one by one, and Python's garbage collector, which
looks at every element of a list again and again, has nothing to look at.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

NOTHING = np.empty(0, np.uint8)


class Names(Sequence[str]):
    """N texts, end to end in UTF-8; a text is made when it is asked for."""

    def __init__(self, utf8: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.utf8 = utf8
        self.ends = ends  # [N] where each text ends

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Names":
        """Pack texts."""
        encoded = [text.encode() for text in texts]
        ends = np.cumsum(np.array([len(text) for text in encoded], np.int64))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    @classmethod
    def joined(cls, parts: Sequence["Names"]) -> "Names":
        """Those of all parts, one after the other."""
        sizes = np.cumsum([0, *(len(part.utf8) for part in parts)])
        ends = [part.ends + size for part, size in zip(parts, sizes, strict=False)]
        utf8 = [part.utf8 for part in parts]
        return cls(np.concatenate([NOTHING, *utf8]), np.concatenate([*ends, np.empty(0, np.int64)]))

    def __len__(self) -> int:
        """How many texts."""
        return len(self.ends)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        """One text, or those of a slice without a step."""
        if isinstance(at, slice):
            return self._some(range(*at.indices(len(self))))
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self._some(range(at, at + 1))[0]

    def _some(self, places: range) -> list[str]:
        """Those at neighbouring places; texts in ASCII are made as one and cut."""
        if not places:
            return []
        origin = int(self.ends[places[0] - 1]) if places[0] else 0
        ends = [0, *(self.ends[places[0] : places[-1] + 1] - origin).tolist()]
        encoded = bytes(self.utf8[origin : origin + ends[-1]])
        if encoded.isascii():
            text = encoded.decode()
            return [text[begin:end] for begin, end in pairwise(ends)]
        return [encoded[begin:end].decode() for begin, end in pairwise(ends)]
