"""The messages: generated from the `.proto` files, and the same on the wire as everybody else's."""

from typing import Any

import pytest
from grpc_health.v1 import health_pb2 as standard
from tritonclient.grpc import model_config_pb2, service_pb2

from service.api.rpc.proto import health_pb2, inference_pb2
from tests.service.api.rpc.messages import PROTO, generate

OURS = {
    **inference_pb2.DESCRIPTOR.message_types_by_name,
    **health_pb2.DESCRIPTOR.message_types_by_name,
}
THEIRS = {
    **service_pb2.DESCRIPTOR.message_types_by_name,
    **model_config_pb2.DESCRIPTOR.message_types_by_name,
    **standard.DESCRIPTOR.message_types_by_name,
}


def fields(message: Any) -> dict[str, Any]:
    """Everything of a message that the wire depends on, with what it nests."""
    found: dict[str, Any] = {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.enum_type and {v.name: v.number for v in field.enum_type.values},
            field.message_type and field.message_type.full_name,
        )
        for field in message.fields
    }
    return found | {inner.name: fields(inner) for inner in message.nested_types}


def test_the_generated_files_are_what_the_proto_files_say() -> None:
    committed = {path.name: path.read_text() for path in PROTO.glob("*_pb2.py*")}
    assert committed == generate()


@pytest.mark.parametrize("name", OURS)
def test_every_field_has_the_number_and_the_type_that_clients_use(name: str) -> None:
    theirs = fields(THEIRS[name])
    assert fields(OURS[name]) == {field: theirs[field] for field in fields(OURS[name])}


def test_every_method_has_the_messages_that_clients_use() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    ours = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    health = standard.DESCRIPTOR.services_by_name["Health"].methods_by_name
    for method in [*ours, *health_pb2.DESCRIPTOR.services_by_name["Health"].methods]:
        other = (theirs if method in ours else health)[method.name]
        assert method.full_name == other.full_name
        assert method.input_type.full_name == other.input_type.full_name
        assert method.output_type.full_name == other.output_type.full_name
        assert method.server_streaming == other.server_streaming
        assert method.client_streaming == other.client_streaming
