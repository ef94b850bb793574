"""`gatecast doctor`: the report, and code 1 where something looks wrong."""

import logging
import sys

import click

from service.flags import read_settings, settings_options


@click.command()
@click.option("--json", "as_object", is_flag=True, help="One JSON object instead of a text.")
@settings_options
def doctor(as_object: bool, **flags: str | None) -> None:
    """Look at this machine, its models and settings as `gatecast serve` would find them.

    Takes the settings of `gatecast serve`. Opens no port and changes nothing; ends with code 1
    where something looks wrong.
    """
    settings = read_settings(flags)
    from service.doctor import report  # onnxruntime: slow to import

    logging.disable(logging.CRITICAL)  # what is wrong with a model is in the report
    areas = list(report.examine(settings))
    click.echo(report.as_json(areas) if as_object else report.as_text(areas))
    sys.exit(1 if any(area.troubles for area in areas) else 0)
