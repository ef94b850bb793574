"""Copies of the committed artifact, to be damaged by the tests of whoever reads one."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.contract import artifact
from service.contract.artifact import Golden
from service.contract.forecast import QUANTILES, ForecastMetadata, ForecastSignature
from service.contract.placement import History, stack

TINY = Path(__file__).parent / "tiny/1"


def copy(models: Path, name: str = "tiny", version: int = 1) -> Path:
    """A good artifact under another name or version; its folder."""
    folder = models / name / str(version)
    shutil.copytree(TINY, folder)
    edit_metadata(folder, name=name, version=version)
    return folder


def read_metadata(folder: Path) -> dict[str, Any]:
    """metadata.json as plain JSON."""
    parsed: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return parsed


def forecaster(folder: Path) -> ForecastMetadata:
    """metadata.json of a forecaster whose files belong together."""
    metadata = artifact.read(folder).metadata
    assert isinstance(metadata, ForecastMetadata)
    return metadata


def edit_metadata(folder: Path, **changes: object) -> None:
    """Replace top-level fields of metadata.json."""
    (folder / "metadata.json").write_text(json.dumps(read_metadata(folder) | changes))


def edit_golden(folder: Path, **changes: NDArray[Any] | None) -> None:
    """Replace arrays of golden.npz; None takes one away."""
    with np.load(folder / "golden.npz") as arrays:
        changed = {**arrays, **changes}
    np.savez(folder / "golden.npz", **{k: v for k, v in changed.items() if v is not None})


def replace_model(folder: Path, model: bytes) -> None:
    """Another model.onnx, with a metadata.json that agrees."""
    (folder / "model.onnx").write_bytes(model)
    digest = hashlib.sha256(model).hexdigest()
    edit_metadata(folder, model_file={"sha256": digest, "size": len(model), "opset": 20})


def publish(
    folder: Path,
    signature: ForecastSignature,
    histories: Sequence[History],
    answers: NDArray[np.float32],
    model: bytes,
    **changes: object,
) -> Path:
    """A forecaster of another signature, with its golden answers [B, H, Q]; its folder.

    Args:
        folder: <models>/<name>/<version>.
        changes: top-level fields of the metadata.
    """
    folder.mkdir(parents=True)
    tensors = stack(histories, signature, signature.paddings[-1])
    names = [spec.name for spec in signature.inputs]
    scale = np.ones(len(histories), np.float32)
    golden = Golden(dict(zip(names, tensors, strict=True)), {QUANTILES: answers}, scale)
    artifact.write_golden(folder, golden)
    own = {
        "name": folder.parent.name,
        "signature": signature,
        "inputs": signature.inputs,
        "outputs": signature.outputs,
    }
    artifact.write_metadata(folder, forecaster(TINY).model_copy(update=own | changes))
    replace_model(folder, model)
    return folder


def times(models: Path, factor: float, version: int, name: str = "tiny") -> Path:
    """The forecaster with every answer multiplied, as a version of its own; its folder."""
    folder = copy(models, name, version)
    model = onnx.load(folder / "model.onnx")
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if one == output.name else one for one in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    model.graph.node.append(
        helper.make_node("Mul", [f"{name}_before", "factor"], [output.name], "times")
    )
    replace_model(folder, model.SerializeToString())
    with np.load(folder / "golden.npz") as arrays:
        answers = arrays[output.name] * np.float32(factor)
    edit_golden(folder, **{output.name: answers})
    return folder


def raising(models: Path, value: float, name: str = "tiny") -> Path:
    """The forecaster, but the runtime fails where a value of a context is this one; its folder."""
    folder = copy(models, name)
    model = onnx.load(folder / "model.onnx")
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if one == output.name else one for one in node.output]
    constants = {
        "trigger": np.array(value, np.float32),
        "nothing": np.zeros(1, np.float32),  # with a place for index 0 and no other
    }
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    model.graph.node.extend(
        [
            helper.make_node("Equal", ["context", "trigger"], ["is_trigger"]),
            helper.make_node("Cast", ["is_trigger"], ["index"], to=onnx.TensorProto.INT64),
            helper.make_node("ReduceMax", ["index"], ["worst"], keepdims=0),
            helper.make_node("Gather", ["nothing", "worst"], ["zero"]),
            helper.make_node("Add", [f"{name}_before", "zero"], [output.name]),
        ]
    )
    replace_model(folder, model.SerializeToString())
    return folder
