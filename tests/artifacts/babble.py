"""A language model with random weights: it babbles, the same each time.

Not trained: a graph written by hand. An embedding of every token, GRU layers that begin with the
given state, and a product for the logits. Its golden answers come from `reference`, which is numpy
in float64.

Shape letters: B rows, V tokens, E numbers of an embedding, L layers, N hidden units.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from service.contract import artifact
from service.contract.artifact import Golden
from service.contract.language import (
    LOGITS,
    NEXT_STATE,
    STATE,
    TOKENS,
    LanguageEvaluation,
    LanguageMetadata,
    LanguageSignature,
)
from service.contract.metadata import TensorSpec, Training
from service.contract.tasks import parse
from tests.artifacts import edit

LETTERS = (" ", *"abcdefghijklmnopqrstuvwxyz", "<")
WORDS = ("the", "time", "traveller", "for", "so", "it", "will", "be")

Array = NDArray[np.float32]
_GOLDEN_ROWS = 5


@dataclass(frozen=True)
class Weights:
    """Of ONNX's operators, in its order of gates: z, r, h."""

    embedding: Array  # [V, E]
    gates: list[tuple[Array, Array, Array]]  # of each layer: W [3N, E or N], R [3N, N], B [6N]
    head: Array  # [N, V]

    @classmethod
    def random(cls, signature: LanguageSignature, seed: int = 0, embedded: int = 8) -> "Weights":
        """Large enough for logits that differ."""
        random = np.random.default_rng(seed)
        hidden, tokens = signature.hidden, len(signature.vocabulary)

        def some(*shape: int) -> Array:
            return random.normal(scale=2 / np.sqrt(shape[-1]), size=shape).astype(np.float32)

        sizes = [embedded] + [hidden] * (signature.layers - 1)
        gates = [
            (some(3 * hidden, size), some(3 * hidden, hidden), some(6 * hidden)) for size in sizes
        ]
        head = random.normal(scale=4 / np.sqrt(hidden), size=(hidden, tokens))
        return cls(some(tokens, embedded), gates, head.astype(np.float32))


def signature(
    vocabulary: tuple[str, ...] = LETTERS, layers: int = 1, hidden: int = 16
) -> LanguageSignature:
    """Of characters, or of words where the vocabulary holds some."""
    return LanguageSignature(
        unit="character" if max(map(len, vocabulary)) == 1 else "word",
        vocabulary=vocabulary,
        layers=layers,
        hidden=hidden,
    )


def reference(
    weights: Weights, tokens: NDArray[np.int64], state: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One step in float64: tokens [B] and state [B, L, N] -> logits [B, V] and the next state."""
    x = weights.embedding[tokens].astype(np.float64)
    states = []
    for layer, (w, r, b) in enumerate(weights.gates):
        h = state[:, layer].astype(np.float64)
        seen, remembered = x @ w.T.astype(np.float64), h @ r.T.astype(np.float64)
        seen, remembered = seen + b[: len(w)], remembered + b[len(w) :]
        (sz, sr, sn), (hz, hr, hn) = np.split(seen, 3, axis=1), np.split(remembered, 3, axis=1)
        update, reset = 1 / (1 + np.exp(-sz - hz)), 1 / (1 + np.exp(-sr - hr))
        x = (1 - update) * np.tanh(sn + reset * hn) + update * h
        states.append(x)
    return x @ weights.head.astype(np.float64), np.stack(states, axis=1)


def model(signature: LanguageSignature, weights: Weights) -> bytes:
    """The graph's file."""
    layers, first = range(signature.layers), np.array([0], np.int64)
    constants: dict[str, NDArray[Any]] = {
        "embedding": weights.embedding,
        "head": weights.head,
        "first": first,
    }
    before, after = [f"before{at}" for at in layers], [f"x{at + 1}" for at in layers]
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("Unsqueeze", ["embedded", "first"], ["x0"]),
        helper.make_node("Transpose", ["state"], ["states"], perm=[1, 0, 2]),
        helper.make_node("Split", ["states"], before, axis=0, num_outputs=len(layers)),
    ]
    for at, (w, r, b) in enumerate(weights.gates):
        constants |= {f"w{at}": w[np.newaxis], f"r{at}": r[np.newaxis], f"b{at}": b[np.newaxis]}
        given = [f"x{at}", f"w{at}", f"r{at}", f"b{at}", "", before[at]]
        hidden = signature.hidden
        nodes.append(
            helper.make_node(
                "GRU", given, ["", after[at]], hidden_size=hidden, linear_before_reset=1
            )
        )
    nodes += [
        helper.make_node("Squeeze", [after[-1], "first"], ["top"]),
        helper.make_node("MatMul", ["top", "head"], ["logits"]),
        helper.make_node("Concat", after, ["all"], axis=0),
        helper.make_node("Transpose", ["all"], ["next_state"], perm=[1, 0, 2]),
    ]
    inputs, outputs = map(_infos, (signature.inputs, signature.outputs))
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "babble", inputs, outputs, initializers)
    opset = [helper.make_opsetid("", 20)]
    made: bytes = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    return made


def write(models: Path, name: str = "babble", signed: LanguageSignature | None = None) -> Path:
    """Publish it into a folder of models; its folder."""
    signed = signed or signature()
    weights = Weights.random(signed)
    folder = models / name / "1"
    folder.mkdir(parents=True)
    artifact.write_golden(folder, _golden(signed, weights))
    tiny = parse((edit.TINY / artifact.METADATA).read_bytes())
    metadata = LanguageMetadata(
        schema_version=1,
        name=name,
        version=1,
        inputs=signed.inputs,
        outputs=signed.outputs,
        signature=signed,
        model_file=tiny.model_file,
        training=Training(**tiny.training.model_dump(exclude={"series"})),
        evaluation=LanguageEvaluation(
            best_baseline="bigrams", beats_baselines=False, held_out_tokens=0, perplexity={}
        ),
        parity=tiny.parity,
    )
    artifact.write_metadata(folder, metadata)
    edit.replace_model(folder, model(signed, weights))
    return folder


def _golden(signature: LanguageSignature, weights: Weights) -> Golden:
    random = np.random.default_rng(1)
    tokens = random.integers(0, len(signature.vocabulary), _GOLDEN_ROWS)
    shape = (_GOLDEN_ROWS, signature.layers, signature.hidden)
    state = random.uniform(-1, 1, shape).astype(np.float32)
    logits, after = reference(weights, tokens, state)
    return Golden(
        {TOKENS: tokens, STATE: state},
        {LOGITS: logits.astype(np.float32), NEXT_STATE: after.astype(np.float32)},
        np.ones(_GOLDEN_ROWS, np.float32),
    )


def _infos(specs: tuple[TensorSpec, ...]) -> list[ValueInfoProto]:
    kinds = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}
    return [helper.make_tensor_value_info(one.name, kinds[one.dtype], one.shape) for one in specs]
