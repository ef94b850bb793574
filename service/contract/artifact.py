"""The files of one version: read, verify, write. One folder is the whole forecaster."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.contract.metadata import ForecastSignature, Metadata

MODEL = "model.onnx"
METADATA = "metadata.json"
GOLDEN = "golden.npz"
REPORT = "report"


class InvalidArtifact(ValueError):
    """A version whose files are missing, damaged or in disagreement with each other."""


@dataclass(frozen=True)
class Golden:
    """A few inputs with torch's own answers, replayed wherever the model is to be served."""

    context: NDArray[np.float32]  # [B, C] NaN = missing, right-padded
    lengths: NDArray[np.int64]  # [B]
    quantiles: NDArray[np.float32]  # [B, H, Q]
    scale: NDArray[np.float32]  # [B] data units: what differences are measured in

    def series(self) -> list[NDArray[np.float32]]:
        """The rows without their padding."""
        return [row[:n] for row, n in zip(self.context, self.lengths, strict=True)]


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
        metadata = Metadata.model_validate_json((folder / METADATA).read_bytes())
        model = (folder / MODEL).read_bytes()
        golden = _read_golden(folder / GOLDEN)
        _check_golden(golden, metadata.signature)
    except (OSError, ValueError) as error:
        raise InvalidArtifact(f"{folder.parent.name}/{folder.name}: {_reason(error)}") from error
    if (metadata.name, str(metadata.version)) != (folder.parent.name, folder.name):
        raise InvalidArtifact(
            f"{folder.parent.name}/{folder.name}: metadata.json belongs to "
            f"{metadata.name}/{metadata.version}; the folder was renamed or copied"
        )
    digest = hashlib.sha256(model).hexdigest()
    if digest != metadata.model_file.sha256:
        raise InvalidArtifact(
            f"{metadata.name}/{metadata.version}: model.onnx has sha256 {digest}, metadata.json "
            f"says {metadata.model_file.sha256}; the file is damaged or was replaced"
        )
    return Artifact(folder, metadata, model, golden)


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """metadata.json, indented for people."""
    (folder / METADATA).write_text(metadata.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_golden(folder: Path, golden: Golden) -> None:
    """golden.npz, the same bytes for the same arrays."""
    np.savez_compressed(
        folder / GOLDEN,
        context=golden.context,
        lengths=golden.lengths,
        quantiles=golden.quantiles,
        scale=golden.scale,
    )


def _read_golden(path: Path) -> Golden:
    data = io.BytesIO(path.read_bytes())
    try:
        with np.load(data, allow_pickle=False) as arrays:
            names = ("context", "lengths", "quantiles", "scale")
            return Golden(*(arrays[name] for name in names))
    except Exception as error:  # numpy, zipfile and zlib raise half a dozen unrelated classes
        raise InvalidArtifact(f"{GOLDEN}: {type(error).__name__}: {error}") from error


def _check_golden(golden: Golden, signature: ForecastSignature) -> None:
    """Without a row, or with rows of other shapes, the replay would prove nothing."""
    rows = max(1, golden.lengths.size)
    for name, dtype, shape in (
        ("context", "float32", (rows, signature.context_length)),
        ("lengths", "int64", (rows,)),
        ("quantiles", "float32", (rows, signature.horizon, len(signature.quantile_levels))),
        ("scale", "float32", (rows,)),
    ):
        array = getattr(golden, name)
        if (str(array.dtype), array.shape) != (dtype, shape):
            raise InvalidArtifact(
                f"{GOLDEN}: {name} is {array.dtype} {array.shape}, expected {dtype} {shape}"
            )


def _reason(error: Exception) -> str:
    """One line about a file that could not be read."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        return f"metadata.json: {where}: {first['msg']}"
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename).name} is missing"
    if isinstance(error, InvalidArtifact):
        return str(error)
    return f"{type(error).__name__}: {error}"
