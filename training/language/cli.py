"""`gatecast train-language`. Imports only click until it runs, so the service starts fast."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.extras import needs
from training.options import ModelName, in_a_line, models_option, name_of

if TYPE_CHECKING:
    from training.language.config import Unit
    from training.language.corpus import Corpus

RECIPE = "time-machine"
WORD_EMBEDDING = 128  # numbers; one-hot vectors of thousands of words would be slow


class Share(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A part of a whole, less than all of it; click's own range lets nan through."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A number from 0 up to 1, or a usage error."""
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if not 0 <= share < 1:
            self.fail(f"{value} is not a share: 0 up to but not 1")
        return share


@click.command()
@click.argument("source")
@click.option("--data", type=click.Path(path_type=Path), help=f"A copy of the text of {RECIPE}.")
@click.option("--name", type=ModelName(), help="Name of the model; default: SOURCE's own.")
@models_option
@click.option("--unit", type=click.Choice(("character", "word")), default="character")
@click.option(
    "--tokens", type=click.IntRange(1), help=f"Train on the first N; {RECIPE}: 10000, else all."
)
@click.option(
    "--held-out",
    type=Share(),
    default=0.1,
    help="Share of the text, its end, that is kept from training and judged on.",
)
@click.option(
    "--embedding",
    type=click.IntRange(0),
    help=f"Learned numbers per token, 0 = one-hot; characters: 0, words: {WORD_EMBEDDING}.",
)
@click.option(
    "--dropout",
    type=Share(),
    default=0.0,
    help="Share of a layer's inputs and outputs dropped in training.",
)
@click.option("--hidden", type=click.IntRange(1), default=256, help="Units of a layer.")
@click.option("--layers", type=click.IntRange(1), default=1)
@click.option(
    "--convention",
    type=click.Choice(("reset_after", "reset_before")),
    default="reset_after",
    help="Where the reset gate acts: after the product (PyTorch) or before it (Cho et al.).",
)
@click.option(
    "--epochs", type=click.IntRange(1), help="Default: as many as make 4500 optimiser steps."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same weights.")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu")
@needs("cpu", "train")
def train_language(
    source: str,
    data: Path | None,
    name: str | None,
    models: Path,
    unit: "Unit",
    tokens: int | None,
    held_out: float,
    embedding: int | None,
    dropout: float,
    hidden: int,
    layers: int,
    convention: str,
    epochs: int | None,
    seed: int,
    device: str,
) -> None:
    """Train a language model on SOURCE, judge it beside n-grams, and publish the next version.

    SOURCE is a worked example (time-machine) or a text file in UTF-8. Its letters are learnt, in
    lower case; anything else between them counts as one blank.
    """
    from training.devices import DeviceUnavailable
    from training.gru import Convention
    from training.language.config import FitConfig, NetworkConfig
    from training.language.corpus import InvalidText
    from training.language.fit import Diverged
    from training.language.train import train
    from training.progress import Progress

    name = name or name_of(source)
    if embedding is None:
        embedding = WORD_EMBEDDING if unit == "word" else 0
    with in_a_line(InvalidText, DeviceUnavailable, Diverged):
        corpus = _prepare(source, data, unit, held_out, tokens)
        click.echo(_summary(corpus))
        network_config = NetworkConfig(
            unit, corpus.vocabulary, hidden, layers, embedding, dropout, Convention(convention)
        )
        started = time.monotonic()
        with Progress(100, "%") as progress:
            folder = train(
                corpus,
                network_config,
                FitConfig(epochs, seed=seed, device=device),
                name,
                models,
                progress=progress.share,
                say=progress.say,
            )
    click.echo(f"Published {folder} in {time.monotonic() - started:.0f} s.")


def _prepare(
    source: str, data: Path | None, unit: "Unit", held_out: float, tokens: int | None
) -> "Corpus":
    from training.language.corpus import prepare, read
    from training.recipes import time_machine

    if source == RECIPE:
        return prepare(time_machine.load(data), unit, held_out, tokens or time_machine.TOKENS)
    if data is not None:
        raise click.UsageError(f"--data is a copy of the text of {RECIPE}; {source} is a text")
    return prepare(read(Path(source)), unit, held_out, tokens)


def _summary(corpus: "Corpus") -> str:
    return (
        f"{len(corpus.training)} {corpus.unit}s to train on, {len(corpus.held_out)} held out; "
        f"vocabulary of {len(corpus.vocabulary)}"
    )


COMMANDS = [train_language]
