"""The command of a regression. Imports only click until it runs, so the service starts fast."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.extras import needs
from training.options import ModelName, in_a_line, models_option, name_of

if TYPE_CHECKING:
    from training.regression.table import Table

EXAMPLES = ("housing", "diabetes")


@click.command("train-regression")
@click.argument("source")
@click.option("--target", metavar="COLUMN", help="The column to predict. Needed for a file.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="A column to leave out.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="housing only: a copy of its data, instead of the download.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0.05, 0.5),
    default=0.2,
    help="Share of the rows, chosen at random, to judge by.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same rows and weights.")
@click.option("--name", type=ModelName(), help="Name of the model; default: SOURCE's own.")
@models_option
@needs("cpu", "train")
def train(
    source: str,
    target: str | None,
    drop: tuple[str, ...],
    data: Path | None,
    held_out: float,
    seed: int,
    name: str | None,
    models: Path,
) -> None:
    """Learn to predict a column of SOURCE from the others, and publish the next version.

    SOURCE is a worked example (housing, diabetes) or a table, CSV, Parquet or a folder of Parquet
    files, whose columns are numbers. The model is judged on rows that it never saw, beside ridge
    regression and gradient boosting.
    """
    from training.fit import Diverged
    from training.progress import Progress
    from training.regression.config import FitConfig
    from training.regression.train import train as run
    from training.tables.source import InvalidTable

    with in_a_line(InvalidTable, Diverged):
        table = _open_source(source, target, drop, data)
        name = name or name_of(source)
        click.echo(f"{table.rows} rows, {len(table.names)} features, target {table.target}")
        started = time.monotonic()
        with Progress(100, "%") as progress:
            folder = run(
                table,
                FitConfig(seed),
                name,
                models,
                held_out=held_out,
                progress=progress.share,
                say=progress.say,
            )
    click.echo(f"Published {folder} in {time.monotonic() - started:.0f} s.")


def _open_source(
    source: str, target: str | None, drop: tuple[str, ...], data: Path | None
) -> "Table":
    from training.recipes import diabetes, housing
    from training.regression.table import load

    if data and source != "housing":
        raise click.UsageError("--data is for housing only; give the path of a table as SOURCE")
    if source in EXAMPLES:
        if target or drop:
            raise click.UsageError(f"{source} knows its own columns; leave out --target and --drop")
        return housing.load(data) if source == "housing" else diabetes.load()
    if target is None:
        raise click.UsageError(
            f"--target is needed for {source}: the column to predict (worked examples that know "
            f"theirs: {', '.join(EXAMPLES)})"
        )
    return load(Path(source), target, drop)


COMMANDS = [train]
