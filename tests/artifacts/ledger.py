"""A regression whose answer shows each of its columns.

Not learned: a graph written by hand, price = 3 * area + rooms * age - 0.5 * rooms. Its steps are
those of `answer`, each rounded to float32, so both have the same bits.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx.parser
from numpy.typing import NDArray

from service.contract import artifact
from service.contract.artifact import Golden
from service.contract.metadata import ModelFile, Parity, Training
from service.contract.regression import (
    FEATURES,
    PREDICTION,
    RegressionEvaluation,
    RegressionMetadata,
    RegressionScores,
    RegressionSignature,
)

SIGNATURE = RegressionSignature(features=("area", "rooms", "age"), target="price")
_GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
ledger (float[batch, 3] features) => (float[batch] prediction)
<
    int64 zero = {0}, int64 one = {1}, int64 two = {2}, float three = {3.0}, float half = {0.5}
> {
    area = Gather <axis = 1> (features, zero)
    rooms = Gather <axis = 1> (features, one)
    age = Gather <axis = 1> (features, two)
    scaled = Mul (area, three)
    both = Mul (rooms, age)
    less = Mul (rooms, half)
    sum = Add (scaled, both)
    prediction = Sub (sum, less)
}
"""


def model() -> bytes:
    """The graph's file."""
    made: bytes = onnx.parser.parse_model(_GRAPH).SerializeToString()
    return made


def answer(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph answers to rows [B, 3]: [B]."""
    area, rooms, age = features.T
    found: NDArray[np.float32] = area * np.float32(3) + rooms * age - rooms * np.float32(0.5)
    return found


def features(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Random rows [B, 3]."""
    drawn = np.random.default_rng(seed).normal(0, 100, (rows, len(SIGNATURE.features)))
    return drawn.astype(np.float32)


def write(models: Path, name: str = "ledger", signature: RegressionSignature = SIGNATURE) -> Path:
    """Publish it into a folder of models; its folder.

    Args:
        signature: other names of the three features.
    """
    folder = models / name / "1"
    folder.mkdir(parents=True)
    inputs, graph = features(4), model()
    golden = Golden({FEATURES: inputs}, {PREDICTION: answer(inputs)}, np.ones(4, np.float32))
    artifact.write_golden(folder, golden)
    (folder / "model.onnx").write_bytes(graph)
    digest = hashlib.sha256(graph).hexdigest()
    metadata = RegressionMetadata(
        schema_version=1,
        name=name,
        version=1,
        inputs=signature.inputs,
        outputs=signature.outputs,
        signature=signature,
        model_file=ModelFile(sha256=digest, size=len(graph), opset=20),
        training=Training(
            data_fingerprint=digest, observations=4, seed=0, steps=0, network={}, libraries={}
        ),
        evaluation=RegressionEvaluation(
            best_baseline="mean",
            beats_baselines=True,
            rows=4,
            scores={"model": RegressionScores(r2=1.0, rmse=0.0)},
        ),
        parity={"cpu": Parity(atol=0.0, rtol=0.0, rows=4, worst=0.0, share=0.0, cases=())},
    )
    artifact.write_metadata(folder, metadata)
    return folder
