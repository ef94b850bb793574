"""models/ on disk -> models that answer: each one's highest version, or the reason why not."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

from service.contract import artifact, layout
from service.contract.artifact import InvalidArtifact
from service.contract.metadata import Metadata
from service.errors import NotFound, Unservable
from service.providers import Provider
from service.runtime import Runtime

log = logging.getLogger("gatecast")


M_co = TypeVar("M_co", bound=Metadata, covariant=True)


@dataclass(frozen=True)
class LiveModel(Generic[M_co]):
    """A version that passed every check on this machine and provider."""

    metadata: M_co
    runtime: Runtime


AnyModel = LiveModel[Metadata]


class Repository:
    """The live models by name, and what kept the others from going live."""

    def __init__(self, live: dict[str, AnyModel], refused: dict[str, str]) -> None:
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
        live: dict[str, AnyModel] = {}
        refused: dict[str, str] = {}
        for name in layout.names(models):
            try:
                live[name] = open_version(models, name, layout.versions(models, name)[-1], provider)
            except InvalidArtifact as error:
                refused[name] = str(error)
                log.error("model refused: %s", error)
        return cls(live, refused)

    def get(self, name: str, version: int | None = None) -> AnyModel:
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

    def get_for(self, kind: type[M_co], name: str, version: int | None = None) -> LiveModel[M_co]:
        """The live model of this name, which must have the task that `kind` describes.

        Raises:
            NotFound: as `get`.
            Unservable: it has another task.
        """
        return narrow(self.get(name, version), kind)

    def all_for(self, kind: type[M_co]) -> dict[str, LiveModel[M_co]]:
        """The live models of one task, by name."""
        return {
            name: cast(LiveModel[M_co], model)
            for name, model in sorted(self.live.items())
            if isinstance(model.metadata, kind)
        }


def narrow(model: AnyModel, kind: type[M_co]) -> LiveModel[M_co]:
    """The model, where it has the task that `kind` describes.

    Raises:
        Unservable: it has another one.
    """
    if not isinstance(model.metadata, kind):
        has, wanted = model.metadata.task, kind.model_fields["task"].default
        name = model.metadata.name
        message = f"model {name!r} has the task {has}, but a model of the task {wanted} is needed"
        raise Unservable(message, "model")
    return cast(LiveModel[M_co], model)


def open_version(models: Path, name: str, version: int, provider: Provider) -> AnyModel:
    """Read, verify and open one version.

    Raises:
        InvalidArtifact: it failed a check.
    """
    verified = artifact.read(layout.folder(models, name, version))
    return LiveModel(verified.metadata, Runtime(verified, provider))
