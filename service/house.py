"""`House`: everything of the service that a request may need, made once at the start."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.access.keyring import Keyring
from service.api.cors import Cors
from service.api.outbox import Outbox
from service.drain import Drain
from service.forecasting.forecaster import Forecaster
from service.generation.generator import Generator
from service.inference import Inference
from service.repository.keeper import Keeper
from service.settings import Settings
from service.telemetry.witness import Witness

if TYPE_CHECKING:
    from service.quality.desk import Desk  # which needs a library that not everyone has


@dataclass(slots=True)
class House:
    """What every exchange may need of the service."""

    settings: Settings
    inference: Inference
    forecaster: Forecaster
    generator: Generator
    keeper: Keeper
    drain: Drain
    keyring: Keyring | None  # None: everyone may do everything
    cors: Cors | None = None  # None: no page of another origin may read an answer
    desk: "Desk | None" = None  # None: no forecast is recorded
    witness: Witness | None = None  # None: there is neither an access log nor a trace
    outbox: Outbox = field(default_factory=Outbox)
