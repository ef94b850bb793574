"""Every knob of the service, its unit, and what turning it does.

Each is read from the environment (`GATECAST_` and the field's name in capitals) and can be given as
a flag of `gatecast serve`; the README's table is checked against this file.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.cores import available_cores


class Settings(BaseSettings):
    """Settings of one `gatecast serve`; lanes and rows count per worker."""

    model_config = SettingsConfigDict(env_prefix="GATECAST_", frozen=True)

    models: Path = Field(
        Path("models"),
        description="Folder of models, <name>/<version>/. Written only at an admin's request.",
    )
    watch_s: float = Field(
        2.0,
        ge=0,
        le=86_400,
        description="Seconds between two looks for new versions and changed aliases, in each "
        "worker. 0 never looks: what is served then changes only by an admin's request, and only "
        "in the worker that gets it.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. 0.0.0.0 opens the service to the network.",
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        "auto",
        description="Processes that answer requests. Each holds every model in its own memory. "
        "auto is one for each available core, and one alone on a GPU.",
    )
    lanes: int = Field(
        0,
        ge=0,
        le=256,
        description="Batches run at once in a worker, one thread each. 0 divides the available "
        "cores among the workers; more than the cores only adds waiting.",
    )
    provider: Literal["cpu", "cuda", "auto"] = Field(
        "cpu",
        description="Where models run. cuda refuses to start where CUDA cannot be used; auto takes "
        "the cpu there and says why.",
    )
    max_batch_rows: int = Field(
        16,
        ge=1,
        description="Series in one run. More than 8 gains little speed and makes a single "
        "request wait longer behind a bulk one.",
    )
    default_timeout_ms: int = Field(
        30_000,
        ge=1,
        description="Milliseconds a request may take if it does not say so itself (header "
        "gatecast-timeout-ms). What would take longer gets 429 at once, what does gets 504 then.",
    )
    max_queue_rows: int = Field(
        65_536,
        ge=1,
        description="Series that may wait for a lane. Beyond it requests get 429: a low limit "
        "refuses early, a high one lets callers wait long. Also the most series of one request.",
    )
    max_text_tokens: int = Field(
        16_384,
        ge=2,
        description="Tokens of a prompt and the text that continues it, together. A generation "
        "runs the model once for each, so a high limit lets one caller take part in every batch "
        "for long.",
    )
    grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="TCP port of the Open Inference Protocol over gRPC; 0 takes a free one, none "
        "leaves it out.",
    )
    max_body_bytes: int = Field(
        32 * 2**20,
        ge=1,
        description="Largest request body. A larger one gets 413 before it is read into memory.",
    )
    drain_grace_s: float = Field(
        1.0,
        ge=0,
        description="Seconds an idle connection stays open after SIGTERM, so that a request "
        "already on the wire is still answered.",
    )
    shutdown_timeout_s: int = Field(
        30,
        ge=1,
        description="Seconds in-flight requests may take after SIGTERM before they are cut off.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Verbosity of the log on standard error."
    )

    def lanes_per_worker(self) -> int:
        """The lanes of one worker, with 0 resolved to its share of the available cores."""
        return self.lanes or max(1, available_cores() // self.worker_count())

    def worker_count(self) -> int:
        """The workers, with auto resolved."""
        if self.workers != "auto":
            return self.workers
        return 1 if self.provider == "cuda" else min(available_cores(), 256)
