"""A trained network of any task -> a published version: export, golden answers, proof, report."""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from service.contract import artifact
from service.contract.artifact import Artifact
from service.contract.metadata import Judgement, Metadata, ModelFile, Signature, Training
from service.runtime import Runtime
from training import export, parity
from training.gru import Convention
from training.parity import Answer, Families

LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Candidate:
    """All that a version is made of."""

    network: nn.Module
    layers: Sequence[Convention]  # of the GRU nodes of its graph, in order
    signature: Signature
    families: Families  # the rows that parity is proven on
    answer: Answer  # torch's, to such rows
    kind: Callable[..., Metadata]  # the class of the task
    training: Training
    evaluation: Judgement
    draw: Callable[[Path], None]  # the pictures, into a folder


def publish(
    candidate: Candidate, name: str, models: Path, say: Callable[[str], None] = print
) -> Path:
    """Export, prove and publish the next version; its folder.

    Args:
        say: receives the parity table.

    Raises:
        ExportFailed, InvalidArtifact, ParityFailed: nothing is published.
    """

    def write(folder: Path, version: int) -> None:
        signature, answer = candidate.signature, candidate.answer
        path = folder / artifact.MODEL
        model_file = export.write_model(candidate.network, signature, candidate.layers, path)
        golden = parity.golden(answer, signature, candidate.families)
        artifact.write_golden(folder, golden)
        metadata = _metadata(candidate, name, version, model_file)
        runtime = Runtime(Artifact(folder, metadata, path.read_bytes(), golden))
        proven = parity.check(answer, runtime, candidate.families)
        say(parity.table(proven))
        parities = {runtime.provider: proven}
        artifact.write_metadata(folder, metadata.model_copy(update={"parity": parities}))
        candidate.draw(folder / artifact.REPORT)

    return export.publish(models, name, write)


def libraries(*also: str) -> dict[str, str]:
    """The versions of what every model is made with, and of what else this one was."""
    return {name: importlib.metadata.version(name) for name in (*LIBRARIES, *also)}


def _metadata(candidate: Candidate, name: str, version: int, model_file: ModelFile) -> Metadata:
    """What is known of a version before its parity is."""
    signature = candidate.signature
    return candidate.kind(
        schema_version=1,
        name=name,
        version=version,
        inputs=signature.inputs,
        outputs=signature.outputs,
        signature=signature,
        model_file=model_file,
        training=candidate.training,
        evaluation=candidate.evaluation,
        parity={},
    )
