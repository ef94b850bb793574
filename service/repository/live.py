"""The models that answer: of each name a lineup of warm versions, replaced as a whole.

A request looks up its version once and keeps it to its end, whatever is swapped meanwhile. All
lookups are by names in memory: what a request says never becomes a path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from service.contract import artifact, layout
from service.contract.aliases import CANARY, LIVE, SHADOW, Which
from service.contract.metadata import Metadata
from service.errors import NotFound, Unservable
from service.providers import Provider
from service.runtime import Runtime

M_co = TypeVar("M_co", bound=Metadata, covariant=True)

Refused = Mapping[str, Mapping[int, str]]  # reasons by name and version; 0 is aliases.json

_HASHED = 1 << 16  # bytes of a key


@dataclass(frozen=True, eq=False)
class LiveModel(Generic[M_co]):
    """A version that passed every check on this machine and provider."""

    metadata: M_co
    runtime: Runtime
    notes: dict[object, Any] = field(default_factory=dict, repr=False)  # of those who answer by it


AnyModel = LiveModel[Metadata]


@dataclass(frozen=True)
class Lineup:
    """The warm versions of one model, and what each is there for."""

    live: AnyModel
    previous: AnyModel | None = None  # what was live before: a rollback need not wait for it
    aliases: Mapping[str, AnyModel] = field(default_factory=dict)  # but live
    canary_share: float = 0.0  # percent of requests
    shadow_share: float = 0.0  # percent of answered requests

    def warm(self) -> dict[int, AnyModel]:
        """All of them by version."""
        extra = [self.previous] if self.previous else []
        return {m.metadata.version: m for m in (*extra, *self.aliases.values(), self.live)}

    def find(self, which: Which) -> AnyModel | None:
        """The version of a number or an alias."""
        if isinstance(which, int):
            return self.warm().get(which)
        return self.live if which in (None, LIVE) else self.aliases.get(str(which))

    def roles(self) -> dict[str, int]:
        """Versions by alias, `previous` among them."""
        roles = {alias: model.metadata.version for alias, model in self.aliases.items()}
        if self.previous is not None:
            roles["previous"] = self.previous.metadata.version
        return roles | {LIVE: self.live.metadata.version}


class Repository:
    """The lineups by name, and what kept versions from being in one. On the event loop."""

    def __init__(
        self, live: Mapping[str, AnyModel | Lineup], refused: Refused | None = None
    ) -> None:
        """A model alone is a lineup of one."""
        self._lineups = {
            name: one if isinstance(one, Lineup) else Lineup(one) for name, one in live.items()
        }
        self.refused: dict[str, Mapping[int, str]] = dict(refused or {})

    @property
    def live(self) -> dict[str, AnyModel]:
        """The version that answers, by name."""
        return {name: lineup.live for name, lineup in self._lineups.items()}

    @property
    def lineups(self) -> Mapping[str, Lineup]:
        """By name."""
        return self._lineups

    def put(self, name: str, lineup: Lineup | None, refused: Mapping[int, str]) -> None:
        """Let these versions answer from now on, or none."""
        if lineup is None:
            self._lineups.pop(name, None)
        else:
            self._lineups[name] = lineup
        if refused:
            self.refused[name] = refused
        else:
            self.refused.pop(name, None)

    def get(self, name: str, which: Which = None, key: str | bytes | None = None) -> AnyModel:
        """A warm version of this model.

        Args:
            key: of a request, by which the canary gets its share: the same one always meets the
                same version. None: never the canary.

        Raises:
            NotFound: no such model, or no such version is warm.
        """
        lineup = self._lineups.get(name)
        if lineup is None:
            known = ", ".join(sorted(self._lineups)) or "none"
            raise NotFound(f"model {name!r} is not served here; served: {known}", "model")
        if which is None:
            if key is not None and lineup.canary_share and CANARY in lineup.aliases:
                return lineup.aliases[CANARY] if _draws(lineup, name, key) else lineup.live
            return lineup.live
        found = lineup.find(which)
        if found is None:
            raise _not_warm(name, which, lineup)
        return found

    def get_for(
        self, kind: type[M_co], name: str, which: Which = None, key: str | bytes | None = None
    ) -> LiveModel[M_co]:
        """A warm version of this model, which must have the task that `kind` describes.

        Raises:
            NotFound: as `get`.
            Unservable: it has another task.
        """
        return narrow(self.get(name, which, key), kind)

    def shadow_of(self, model: AnyModel) -> tuple[AnyModel, float] | None:
        """Which version is compared with the answers of this one, and its share in percent."""
        lineup = self._lineups.get(model.metadata.name)
        if lineup is None or not lineup.shadow_share or model is not lineup.live:
            return None
        shadow = lineup.aliases.get(SHADOW)
        return None if shadow is None or shadow is model else (shadow, lineup.shadow_share)

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


def _draws(lineup: Lineup, name: str, key: str | bytes) -> bool:
    """Whether a key falls into the canary's share; another part of the keys for another model."""
    data = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    digest = blake2b(data[:_HASHED], digest_size=8, key=name.encode()).digest()
    return int.from_bytes(digest) / 2**64 * 100.0 < lineup.canary_share


def _not_warm(name: str, which: int | str, lineup: Lineup) -> NotFound:
    roles = ", ".join(f"{alias} {version}" for alias, version in sorted(lineup.roles().items()))
    live = lineup.live.metadata.version
    if isinstance(which, int):
        message = f"model {name!r} is served in version {live}, not {which}"
    else:
        message = f"model {name!r} has no alias {which!r}"
    return NotFound(f"{message}; ready: {roles}", "model")
