"""The extras of the distribution: what a command needs, and how to say that it is not there."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

_EXTRAS = {
    "train": {
        "lightning_fabric",
        "matplotlib",
        "onnx",
        "onnxscript",
        "polars",
        "pooch",
        "sklearn",
        "statsforecast",
        "torch",
        "tqdm",
    },
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
