"""Network -> one version on disk: model.onnx, golden.npz, metadata.json, report/.

A version is built in a hidden folder beside its place and renamed into it, so a reader sees a whole
version or none. The graph's bytes depend on the weights alone: names of local files, stack traces
and dates are stripped.
"""

import errno
import hashlib
import inspect
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from torch import Tensor, nn

from service.contract import layout
from service.contract.metadata import ModelFile, Signature, TensorSpec
from training.gru import Convention
from training.unfinished import unfinished

OPSET = 20  # GRU at version 14, the newest that ONNX Runtime's CUDA provider registers
IR_VERSION = 10
_SLOW = {"Loop", "Scan", "If"}  # an interpreter per step, where one GRU node is meant


class ExportFailed(RuntimeError):
    """The exported graph is not the one that was asked for."""


def write_model(
    network: nn.Module, signature: Signature, layers: Sequence[Convention], path: Path
) -> ModelFile:
    """Export the network to one ONNX file whose tensors are those of the signature.

    Args:
        layers: the convention of every GRU node that the graph must have, in this order.

    Raises:
        ExportFailed: a loop instead of a GRU node, the wrong convention, a frozen axis, or other
            tensors than the signature says.
    """
    outputs = [spec.name for spec in signature.outputs]
    model = trace(network.eval(), _examples(signature), outputs)
    _strip(model)
    _check_nodes(model, layers)
    _check_tensors(model, signature)
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(data)
    return ModelFile(sha256=hashlib.sha256(data).hexdigest(), size=len(data), opset=OPSET)


def publish(models: Path, name: str, write: Callable[[Path, int], None]) -> Path:
    """Let `write(folder, version)` fill a folder, then make it the next version at once.

    Whatever `write` raises, no version appears. Two publishers at a time get two versions.
    """
    home = models / name
    home.mkdir(parents=True, exist_ok=True)
    while True:
        version = max(layout.versions(models, name), default=0) + 1
        with unfinished(home) as folder:
            write(folder, version)
            folder.chmod(0o755)  # mkdtemp's folder is for its owner only
            _sync(folder)
            try:
                os.rename(folder, layout.folder(models, name, version))
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                continue  # another publisher took the number: build the next one
            _sync_entry(home)
            return layout.folder(models, name, version)


def trace(
    module: nn.Module, inputs: Mapping[str, tuple[Tensor, Sequence[str]]], outputs: Sequence[str]
) -> onnx.ModelProto:
    """The graph of a module: everything from its torch code, one GRU node from each `GRULayer`.

    Args:
        inputs: by name and in order, an example and the names of its leading free axes.
        outputs: names.
    """
    free = tuple(dict(enumerate(axes)) for _, axes in inputs.values())
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)  # it warns that torchvision is not installed
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside the exporter itself
            program = torch.onnx.export(
                module,
                tuple(example for example, _ in inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(free,) if _is_variadic(module) else free,
                verbose=False,
            )
    finally:
        chatter.setLevel(level)
    if program is None:
        raise ExportFailed("the exporter returned no graph")
    # The default limits leave large weights to be re-ordered by graph nodes at every run.
    onnxscript.optimizer.optimize(
        program.model, input_size_limit=1 << 30, output_size_limit=1 << 30
    )
    return onnx_ir.serde.serialize_model(program.model)


def _is_variadic(module: nn.Module) -> bool:
    """Whether forward is `forward(*inputs)`, which the exporter sees as one argument."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)


def _examples(signature: Signature) -> dict[str, tuple[Tensor, tuple[str, ...]]]:
    """Two rows of any length that is not also the size of another axis, and the free axes."""
    inputs = signature.blank(2, signature.paddings[-1] + 1)
    examples = {}
    for spec, array in zip(signature.inputs, inputs, strict=True):
        axes = tuple(axis for axis in spec.shape if isinstance(axis, str))
        examples[spec.name] = torch.from_numpy(array), axes
    return examples


def _strip(model: onnx.ModelProto) -> None:
    """Remove what tells about the machine that exported: source lines, paths, versions."""
    model.producer_name, model.producer_version, model.doc_string = "gatecast", "", ""
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "gatecast", ""
    del graph.metadata_props[:]
    parts: list[Any] = [*graph.node, *graph.input, *graph.output]
    for part in (*parts, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]  # inferred again by whoever needs it


def _check_nodes(model: onnx.ModelProto, layers: Sequence[Convention]) -> None:
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    if slow := _SLOW & set(kinds):
        raise ExportFailed(f"the graph holds {sorted(slow)}; it must be free of control flow")
    recurrent = [node for node in model.graph.node if node.op_type == "GRU"]
    if len(recurrent) != len(layers):
        raise ExportFailed(f"{len(recurrent)} GRU nodes for {len(layers)} layers")
    weights = {tensor.name for tensor in model.graph.initializer}
    for node, convention in zip(recurrent, layers, strict=True):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if attributes["linear_before_reset"] != convention.linear_before_reset:
            raise ExportFailed("a GRU node has the other convention of the reset gate")
        if not set(node.input[1:4]) <= weights:
            raise ExportFailed("a GRU node computes its weights at every run")


def _check_tensors(model: onnx.ModelProto, signature: Signature) -> None:
    for kind, found, expected in (
        ("inputs", model.graph.input, signature.inputs),
        ("outputs", model.graph.output, signature.outputs),
    ):
        came, wanted = ([str(spec) for spec in specs] for specs in (map(_spec, found), expected))
        if came != wanted:
            raise ExportFailed(
                f"the graph's {kind} are {'; '.join(came)}, the signature says {'; '.join(wanted)}"
            )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(size.dim_param or size.dim_value for size in tensor.shape.dim)
    dtype: Any = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec.model_construct(name=value.name, dtype=dtype, shape=shape)


def _sync(folder: Path) -> None:
    """Files first, then the rename: a power cut must not leave a named version of empty files."""
    for path in folder.rglob("*"):
        if path.is_file():
            _sync_entry(path)


def _sync_entry(path: Path) -> None:
    """A file, or the names in a folder: without the latter the rename itself may be forgotten."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
