"""What the server, its models and their past say of themselves: the JSON of REST as messages."""

from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from service.api.openinference import describe
from service.api.responses import to_json
from service.api.rpc.proto.inference_pb2 import (
    ModelConfig,
    ModelMetadataResponse,
    ModelStatisticsResponse,
    RepositoryIndexResponse,
    ServerMetadataResponse,
)
from service.contract.metadata import Metadata
from service.repository.live import AnyModel, Repository
from service.telemetry.statistics import statistics as statistics_of

Kind = TypeVar("Kind", bound=Message)


def server() -> ServerMetadataResponse:
    """Name, version and extensions."""
    return _message(describe.server(), ServerMetadataResponse)


def model(metadata: Metadata) -> ModelMetadataResponse:
    """The tensors of a model."""
    return _message(describe.model(metadata), ModelMetadataResponse)


def config(live: AnyModel, most_rows: int) -> ModelConfig:
    """The configuration of a model; `most_rows` is what one request may hold."""
    return _message(describe.config(live, most_rows), ModelConfig)


def statistics(found: list[Metadata]) -> ModelStatisticsResponse:
    """What these models answered since the service started."""
    content = describe.statistics([statistics_of(one.name, one.version) for one in found])
    return _message(content, ModelStatisticsResponse)


def index(repository: Repository, *, ready: bool) -> RepositoryIndexResponse:
    """Every warm version; `ready` leaves out those that were refused."""
    content = {"models": describe.index(repository, ready=ready)}
    return _message(content, RepositoryIndexResponse)


def _message(content: Any, kind: type[Kind]) -> Kind:
    """JSON and messages have the same names; members that no client of gRPC reads are left out."""
    return json_format.Parse(to_json(content), kind(), ignore_unknown_fields=True)
