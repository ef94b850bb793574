"""What the commands of training take from the command line, each said once."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from service.contract.layout import is_name
from service.repository.option import ModelsFolder


class ModelName(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A name that may become a folder of models."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself, or a usage error."""
        if not is_name(value):
            self.fail(f"{value!r} is not a model name: letters, digits, _ and -, at most 64")
        return value


@contextmanager
def in_a_line(
    *refused: type[Exception], interrupted: str = "nothing is published"
) -> Iterator[None]:
    """Whatever keeps a training from its version, as one line of the command.

    Args:
        refused: errors whose own words say all.
        interrupted: what became of a training that Ctrl-C ended.
    """
    from service.contract.artifact import InvalidArtifact
    from training.export import ExportFailed
    from training.parity import ParityFailed

    try:
        yield
    except refused as error:
        raise click.ClickException(str(error)) from None
    except (ExportFailed, InvalidArtifact, ParityFailed, OSError) as error:
        raise click.ClickException(f"nothing is published: {error}") from None
    except KeyboardInterrupt:
        raise click.ClickException(f"interrupted; {interrupted}") from None


def name_of(source: str) -> str:
    """The name of a model that is given none: that of its file, or of its worked example.

    Raises:
        click.UsageError: it may not be one.
    """
    name = Path(source).stem
    if not is_name(name):
        raise click.UsageError(f"{name!r} is not a model name; give one with --name")
    return name


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A time such as 90s, 10m or 1h, in seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds, or a usage error."""
        matched = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(value))
        if matched is None or not float(matched[1]):
            self.fail(f"{value!r} is not a time; write 90s, 10m or 1h")
        return float(matched[1]) * {"s": 1, "m": 60, "h": 3600}[matched[2]]


class Table(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A file to write, CSV or Parquet by its suffix."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, or a usage error."""
        path = Path(value)
        if path.suffix not in (".csv", ".parquet"):
            self.fail(f"{value} must end in .csv or .parquet")
        return path


_SOURCE = (
    click.argument("source"),
    click.option("--horizon", type=click.IntRange(1), help="Steps to forecast. Needed for a file."),
    click.option("--freq", help="pandas offset alias of the series, MS or 15min say; inferred."),
    click.option(
        "--past", multiple=True, metavar="COLUMN", help="A number per step, known up to now only."
    ),
    click.option(
        "--known", multiple=True, metavar="COLUMN", help="A number per step, known ahead as well."
    ),
    click.option("--static", multiple=True, metavar="COLUMN", help="A number per item."),
    click.option(
        "--category", "categories", multiple=True, metavar="COLUMN", help="A text per item."
    ),
    click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same weights."),
    click.option(
        "--budget", type=Duration(), help="Time to train for, 90s or 10m say; else 1000 steps."
    ),
    click.option(
        "--level",
        "levels",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        multiple=True,
        help="A quantile level beside 0.1 to 0.9, 0.975 say.",
    ),
    click.option(
        "--device",
        type=click.Choice(("cpu", "cuda")),
        default="cpu",
        help="Where to train. cuda: in mixed precision, and not to the same bits every time.",
    ),
    click.option(
        "--devices",
        type=click.IntRange(1),
        default=1,
        help="How many of them; each takes batches of its own.",
    ),
)
_ROLES = ("past", "known", "static", "categories")
_EFFORT = ("seed", "budget", "levels", "device", "devices")


@dataclass(frozen=True)
class Source:
    """What to train on, as the command line says it."""

    name: str  # a worked example, or the path of a table
    freq: str | None
    past: tuple[str, ...]
    known: tuple[str, ...]
    static: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Effort:
    """How to train, as the command line says it."""

    seed: int
    budget: float | None  # seconds
    levels: tuple[float, ...]  # beside the usual ones
    device: str
    devices: int


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """SOURCE, and how to read it and train on it: the command gets a `Source` and an `Effort`."""

    @wraps(command)
    def run(*, source: str, freq: str | None, **options: Any) -> None:
        roles = {role: options.pop(role) for role in _ROLES}
        effort = {name: options.pop(name) for name in _EFFORT}
        command(source=Source(source, freq, **roles), effort=Effort(**effort), **options)

    for option in reversed(_SOURCE):
        run = option(run)
    return run


models_option = click.option(
    "--models", type=ModelsFolder(), default=Path("models"), help="Folder of models."
)
