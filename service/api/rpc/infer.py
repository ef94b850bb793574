"""Inference messages <-> named tensors.

Only what the message must agree on is checked here: that it names the inputs of the model, and that
bytes, shape and datatype belong together. What a model wants of the values, `service/tensors`
checks for all dialects alike.
"""

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.openinference.outputs import wrong_output
from service.api.openinference.values import Expected, expected_tensors, from_bytes
from service.api.responses import short
from service.api.rpc.parameters import agree_options, timeout_s
from service.api.rpc.proto.inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from service.contract.metadata import Signature
from service.errors import Malformed
from service.inference import TensorAnswer, TensorInquiry

Tensor = ModelInferRequest.InferInputTensor


def read(
    request: ModelInferRequest,
    version: int | None,
    signature: Signature,
    remaining_s: float | None,
) -> TensorInquiry:
    """What a message asks of a model.

    Args:
        remaining_s: until the deadline of the call; None: it has none.

    Raises:
        Malformed: it contradicts itself or the model, or asks for what nobody here offers.
    """
    expected = expected_tensors(signature)
    _agree_outputs(request, expected.outputs)
    return TensorInquiry(
        model=request.model_name,
        version=version,
        tensors=_tensors(request, expected.inputs),
        timeout_s=timeout_s(request.parameters, remaining_s),
    )


def write(answer: TensorAnswer, request: ModelInferRequest) -> ModelInferResponse:
    """The outputs that a request asks for, in its order, or else all; as raw bytes."""
    response = ModelInferResponse(
        model_name=answer.model, model_version=str(answer.version), id=request.id
    )
    for name in [output.name for output in request.outputs] or answer.outputs:
        values = answer.outputs[name]
        response.outputs.add(name=name, datatype="FP32", shape=values.shape)
        response.raw_output_contents.append(values.astype("<f4", copy=False).tobytes())
    return response


def _agree_outputs(request: ModelInferRequest, known: Collection[str]) -> None:
    seen: set[str] = set()
    for output in request.outputs:
        if output.name not in known or output.name in seen:
            raise wrong_output(output.name, request.model_name, known)
        agree_options(output.parameters, f"inference output {output.name!r}")
        seen.add(output.name)


def _tensors(request: ModelInferRequest, wanted: Mapping[str, Expected]) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    raw = request.raw_input_contents
    for at, tensor in enumerate(request.inputs):
        expected = _agree(tensor, request.model_name, wanted)
        if tensor.name in tensors:
            raise Malformed(f"inference input {tensor.name!r} is sent twice", tensor.name)
        if not raw:
            tensors[tensor.name] = _from_contents(tensor, expected)
        elif tensor.HasField("contents"):
            raise Malformed(
                f"inference input {tensor.name!r} has contents, and the message has "
                "raw_input_contents; send one of them",
                tensor.name,
            )
        elif at < len(raw):
            tensors[tensor.name] = from_bytes(raw[at], tensor.shape, expected)
    if raw and len(raw) != len(request.inputs):
        raise Malformed(
            f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs; send one "
            "of each input, in their order",
            "raw_input_contents",
        )
    return tensors


def _agree(tensor: Tensor, model: str, wanted: Mapping[str, Expected]) -> Expected:
    """The input of the model that a tensor is, in name, datatype and rank."""
    name, shape, expected = tensor.name, tensor.shape, wanted.get(tensor.name)
    if expected is None:
        takes = ", ".join(map(str, wanted.values()))
        message = f"unexpected inference input {short(name)!r} for model {model!r}"
        raise Malformed(f"{message}; it takes {takes}", "inputs")
    agree_options(tensor.parameters, f"inference input {name!r}")
    if tensor.datatype != expected.datatype:
        raise Malformed(
            f"inference input {name!r} data-type is {short(tensor.datatype)!r}, but model "
            f"{model!r} expects {expected.datatype!r}",
            name,
        )
    if not expected.has_axes_of(shape) or min(shape) < 1:
        raise Malformed(
            f"unexpected shape for input {name!r} for model {model!r}: expected "
            f"{[*expected.shape]} with sizes of at least 1, got {short(str([*shape]))}",
            name,
        )
    return expected


def _from_contents(tensor: Tensor, expected: Expected) -> NDArray[Any]:
    """The elements of a message that names them one by one."""
    floats = expected.datatype == "FP32"  # no tensor of ours is another than FP32 and INT64
    values = tensor.contents.fp32_contents if floats else tensor.contents.int64_contents
    if len(values) != prod(tensor.shape):
        field = "fp32_contents" if floats else "int64_contents"
        raise Malformed(
            f"inference input {tensor.name!r} has {len(values)} elements in {field}, expected "
            f"{prod(tensor.shape)} for {expected.datatype} of shape {[*tensor.shape]}",
            tensor.name,
        )
    flat = _packed(tensor.contents, len(values)) if floats else None
    if flat is None:
        flat = np.fromiter(values, expected.dtype, len(values))
    return expected.shaped(flat, tensor.shape)


def _packed(contents: InferTensorContents, count: int) -> NDArray[Any] | None:
    """Floats as they lie on the wire, thirty times faster than one by one; None: not alone there.

    A tag of one byte, how many bytes follow in seven bits a byte, and those.
    """
    size = 4 * count
    wire = contents.SerializeToString()
    if len(wire) != 1 + (size.bit_length() + 6) // 7 + size:
        return None
    return np.frombuffer(wire[-size:], "<f4")
