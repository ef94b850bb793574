"""The commands of training. Imports only click until a command runs, so the service starts fast.

Without the extra that a command needs, it says in one line how to get it.
"""

import re
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from service.contract.metadata import NAME_PATTERN

if TYPE_CHECKING:
    from training.config import NetworkConfig
    from training.data import Panel

_EXTRAS = {
    "train": {"torch", "onnx", "onnxscript", "polars", "statsforecast", "matplotlib", "tqdm"},
    "tables": {"polars", "tqdm"},
    "cpu": {"onnxruntime"},
}


def needs(*extras: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn a missing module of these extras into one line that names the extra."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*args: Any, **options: Any) -> None:
            try:
                command(*args, **options)
            except ModuleNotFoundError as error:
                if not any(error.name in _EXTRAS[extra] for extra in extras):
                    raise
                raise click.ClickException(
                    f"{error.name} is not installed; this command needs: "
                    f"pip install 'gatecast[{','.join(extras)}]'"
                ) from None

        return run

    return decorate


def _check_name(_ctx: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    if name is not None and not re.match(NAME_PATTERN, name):
        raise click.BadParameter(
            f"{name!r} is not a model name: letters, digits, _ and -, at most 64"
        )
    return name


@click.command()
@click.argument("source")
@click.option("--horizon", type=click.IntRange(1), help="Steps to forecast. Needed for a file.")
@click.option("--freq", help="pandas offset alias of the series, such as MS or 15min; inferred.")
@click.option("--name", callback=_check_name, help="Name of the model; default: SOURCE's own.")
@click.option(
    "--models", type=click.Path(path_type=Path), default=Path("models"), help="Folder of models."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same weights.")
@click.option("--resume", is_flag=True, help="Continue an interrupted training.")
@needs("cpu", "train")
def train(
    source: str,
    horizon: int | None,
    freq: str | None,
    name: str | None,
    models: Path,
    seed: int,
    resume: bool,
) -> None:
    """Train on SOURCE, judge it beside the baselines, and publish the next version.

    SOURCE is a worked example (airline) or a long table, CSV or Parquet: item_id, timestamp, target
    (or unique_id, ds, y; or two columns for one series).
    """
    from service.contract.artifact import InvalidArtifact
    from training.config import FitConfig, NetworkConfig
    from training.data import InvalidTable
    from training.export import ExportFailed
    from training.fit import CannotResume, Diverged
    from training.parity import ParityFailed
    from training.train import train as run

    try:
        panel, horizon = _open_source(source, horizon, freq)
        name = name or _name_of(source)
        fit_config = FitConfig(seed=seed)
        network_config = NetworkConfig.for_panel(panel, horizon)
        click.echo(_summary(panel, network_config))
        started = time.monotonic()
        with _Progress(fit_config.steps) as progress:
            folder = run(
                panel,
                network_config,
                fit_config,
                name,
                models,
                resume=resume,
                progress=progress.step,
                say=progress.say,
            )
    except (InvalidTable, CannotResume, Diverged) as error:
        raise click.ClickException(str(error)) from None
    except (ExportFailed, InvalidArtifact, ParityFailed) as error:
        raise click.ClickException(f"nothing is published: {error}") from None
    except KeyboardInterrupt:
        raise click.ClickException(
            "interrupted; the same command with --resume continues from the last check"
        ) from None
    click.echo(f"Published {folder} in {time.monotonic() - started:.0f} s.")


@click.command()
@click.argument("model")
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write the forecasts; .csv or .parquet.",
)
@click.option(
    "--models", type=click.Path(path_type=Path), default=Path("models"), help="Folder of models."
)
@needs("cpu", "tables")
def forecast(model: str, table: Path, output: Path, models: Path) -> None:
    """Forecast every series of TABLE with MODEL (name or name@version), without a server."""
    from service.contract.artifact import InvalidArtifact
    from service.errors import ServiceError
    from service.repository import open_version
    from training import data
    from training.forecast import forecast as run
    from training.forecast import write

    if output.suffix not in (".csv", ".parquet"):
        raise click.UsageError(f"--output {output} must end in .csv or .parquet")
    name, version = _find_version(models, model)
    try:
        live = open_version(models, name, version, "cpu")
        panel = data.load(table, live.metadata.signature.freq)
        with _Progress(len(panel.series), "series") as progress:
            frame = run(live, panel, progress.advance)
        write(frame, output)
    except (data.InvalidTable, InvalidArtifact, ServiceError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{len(panel.series)} series, {frame.height} rows: {output}")


class _Progress:
    """A tqdm bar that lets other text pass above it."""

    def __init__(self, total: int, unit: str = "step") -> None:
        from tqdm import tqdm

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


def _open_source(source: str, horizon: int | None, freq: str | None) -> "tuple[Panel, int]":
    from training import data, recipes

    if source in recipes.RECIPES:
        recipe = recipes.RECIPES[source]
        return recipe.load(), horizon or recipe.horizon
    if horizon is None:
        raise click.UsageError(
            f"--horizon is needed for {source}: the number of steps to forecast "
            f"(worked examples that know theirs: {', '.join(recipes.RECIPES)})"
        )
    return data.load(Path(source), freq), horizon


def _name_of(source: str) -> str:
    name = Path(source).stem
    if not re.match(NAME_PATTERN, name):
        raise click.UsageError(f"{name!r} is not a model name; give one with --name")
    return name


def _summary(panel: "Panel", config: "NetworkConfig") -> str:
    steps = sum(len(series.target) for series in panel.series)
    return (
        f"{len(panel.series)} series, {steps} steps, freq {panel.frequency.alias}, seasonality "
        f"{config.seasonality}; context {config.context_length}, horizon {config.horizon}"
    )


def _find_version(models: Path, model: str) -> tuple[str, int]:
    from service.contract import layout

    name, _, version = model.partition("@")
    found = layout.versions(models, name)
    if not found:
        known = ", ".join(layout.names(models)) if models.is_dir() else "none"
        raise click.ClickException(f"no model {name!r} in {models}; there: {known or 'none'}")
    if not version:
        return name, found[-1]
    if not version.isdigit() or int(version) not in found:
        raise click.ClickException(f"model {name!r} has versions {found}, not {version!r}")
    return name, int(version)


COMMANDS = [train, forecast]
