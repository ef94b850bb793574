"""The commands of training. Imports only click until a command runs, so the service starts fast.

Without the extra that a command needs, it says in one line how to get it.
"""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.extras import needs
from training.options import (
    Duration,
    Effort,
    ModelName,
    Source,
    Table,
    in_a_line,
    models_option,
    name_of,
    source_options,
)

if TYPE_CHECKING:
    from training.config import FitConfig, NetworkConfig
    from training.data import Panel
    from training.origins import Origins


@click.command()
@source_options
@click.option("--name", type=ModelName(), help="Name of the model; default: SOURCE's own.")
@models_option
@click.option("--resume", is_flag=True, help="Continue an interrupted training.")
@needs("cpu", "train")
def train(
    source: Source,
    horizon: int | None,
    effort: Effort,
    name: str | None,
    models: Path,
    resume: bool,
) -> None:
    """Train on SOURCE, judge it beside the baselines, and publish the next version.

    SOURCE is a worked example (airline) or a long table, CSV, Parquet or a folder of Parquet files:
    item_id, timestamp, target (or unique_id, ds, y; or two columns for one series). What each other
    column means is said by --past, --known, --static and --category.

    airline-classic is the protocol of the tutorials, 12 months rolled forward by a one-step GRU,
    beside the recipe airline; it takes --seed, --name and --models alone.
    """
    from training.checkpoint import CannotResume
    from training.data import InvalidTable
    from training.devices import DeviceUnavailable
    from training.fit import Diverged
    from training.origins import Origins
    from training.progress import Progress
    from training.recipes import PROTOCOLS
    from training.train import train as run

    protocol = PROTOCOLS.get(source.name)
    kept = "the same command with --resume continues from the last check"
    refused = InvalidTable, CannotResume, DeviceUnavailable, Diverged
    with in_a_line(*refused, interrupted="nothing is kept" if protocol else kept):
        name = name or name_of(source.name)
        if protocol:
            _check_nothing_chosen(source, effort, horizon, resume)
            story = partial(protocol, effort.seed, name, models)
        else:
            panel, horizon = _open_source(source, horizon)
            network_config, fit_config = _configure(panel, Origins(horizon), effort)
            click.echo(_summary(panel, network_config))
            _remark(panel)
            story = partial(run, panel, network_config, fit_config, name, models, resume=resume)
        started = time.monotonic()
        with Progress(100, "%") as progress:
            folder = story(progress=progress.share, say=progress.say)
    click.echo(f"Published {folder} in {time.monotonic() - started:.0f} s.")


