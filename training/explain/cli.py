"""The command `gatecast explain`. Imports only click until it runs."""

from pathlib import Path

import click

from training.extras import needs
from training.options import models_option


@click.command()
@click.argument("model")
@click.option(
    "--input",
    "source",
    help="A table or a worked example (its first series or row), or a sentence. Default: a golden "
    "row; a language model needs a sentence.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the pictures, made if need be; default: explain-MODEL.",
)
@models_option
@needs("cpu", "train")
def explain(model: str, source: str | None, output: Path | None, models: Path) -> None:
    """Show what the gates of MODEL (name or name@version) do over one input.

    Draws reset and update gates over time, the memory that the update gate implies beside the
    measured one, what is left of a gradient, and what changes when a gate is held open or shut.
    """
    from service.contract import artifact, layout
    from training.data import InvalidTable
    from training.explain.explain import explain as run
    from training.explain.question import CannotExplain

    folder = output or Path(f"explain-{model.partition('@')[0]}")
    try:
        name, version = layout.find(models, model)
        run(artifact.read(layout.folder(models, name, version)), source, folder, click.echo)
    except (layout.NoVersion, artifact.InvalidArtifact, CannotExplain, InvalidTable) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"--output {folder}: {error}") from None
    click.echo(f"Pictures: {folder}")


COMMANDS = [explain]
