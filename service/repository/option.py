"""What `--models` may say: a folder, or for some commands the URL of an object store, too."""

from pathlib import Path

import click

from service.contract.layout import is_url


class ModelsFolder(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A folder of models; elsewhere, where stores are spoken to, a URL that stays a text."""

    name = "path"

    def __init__(self, stores: bool = False) -> None:
        """One of both kinds.

        Args:
            stores: whether a URL may be.
        """
        self._stores = stores

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """The path or the URL, or a usage error."""
        if not is_url(str(value)):
            return Path(value)
        if not self._stores:
            self.fail(
                f"{value!r}: this works on a folder; gatecast serve and gatecast models work on an "
                "object store, and any tool that copies files brings a version there or back"
            )
        return str(value)
