"""The files of one version: read, verify, write. One folder is the whole forecaster."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.contract.metadata import BATCH, Array, Inputs, Metadata, Signature, TensorSpec
from service.contract.tasks import parse

MODEL = "model.onnx"
METADATA = "metadata.json"
GOLDEN = "golden.npz"
REPORT = "report"

SCALE = "scale"  # in golden.npz, beside the tensors of the graph


class InvalidArtifact(ValueError):
    """A version whose files are missing, damaged or in disagreement with each other."""

    def __init__(self, message: str, kind: str = "files") -> None:
        """Say why.

        Args:
            kind: to count it by: files, metadata, hash, tensors, golden or runtime.
        """
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Golden:
    """A few inputs with torch's own answers, replayed wherever the model is to be served."""

    inputs: Mapping[str, Array]  # by tensor, padded to the longest
    outputs: Mapping[str, Array]  # by tensor
    scale: NDArray[np.float32]  # [B] in units of the outputs: what differences are measured in

    def given(self, signature: Signature) -> Inputs:
        """The inputs in the signature's order."""
        return tuple(self.inputs[spec.name] for spec in signature.inputs)


@dataclass(frozen=True)
class Artifact:
    """One verified version on disk."""

    folder: Path
    metadata: Metadata
    model: bytes
    golden: Golden


def read(folder: Path) -> Artifact:
    """Read one version and check that its files belong together.

    Raises:
        InvalidArtifact: a file is missing or unreadable, the metadata does not follow its schema or
            belongs to another folder, or model.onnx is not the file that the metadata describes.
    """
    try:
        metadata = parse((folder / METADATA).read_bytes())
        model = (folder / MODEL).read_bytes()
        golden = _read_golden(folder / GOLDEN, metadata.signature)
        _check_golden(golden, metadata.signature)
    except (OSError, ValueError) as error:
        label = f"{folder.parent.name}/{folder.name}"
        raise InvalidArtifact(f"{label}: {_reason(error)}", _kind(error)) from error
    if (metadata.name, str(metadata.version)) != (folder.parent.name, folder.name):
        raise InvalidArtifact(
            f"{folder.parent.name}/{folder.name}: metadata.json belongs to "
            f"{metadata.name}/{metadata.version}; the folder was renamed or copied",
            "metadata",
        )
    digest = hashlib.sha256(model).hexdigest()
    if digest != metadata.model_file.sha256:
        raise InvalidArtifact(
            f"{metadata.name}/{metadata.version}: model.onnx has sha256 {digest}, metadata.json "
            f"says {metadata.model_file.sha256}; the file is damaged or was replaced",
            "hash",
        )
    return Artifact(folder, metadata, model, golden)


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """metadata.json, indented for people."""
    (folder / METADATA).write_text(metadata.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_golden(folder: Path, golden: Golden) -> None:
    """golden.npz, the same bytes for the same arrays."""
    arrays = {**golden.inputs, **golden.outputs, SCALE: golden.scale}
    np.savez_compressed(folder / GOLDEN, **arrays)  # type: ignore[arg-type]  # of NumPy's own stubs


def _read_golden(path: Path, signature: Signature) -> Golden:
    data = io.BytesIO(path.read_bytes())
    try:
        with np.load(data, allow_pickle=False) as arrays:
            inputs = {spec.name: arrays[spec.name] for spec in signature.inputs}
            outputs = {spec.name: arrays[spec.name] for spec in signature.outputs}
            return Golden(inputs, outputs, arrays[SCALE])
    except Exception as error:  # numpy, zipfile and zlib raise half a dozen unrelated classes
        raise InvalidArtifact(f"{GOLDEN}: {type(error).__name__}: {error}", "golden") from error


def _check_golden(golden: Golden, signature: Signature) -> None:
    """Without a row, or with rows of other shapes, the replay would prove nothing."""
    sizes = signature.sizes(max(1, golden.scale.size), signature.paddings[-1])
    arrays = {**golden.inputs, **golden.outputs, SCALE: golden.scale}
    scale = TensorSpec(name=SCALE, dtype="float32", shape=(BATCH,))
    for spec in (*signature.inputs, *signature.outputs, scale):
        array, shape = arrays[spec.name], spec.fixed(sizes)
        if (str(array.dtype), array.shape) != (spec.dtype, shape):
            raise InvalidArtifact(
                f"{GOLDEN}: {spec.name} is {array.dtype} {array.shape}, expected {spec.dtype} "
                f"{shape}",
                "golden",
            )
    try:
        signature.check(golden.given(signature))
    except ValueError as error:
        raise InvalidArtifact(f"{GOLDEN}: {error}", "golden") from error


def _kind(error: Exception) -> str:
    if isinstance(error, InvalidArtifact):
        return error.kind
    return "files" if isinstance(error, OSError) else "metadata"


def _reason(error: Exception) -> str:
    """One line about a file that could not be read."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        return f"metadata.json: {where}: {first['msg']}"
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename).name} is missing"
    if isinstance(error, InvalidArtifact):
        return str(error)
    return f"{type(error).__name__}: {error}"
