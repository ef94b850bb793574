"""Progress of a long command: a bar that lets other text pass above it."""

from typing import Self

import click
from tqdm import tqdm


class Progress:
    """A tqdm bar that lets other text pass above it."""

    def __init__(self, total: int, unit: str) -> None:
        self._bar = tqdm(total=total, unit=unit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, done: int) -> None:
        """So many more are done."""
        self._bar.update(done)

    def share(self, share: float, loss: float) -> None:
        """A share of the whole is done, with this loss at the moment."""
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update(int(share * self._bar.total) - self._bar.n)

    def say(self, text: str) -> None:
        """Print; whoever first speaks has done with the bar."""
        self._bar.close()
        click.echo(text)
