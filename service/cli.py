"""The command line: `gatecast`, and the commands of the service.

The commands of both packages are found through the entry points `gatecast.commands`, so that the
service need not import training to offer one command for everything.
"""

import importlib.metadata
import os

import click

from service.access.cli import keys
from service.doctor.cli import doctor
from service.flags import read_settings, settings_options
from service.repository.cli import models
from service.settings import Settings
from service.telemetry import logs


class Gatecast(click.Group):
    """All commands of the installed entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a model's life: training first, then the service."""
        return list(self._found())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, if any package has one."""
        return self._found().get(name)

    @staticmethod
    def _found() -> dict[str, click.Command]:
        entries = importlib.metadata.entry_points(group="gatecast.commands")
        packages = sorted(entries, key=lambda entry: entry.name, reverse=True)
        return {str(c.name): c for package in packages for c in package.load()}


@click.command(
    cls=Gatecast, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="gatecast", prog_name="gatecast")
def main() -> None:
    """Train a GRU forecaster on your own series, ship it as one ONNX file, serve it over HTTP."""


@click.command()
@settings_options
def serve(**flags: str | None) -> None:
    """Serve the models of a folder over HTTP until SIGTERM."""
    _run(read_settings(flags))


def _run(asked: Settings) -> None:
    from service.access.exposure import check_exposure
    from service.api.rpc.port import reserved
    from service.processes.serve import serve as run
    from service.providers import ProviderUnavailable, choose
    from service.quality.address import check_quality

    check_exposure(asked)
    if asked.quality is not None:
        check_quality(asked.quality)
    try:
        chosen = choose(asked.provider)
    except ProviderUnavailable as error:
        raise click.ClickException(str(error)) from None
    settings = asked.model_copy(update={"provider": chosen.provider})
    settings = settings.model_copy(update={"workers": settings.worker_count()})
    for name in Settings.model_fields:  # workers read them from the environment
        if getattr(settings, name) is not None:
            os.environ[f"GATECAST_{name.upper()}"] = str(getattr(settings, name))
    _check_traces(settings)
    logs.configure(settings, worker=False)
    _check_models(settings)
    _tell(settings.model_copy(update={"lanes": settings.lanes_per_worker()}))
    if asked.provider == "auto":
        logs.say(settings, f"provider auto is {chosen.provider}: {chosen.reason}")
    with reserved(settings):
        run(settings)


def _tell(settings: Settings) -> None:
    """What they are, without a password."""
    if settings.quality is not None:
        from service.quality.address import hidden

        settings = settings.model_copy(update={"quality": hidden(settings.quality)})
    if settings.log_format == "json":
        logs.say(settings, "settings", settings=settings.model_dump(mode="json"))
        return
    for name in Settings.model_fields:
        logs.say(settings, f"{name:>20} {getattr(settings, name)}")


def _check_traces(settings: Settings) -> None:
    if not settings.traces:
        return
    from service.telemetry.collector import TracesUnavailable, check_traces

    try:
        check_traces()
    except TracesUnavailable as error:
        raise click.ClickException(f"--traces: {error}") from None


def _check_models(settings: Settings) -> None:
    """A folder that is there, or a store that has been read: workers need only the cache."""
    from service.store.objects import BadStore
    from service.store.opening import first_look, open_store

    if isinstance(settings.models, str):
        try:
            logs.say(settings, first_look(open_store(settings.models, settings.store_cache)))
        except BadStore as error:
            raise click.ClickException(f"--models {settings.models}: {error}") from None
    elif not settings.models.is_dir():
        raise click.ClickException(
            f"--models: folder {settings.models} does not exist; train a model first, "
            "for example: gatecast train airline"
        )


COMMANDS = [serve, models, keys, doctor]
