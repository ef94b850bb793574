"""A flag of the command line for each setting; without it the environment decides."""

from collections.abc import Mapping
from typing import Any

import click
from pydantic import ValidationError

from service.settings import Settings


def settings_options(command: Any) -> Any:
    """One flag per setting, with its description."""
    for name, field in reversed(Settings.model_fields.items()):
        text = f"{field.description} [GATECAST_{name.upper()}; default {field.default}]"
        said: Any = {"is_flag": True, "flag_value": "true"} if field.annotation is bool else {}
        command = click.option(flag(name), name, help=text, default=None, **said)(command)
    return command


def read_settings(flags: Mapping[str, str | None]) -> Settings:
    """The settings by flags and environment.

    Raises:
        ClickException: one is not what it should be.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic reads the strings
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise click.ClickException(
            f"{flag(str(first['loc'][0]))}: {first['msg']}, got {first['input']!r}"
        ) from None


def flag(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"
