"""Every knob of the service, its unit, and what turning it does.

Each is read from the environment (`GATECAST_` and the field's name in capitals) and can be given as
a flag of `gatecast serve`; the README's table is checked against this file.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.contract.layout import is_url
from service.cores import available_cores


def _place(value: object) -> object:
    """A URL stays a text: a path would lose a slash."""
    return Path(value) if isinstance(value, str) and not is_url(value) else value


class Settings(BaseSettings):
    """Settings of one `gatecast serve`; lanes and rows count per worker."""

    model_config = SettingsConfigDict(env_prefix="GATECAST_", frozen=True)

    models: Annotated[Path | str, BeforeValidator(_place)] = Field(
        Path("models"),
        description="Folder of models, <name>/<version>/; or s3://bucket/prefix, gs:// or az://, "
        "with the extra store. Written only at an admin's request.",
    )
    store_cache: Path | None = Field(
        None,
        description="Folder for what is loaded from an object store, as large as all its versions. "
        "None is the user's cache folder, or the temporary one where that cannot be written: what "
        "does not outlive a restart is loaded again, and does not serve while the store is down.",
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
        description="Address to listen on. 0.0.0.0 opens the service to the network, which is "
        "refused without keys unless no_auth says that it is meant.",
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    keys: Path | None = Field(
        None,
        description="File of API keys (gatecast keys), looked at every half second. With it, every "
        "request but those for health needs a key; none lets everyone do everything.",
    )
    no_auth: bool = Field(
        False,
        description="Says that strangers on the network may do everything, also as an admin. Only "
        "behind something else that asks who they are.",
    )
    open_docs: bool = Field(
        False,
        description="Shows /docs without a key, as a browser asks for it; it names no model.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file of a certificate and its chain: HTTPS on port and TLS on grpc_port, "
        "and nothing else. Read at the start; one worker then has a parent, too.",
    )
    tls_key: Path | None = Field(
        None, description="PEM file of the certificate's key, without a passphrase."
    )
    cors_origins: str | None = Field(
        None,
        description="Origins with commas, https://example.org, whose pages may ask and read the "
        "answers in a browser; * is every page. None lets no page of another origin.",
    )
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
    max_context_steps: int = Field(
        1_048_576,
        ge=1,
        description="Steps of one series in a request. A longer history gets 413; a model sees its "
        "own context_length of it, so that a low limit only costs callers who do not cut.",
    )
    max_json_depth: int = Field(
        64,
        ge=16,
        description="Lists and objects within each other in a JSON body. Beyond it 400, before a "
        "parser goes down there; no documented body has more than ten.",
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
    max_head_bytes: int = Field(
        65_536,
        ge=1024,
        description="Largest request line and headers together. A larger one gets 413.",
    )
    max_connections: int = Field(
        16_384,
        ge=1,
        description="Open connections of a worker, busy or idle; beyond it a new one gets 503 and "
        "is closed. Each idle one holds some kilobytes and an open file.",
    )
    head_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds a new connection, TLS included, or a head that has begun may take. "
        "After it 408, and whoever sends a byte at a time has lost its place.",
    )
    body_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Seconds a body may take after its head, then 408. With max_body_bytes it is "
        "the slowest line that can send the largest body.",
    )
    idle_timeout_s: float = Field(
        75.0,
        gt=0,
        description="Seconds a connection may ask nothing, or not read its answer, before it is "
        "closed. Shorter than a proxy's own, requests are lost between the two.",
    )
    drain_lead_s: float = Field(
        0.0,
        ge=0,
        description="Seconds after SIGTERM in which readiness is already 503 and everything else "
        "goes on, new connections too: the time a balancer takes to send nobody here any more.",
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
    quality: str | None = Field(
        None,
        description="Where forecasts and actuals are kept: a file of SQLite, or "
        "postgresql://USER@HOST/DATABASE. None records nothing, and takes no actuals.",
    )
    quality_share: float = Field(
        100.0,
        gt=0,
        le=100,
        description="Percent of the items whose forecasts are recorded, the same ones always. "
        "Fewer cost less and last longer within quality_keep_rows.",
    )
    quality_keep_days: float = Field(
        90.0,
        gt=0,
        le=36_500,
        description="Days after which recorded forecasts and actuals are deleted. An actual that "
        "comes later meets nothing.",
    )
    quality_keep_rows: int = Field(
        200_000,
        ge=1,
        description="Forecasts of one series that are kept, the newest ones; each takes about a "
        "kilobyte, and scores of millions take seconds to read.",
    )
    quality_recent_days: float = Field(
        7.0,
        gt=0,
        le=36_500,
        description="Days that recent scores, those of /metrics and of a rollback, look back.",
    )
    quality_watch_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Seconds between two looks at the scores, in each worker, for /metrics and "
        "for a rollback.",
    )
    quality_rollback_mase: float | None = Field(
        None,
        gt=0,
        description="Recent MASE above which the live version is rolled back, once. None never "
        "does; with it, whoever may post actuals has a say in which version answers.",
    )
    quality_rollback_points: int = Field(
        1_000,
        ge=1,
        description="Steps with an actual that a version must have before it is rolled back. A low "
        "number lets chance decide.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Verbosity of the log on standard error."
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="Form of the log on standard error. json writes an object on each line, for "
        "machines that collect logs.",
    )
    access_log: bool = Field(
        False,
        description="Writes a line for each request to the log when it has ended. Costs each 10 to "
        "25 microseconds of CPU.",
    )
    traces: bool = Field(
        False,
        description="Sends spans of requests to the OpenTelemetry collector that the variables "
        "OTEL_EXPORTER_OTLP_* name. Needs gatecast[otel]; OTEL_TRACES_SAMPLER says of how many.",
    )

    def lanes_per_worker(self) -> int:
        """The lanes of one worker, with 0 resolved to its share of the available cores."""
        return self.lanes or max(1, available_cores() // self.worker_count())

    def worker_count(self) -> int:
        """The workers, with auto resolved."""
        if self.workers != "auto":
            return self.workers
        return 1 if self.provider == "cuda" else min(available_cores(), 256)


def origins(text: str | None) -> tuple[str, ...]:
    """The origins of a `cors_origins`."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
