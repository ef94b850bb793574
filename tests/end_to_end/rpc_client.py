"""What tests of gRPC need: Triton's client, tensors as it wants them, and raw messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray

from tests.end_to_end.server import ServerProcess

SERVICE = "/inference.GRPCInferenceService/"
Message = triton.service_pb2.ModelInferRequest


@contextmanager
def triton_client(server: ServerProcess) -> Iterator[Any]:
    """Triton's client on a connection of its own."""
    with triton.InferenceServerClient(server.rpc) as client:
        yield client


@contextmanager
def channel(server: ServerProcess) -> Iterator[Any]:
    """A bare channel on a connection of its own."""
    alone = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.rpc, alone) as opened:
        yield opened


def tensors(rows: int = 5, steps: int = 9) -> dict[str, NDArray[Any]]:
    """Good tensors of `tiny`: rows of all lengths from 2, each with a missing value."""
    random = np.random.default_rng(rows)
    context = random.normal(100, 20, (rows, steps)).astype(np.float32)
    context[:, 0] = np.nan
    return {"context": context, "lengths": steps - np.arange(rows) % (steps - 1)}


def inputs(named: dict[str, NDArray[Any]]) -> list[Any]:
    """Tensors as Triton's client sends them."""
    made = []
    for name, array in named.items():
        datatype = {"f": "FP32", "i": "INT64"}[array.dtype.kind]
        tensor = triton.InferInput(name, [*array.shape], datatype)
        made.append(tensor.set_data_from_numpy(array))
    return made


def message(named: dict[str, NDArray[Any]] | None = None, **fields: Any) -> Any:
    """A request to `tiny` with raw contents, by the classes of Triton's client."""
    named = tensors() if named is None else named
    made = Message(**{"model_name": "tiny"} | fields)
    for name, array in named.items():
        datatype = {"f": "FP32", "i": "INT64"}[array.dtype.kind]
        made.inputs.add(name=name, datatype=datatype, shape=array.shape)
        made.raw_input_contents.append(array.tobytes())
    return made


def infer(opened: Any) -> Any:
    """The call of ModelInfer on a channel."""
    return opened.unary_unary(
        f"{SERVICE}ModelInfer",
        request_serializer=lambda body: (
            body if isinstance(body, bytes) else body.SerializeToString()
        ),
        response_deserializer=triton.service_pb2.ModelInferResponse.FromString,
    )


def quantiles(response: Any) -> NDArray[np.float32]:
    """The one output of a response."""
    (output,) = response.outputs
    (raw,) = response.raw_output_contents
    assert (output.name, output.datatype) == ("quantiles", "FP32")
    return np.frombuffer(raw, "<f4").reshape(output.shape)


def lengths_of(named: dict[str, NDArray[Any]]) -> Sequence[int]:
    """The valid steps of each row."""
    found: list[int] = named["lengths"].tolist()
    return found
