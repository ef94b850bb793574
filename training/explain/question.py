"""What a model is asked so that its gates can be watched: the runs, and how to judge the answers.

A series and a row of a table are one run; a sentence is one run per token, each with the state that
the run before has left.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Answer = Mapping[str, Array]  # tensors by name, of one run
Answers = Sequence[Answer]  # of each run, in order


class CannotExplain(ValueError):
    """A model without anything to explain, or an input that shows nothing; says the remedy."""


@dataclass(frozen=True, eq=False)
class Question:
    """One input of a model. The callables read the answers of its runs."""

    title: str
    runs: tuple[Answer, ...]  # the inputs of each run, one row each
    judge: Callable[[Answers], float]
    measure: str  # what `judge` measures, in words
    shown: Callable[[Answers], Floats]  # [n], drawn above the gates; NaN is left out
    shown_as: str
    carried: Mapping[str, str] = field(default_factory=dict)  # input: output of the run before
    labels: tuple[str, ...] = ()  # of what is shown: tokens, or columns
    patch: int = 1  # values of a series in one recurrent step
    ahead: Callable[[Answers], Floats] | None = None  # [H], a forecast of what follows
    actual: Floats | None = None  # [H], what did follow
