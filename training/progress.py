"""Progress of a long command: a bar that lets other text pass above it."""

from typing import Self

import click
from tqdm import tqdm


class Progress:
    """A tqdm bar that lets other text pass above it."""

    def __init__(self, total: int | None, unit: str = "step") -> None:

        self._bar = tqdm(total=total, unit=unit, unit_scale=unit == "series")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, number: int, loss: float) -> None:
        """Optimiser step `number` is done."""
        self._bar.update(number - self._bar.n)
        if number % 10 == 0:
            self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

    def advance(self, done: int) -> None:
        """So many more are done."""
        self._bar.update(done)

    def say(self, text: str) -> None:
        """Print above the bar; the fit is over when it first speaks."""
        self._bar.close()
        click.echo(text)
