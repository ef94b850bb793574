"""The methods of the `.proto` files, each with who answers it, as gRPC wants them registered."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import grpc

from service.api.rpc.call import stream, unary
from service.api.rpc.caller import Caller
from service.api.rpc.conversation import Conversation
from service.api.rpc.gate import Gate
from service.api.rpc.health import Health
from service.api.rpc.inference import InferenceService
from service.api.rpc.proto import health_pb2, inference_pb2
from service.house import House


def inference_methods(
    inference: InferenceService, gate: Gate, house: House
) -> grpc.GenericRpcHandler:
    """`inference.GRPCInferenceService`."""

    async def converse(caller: Caller) -> None:
        await Conversation(inference.infer, caller, inference.departure, gate, house).hold()

    unaries = {
        "ServerLive": inference.server_live,
        "ServerReady": inference.server_ready,
        "ModelReady": inference.model_ready,
        "ServerMetadata": inference.server_metadata,
        "ModelMetadata": inference.model_metadata,
        "ModelConfig": inference.model_config,
        "ModelStatistics": inference.model_statistics,
        "RepositoryIndex": inference.repository_index,
        "RepositoryModelLoad": inference.load,
        "RepositoryModelUnload": inference.unload,
        "ModelInfer": inference.model_infer,
    }
    return _registered(
        inference_pb2, "GRPCInferenceService", unaries, {"ModelStreamInfer": converse}, house
    )


def health_methods(health: Health, house: House) -> grpc.GenericRpcHandler:
    """`grpc.health.v1.Health`."""
    return _registered(
        health_pb2, "Health", {"Check": health.check}, {"Watch": health.watch}, house
    )


def _registered(
    messages: ModuleType,
    service: str,
    unaries: Mapping[str, Any],
    streams: Mapping[str, Any],
    house: House,
) -> grpc.GenericRpcHandler:
    """Every method of a service under its path; one that nobody answers is a KeyError here."""
    descriptor = messages.DESCRIPTOR.services_by_name[service]
    handlers: dict[str, Any] = {}
    for method in descriptor.methods:
        name, path = method.name, f"/{descriptor.full_name}/{method.name}"
        if name in streams:
            handlers[name] = stream(path, streams[name], house)
        else:
            request = getattr(messages, method.input_type.name)
            handlers[name] = unary(path, request, unaries[name], house)
    return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)
