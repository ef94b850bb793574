"""Small models with GRU nodes, made without torch: a graph by hand, a speaker and an appraiser."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.contract import artifact
from service.contract.artifact import Golden
from service.contract.language import LanguageEvaluation, LanguageMetadata, LanguageSignature
from service.contract.metadata import Metadata, ModelFile, Parity, Signature, Training
from service.contract.regression import (
    FEATURES,
    PREDICTION,
    RegressionEvaluation,
    RegressionMetadata,
    RegressionSignature,
)

Floats = NDArray[np.float64]
Weights = list[Floats]  # w_ih, w_hh, b_ih, b_hh in the gate order r, z, n

SPEAKER = LanguageSignature(unit="character", vocabulary=tuple(" abcdef"), layers=2, hidden=5)
APPRAISER = RegressionSignature(features=("area", "rooms", "age"), target="price")


def weights(inputs: int, hidden: int, seed: int = 0, size: float = 0.8) -> Weights:
    """Random weights whose float32 form is exact."""
    random = np.random.default_rng(seed)
    shapes = ((3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,))
    drawn = [random.normal(0, size, shape).astype(np.float32) for shape in shapes]
    return [part.astype(np.float64) for part in drawn]


def onnx_order(weight: Floats) -> NDArray[np.float32]:
    """Gates r, z, n -> z, r, h."""
    r, z, n = np.split(weight, 3)
    return np.concatenate([z, r, n]).astype(np.float32)


def constants(given: Weights, name: str) -> list[TensorProto]:
    """The initializers of a node: name_w, name_r, name_b."""
    w_ih, w_hh, b_ih, b_hh = map(onnx_order, given)
    bias = np.concatenate([b_ih, b_hh])
    parts = {"w": w_ih, "r": w_hh, "b": bias}
    return [numpy_helper.from_array(part[None], f"{name}_{key}") for key, part in parts.items()]


def model(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, list[int | str]]],
    outputs: Mapping[str, list[int | str]],
    initializers: list[TensorProto],
) -> onnx.ModelProto:
    """A graph of opset 20."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def one_gru(given: Weights, linear_before_reset: int, **attributes: Any) -> onnx.ModelProto:
    """x [S, B, I], steps [B], start [1, B, N] -> final [1, B, N]; all states go nowhere."""
    hidden = given[1].shape[1]
    node = helper.make_node(
        "GRU",
        ["x", "gru_w", "gru_r", "gru_b", "steps", "start"],
        ["", "final"],
        hidden_size=hidden,
        linear_before_reset=linear_before_reset,
        **attributes,
    )
    return model(
        [node],
        {
            "x": (TensorProto.FLOAT, ["time", "batch", given[0].shape[1]]),
            "steps": (TensorProto.INT32, ["batch"]),
            "start": (TensorProto.FLOAT, [1, "batch", hidden]),
        },
        {"final": [1, "batch", hidden]},
        constants(given, "gru"),
    )


def speaker() -> onnx.ModelProto:
    """Two layers, one of each convention, over one-hot characters."""
    count, hidden = len(SPEAKER.vocabulary), SPEAKER.hidden
    sizes = (count, hidden)
    layers = [weights(size, hidden, seed) for seed, size in enumerate(sizes)]
    out = np.random.default_rng(9).normal(0, 2, (hidden, count)).astype(np.float32)
    numbers = {"zero": np.array(0), "one": np.array(1), "depth": np.array([count])}
    nodes = [
        helper.make_node("OneHot", ["tokens", "depth", "ends"], ["hot"]),
        helper.make_node("Unsqueeze", ["hot", "first"], ["x_0"]),
        helper.make_node("Transpose", ["state"], ["by_layer"], perm=[1, 0, 2]),
        helper.make_node("Split", ["by_layer"], ["start_0", "start_1"], num_outputs=2),
    ]
    for k in (0, 1):
        given = [f"x_{k}", f"gru{k}_w", f"gru{k}_r", f"gru{k}_b", "", f"start_{k}"]
        nodes.append(
            helper.make_node(
                "GRU", given, [f"y_{k}", f"h_{k}"], hidden_size=hidden, linear_before_reset=k
            )
        )
        nodes.append(helper.make_node("Squeeze", [f"y_{k}", "second"], [f"x_{k + 1}"]))
    nodes += [
        helper.make_node("Squeeze", ["x_2", "first"], ["top"]),
        helper.make_node("MatMul", ["top", "out"], ["logits"]),
        helper.make_node("Concat", ["h_0", "h_1"], ["both"], axis=0),
        helper.make_node("Transpose", ["both"], ["next_state"], perm=[1, 0, 2]),
    ]
    initializers = [numpy_helper.from_array(v.astype(np.int64), k) for k, v in numbers.items()]
    initializers += [
        numpy_helper.from_array(np.array([0.0, 1.0], np.float32), "ends"),
        numpy_helper.from_array(np.array([0]), "first"),
        numpy_helper.from_array(np.array([1]), "second"),
        numpy_helper.from_array(out, "out"),
        *(part for k, given in enumerate(layers) for part in constants(given, f"gru{k}")),
    ]
    state: list[int | str] = ["batch", 2, hidden]
    return model(
        nodes,
        {"tokens": (TensorProto.INT64, ["batch"]), "state": (TensorProto.FLOAT, state)},
        {"logits": ["batch", count], "next_state": state},
        initializers,
    )


