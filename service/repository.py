"""models/ on disk -> models that answer: each one's highest version, or the reason why not."""

import logging
from dataclasses import dataclass
from pathlib import Path

from service.contract import artifact, layout
from service.contract.artifact import InvalidArtifact
from service.contract.metadata import Metadata
from service.errors import NotFound
from service.providers import Provider
from service.runtime import Runtime

log = logging.getLogger("gatecast")


@dataclass(frozen=True)
class LiveModel:
    """A version that passed every check on this machine and provider."""

    metadata: Metadata
    runtime: Runtime


class Repository:
    """The live models by name, and what kept the others from going live."""

    def __init__(self, live: dict[str, LiveModel], refused: dict[str, str]) -> None:
        self.live = live
        self.refused = refused

    @classmethod
    def load(cls, models: Path, provider: Provider) -> "Repository":
        """Open the highest version of every model; a bad one is reported and left out.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        if not models.is_dir():
            raise FileNotFoundError(f"models folder {models} does not exist; train a model first")
        live: dict[str, LiveModel] = {}
        refused: dict[str, str] = {}
        for name in layout.names(models):
            try:
                live[name] = open_version(models, name, layout.versions(models, name)[-1], provider)
            except InvalidArtifact as error:
                refused[name] = str(error)
                log.error("model refused: %s", error)
        return cls(live, refused)

    def get(self, name: str, version: int | None = None) -> LiveModel:
        """The live model of this name.

        Raises:
            NotFound: no such model, or another version of it is live.
        """
        model = self.live.get(name)
        if model is None:
            known = ", ".join(sorted(self.live)) or "none"
            raise NotFound(f"model {name!r} is not served here; served: {known}", "model")
        if version not in (None, model.metadata.version):
            raise NotFound(
                f"model {name!r} is served in version {model.metadata.version}, not {version}",
                "model",
            )
        return model


def open_version(models: Path, name: str, version: int, provider: Provider) -> LiveModel:
    """Read, verify and open one version.

    Raises:
        InvalidArtifact: it failed a check.
    """
    verified = artifact.read(layout.folder(models, name, version))
    return LiveModel(verified.metadata, Runtime(verified, provider))
