"""Training text -> batches in which every row goes on where it stopped in the batch before.

Shape letters: B rows, T steps.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from training.language.config import FitConfig
from training.language.corpus import InvalidText


def count(tokens: int, config: FitConfig) -> int:
    """Batches of an epoch at the largest offset; at a smaller one there may be one more.

    Raises:
        InvalidText: not even one.
    """
    needed = config.rows * config.steps + config.steps
    if tokens < needed:
        raise InvalidText(
            f"the training text has {tokens} tokens; a batch of {config.rows} rows x "
            f"{config.steps} steps needs {needed}; take a longer text or hold out less"
        )
    return math.ceil((tokens - config.steps) // config.rows / config.steps)


def epoch(codes: Tensor, config: FitConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens [B, T] and the ones that follow them [B, T], batch after batch; the last is shorter.

    The text is cut into B stretches of equal length, read side by side. Where the first begins is
    drawn anew each time, so that no cut is learnt. Without the shorter batch, as in the teaching
    texts, one token of ten was hardly ever learnt: those before the cuts.
    """
    rows, steps = config.rows, config.steps
    offset = int(torch.randint(steps, ()))
    width = (len(codes) - offset - 1) // rows
    tokens, following = (
        codes[start : start + rows * width].view(rows, width) for start in (offset, offset + 1)
    )
    for start in range(0, width, steps):
        cut = slice(start, start + steps)
        yield tokens[:, cut], following[:, cut]