@click.command()
@source_options
@click.option("--windows", type=click.IntRange(1), default=1, help="Cutoffs of each series.")
@click.option("--step", type=click.IntRange(1), help="Steps between cutoffs; default: the horizon.")
@click.option(
    "--seasonality", type=click.IntRange(1), help="Season of MASE and the baselines; from freq."
)
@click.option(
    "--baseline-limit",
    type=Duration(),
    default="2m",
    help="A baseline that takes longer is left out, and the table says so.",
)
@click.option("--output", type=Table(), help="Where to write the forecasts.")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Pictures.")
@needs("cpu", "train")
def backtest(
    source: Source,
    horizon: int | None,
    windows: int,
    step: int | None,
    seasonality: int | None,
    effort: Effort,
    baseline_limit: float,
    output: Path | None,
    report: Path | None,
) -> None:
    """Train on what lies before the first cutoff of SOURCE and forecast every window after it.

    Nothing is published; --output writes item_id, cutoff, timestamp and one column per level.
    """
    from training.data import InvalidTable
    from training.devices import DeviceUnavailable
    from training.fit import Diverged
    from training.forecast import write
    from training.origins import Origins
    from training.progress import Progress
    from training.report import write as draw
    from training.rolling import frame, rolling

    try:
        panel, horizon = _open_source(source, horizon)
        origins = Origins(horizon, windows, step or 0)
        network_config, fit_config = _configure(panel, origins, effort)
        click.echo(_summary(panel, network_config))
        _remark(panel)
        with Progress(100, "%") as progress:
            judged, curve = rolling(
                panel,
                origins,
                seasonality or panel.frequency.seasonality,
                network_config,
                fit_config,
                progress.share,
                baseline_limit,
            )
        if output:
            write(frame(panel, judged), output)
        if report:
            draw(report, curve, judged)
    except (InvalidTable, DeviceUnavailable, Diverged, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(judged.table())
    click.echo(judged.verdict())


@click.command()
@click.argument("model")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--output", type=Table(), required=True, help="Where to write the forecasts.")
@models_option
@needs("cpu", "tables")
def forecast(model: str, table: Path, output: Path, models: Path) -> None:
    """Forecast every series of TABLE with MODEL (name or name@version), without a server.

    TABLE has the columns that the model was trained with. Where the model has known covariates, the
    last rows of every item, as many as its horizon, are those to forecast: with an empty target.
    """
    from service.contract import layout
    from service.contract.artifact import InvalidArtifact
    from service.contract.forecast import ForecastMetadata
    from service.errors import ServiceError
    from service.repository.live import narrow, open_version
    from training import data
    from training.forecast import forecast as run
    from training.output import Output
    from training.progress import Progress

    try:
        name, version = layout.find(models, model)
        live = narrow(open_version(models, name, version, "cpu"), ForecastMetadata)
        with Output(output) as file:
            panel = data.load_for(table, live.metadata.signature)
            _remark(panel)
            started = time.monotonic()
            with Progress(len(panel.series), " series") as progress:
                for frame in run(live, panel):
                    file.add(frame)
                    progress.advance(frame.height // live.metadata.signature.horizon)
            seconds = time.monotonic() - started
    except (layout.NoVersion, data.InvalidTable, InvalidArtifact, ServiceError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException(f"interrupted; {output} is as it was") from None
    count = len(panel.series)
    rate = f"{seconds:.1f} s, {count / seconds:.0f} series/s"
    click.echo(f"{count} series, {file.rows} rows in {rate}: {output}")


def _check_nothing_chosen(source: Source, effort: Effort, *more: object) -> None:
    """A protocol leaves nothing to choose but a seed."""
    _, *roles = vars(source).values()
    usual = effort.device == "cpu" and effort.devices == 1
    if any((*roles, effort.budget, effort.levels, not usual, *more)):
        raise click.UsageError(
            f"{source.name} is a fixed protocol: it takes --seed, --name and --models alone"
        )


def _open_source(source: Source, horizon: int | None) -> "tuple[Panel, int]":
    from training import data, recipes

    if source.name in recipes.PROTOCOLS:
        raise click.UsageError(
            f"{source.name} is a fixed protocol, judged where it is trained: "
            f"gatecast train {source.name}"
        )
    roles = data.Roles(source.past, source.known, source.static, source.categories)
    if source.name in recipes.RECIPES:
        if roles != data.Roles():
            raise click.UsageError(f"{source.name} has no columns beside the target; name none")
        recipe = recipes.RECIPES[source.name]
        return recipe.load(), horizon or recipe.horizon
    if horizon is None:
        raise click.UsageError(
            f"--horizon is needed for {source.name}: the number of steps to forecast "
            f"(worked examples that know theirs: {', '.join(recipes.RECIPES)})"
        )
    return data.load(Path(source.name), source.freq, roles), horizon


def _remark(panel: "Panel") -> None:
    if panel.remark:
        click.echo(f"Note: {panel.remark}.", err=True)


def _configure(
    panel: "Panel", origins: "Origins", effort: Effort
) -> "tuple[NetworkConfig, FitConfig]":
    from training.config import FitConfig, NetworkConfig

    network = NetworkConfig.for_panel(panel, origins).with_levels(effort.levels)
    fit = FitConfig(effort.seed, effort.device, effort.devices).with_budget(effort.budget)
    return network, fit


def _summary(panel: "Panel", config: "NetworkConfig") -> str:
    steps = sum(len(series.target) for series in panel.series)
    return (
        f"{len(panel.series)} series, {steps} steps, freq {panel.frequency.alias}, seasonality "
        f"{config.seasonality}; context {config.context_length}, horizon {config.horizon}"
    )


COMMANDS = [train, backtest, forecast]