def appraiser() -> onnx.ModelProto:
    """A GRU over one step, whose units are summed."""
    nodes = [
        helper.make_node("Unsqueeze", ["features", "first"], ["x"]),
        helper.make_node("GRU", ["x", "gru_w", "gru_r", "gru_b"], ["", "h"], hidden_size=4),
        helper.make_node("Squeeze", ["h", "first"], ["units"]),
        helper.make_node("ReduceSum", ["units", "second"], ["prediction"], keepdims=0),
    ]
    initializers = [
        numpy_helper.from_array(np.array([0]), "first"),
        numpy_helper.from_array(np.array([1]), "second"),
        *constants(weights(3, 4, 3), "gru"),
    ]
    features: list[int | str] = ["batch", 3]
    inputs = {"features": (TensorProto.FLOAT, features)}
    return model(nodes, inputs, {"prediction": ["batch"]}, initializers)


def write_speaker(models: Path) -> Path:
    """Publish `speaker`; its folder."""
    zeros = np.zeros((1, 2, SPEAKER.hidden), np.float32)
    logits = np.zeros((1, len(SPEAKER.vocabulary)), np.float32)
    inputs, outputs = {"tokens": np.array([1]), "state": zeros}, {"logits": logits}
    golden = Golden(inputs, {**outputs, "next_state": zeros}, np.ones(1, np.float32))
    evaluation = LanguageEvaluation(
        best_baseline="none", beats_baselines=True, held_out_tokens=0, perplexity={}
    )
    common = _common("speaker", speaker(), SPEAKER)
    metadata = LanguageMetadata(**common, signature=SPEAKER, evaluation=evaluation)
    return _write(models, metadata, speaker(), golden)


def write_appraiser(models: Path) -> Path:
    """Publish `appraiser`; its folder."""
    row, zero = np.array([[0.5, -1.0, 2.0]], np.float32), np.zeros(1, np.float32)
    golden = Golden({FEATURES: row}, {PREDICTION: zero}, np.ones(1, np.float32))
    evaluation = RegressionEvaluation(best_baseline="none", beats_baselines=True, rows=1, scores={})
    common = _common("appraiser", appraiser(), APPRAISER)
    metadata = RegressionMetadata(**common, signature=APPRAISER, evaluation=evaluation)
    return _write(models, metadata, appraiser(), golden)


def _common(name: str, graph: onnx.ModelProto, signature: Signature) -> dict[str, Any]:
    data = graph.SerializeToString()
    digest = hashlib.sha256(data).hexdigest()
    return {
        "schema_version": 1,
        "name": name,
        "version": 1,
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "model_file": ModelFile(sha256=digest, size=len(data), opset=20),
        "training": Training(
            data_fingerprint=digest, observations=1, seed=0, steps=0, network={}, libraries={}
        ),
        "parity": {"cpu": Parity(atol=0.0, rtol=0.0, rows=1, worst=0.0, share=0.0, cases=())},
    }


def _write(models: Path, metadata: Metadata, graph: onnx.ModelProto, golden: Golden) -> Path:
    folder = models / metadata.name / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    artifact.write_golden(folder, golden)
    artifact.write_metadata(folder, metadata)
    return folder
