"""The GRU nodes of an ONNX graph: read, opened to be watched, and with gates forced.

The operator joins its gates in the order z, r, n; here the order is PyTorch's, r, z, n, as in
`training.gru`. Nodes with the same weights are one layer, shown where it runs first: a model that
feeds its own forecasts back has one node for each of them.

Shapes: I inputs, N hidden units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.explain.question import CannotExplain, Floats
from training.gru import Convention

# A bias that no input outweighs: sigma of it is 0 or 1, also in float64.
SATURATED = 1e4
PROBES = {"x": TensorProto.FLOAT, "steps": TensorProto.INT32, "initial": TensorProto.FLOAT}
_INPUTS = {"x": 0, "steps": 4, "initial": 5}  # places among the inputs of the operator
_GATES = "rzn"
_USUAL = {"direction": b"forward", "layout": 0}


@dataclass(frozen=True, eq=False)
class Layer:
    """One GRU: w_ih [3N, I], w_hh [3N, N], b_ih [3N] and b_hh [3N] in the gate order r, z, n."""

    place: int  # of its first node among all GRU nodes
    convention: Convention
    w_ih: Floats
    w_hh: Floats
    b_ih: Floats
    b_hh: Floats

    @property
    def hidden(self) -> int:
        """N."""
        return int(self.w_hh.shape[1])

    def gate(self, name: str) -> slice:
        """The rows of gate r or z, or of the candidate n."""
        first = _GATES.index(name) * self.hidden
        return slice(first, first + self.hidden)

    def biased(self, name: str, more: float) -> "Layer":
        """The same layer with more at the input of one gate."""
        b_ih = self.b_ih.copy()
        b_ih[self.gate(name)] += more
        return replace(self, b_ih=b_ih)

    def forced(self, gates: Mapping[str, int]) -> "Layer":
        """The same layer with gates held at 0 or at 1, whatever their input."""
        layer = self
        for name, value in gates.items():
            layer = layer.biased(name, SATURATED if value else -SATURATED)
        return layer

    def same_weights(self, other: "Layer") -> bool:
        """Whether both compute the same."""
        mine, theirs = (
            (one.w_ih, one.w_hh, one.b_ih, one.b_hh, np.array(one.convention.linear_before_reset))
            for one in (self, other)
        )
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def nodes(model: onnx.ModelProto) -> list[Layer]:
    """Every GRU node, in the order of the graph.

    Raises:
        CannotExplain: there is none, or one of a form that `training.gru` does not describe.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = [_read(node, k, weights) for k, node in enumerate(_recurrent(model))]
    if not found:
        kinds = ", ".join(sorted({node.op_type for node in model.graph.node})) or "none"
        raise CannotExplain(
            f"model.onnx has no GRU node (its nodes: {kinds}), so there are no gates to show"
        )
    return found


def layers(model: onnx.ModelProto) -> list[Layer]:
    """The GRU nodes of different weights; see `nodes`."""
    distinct: list[Layer] = []
    for node in nodes(model):
        if not any(node.same_weights(known) for known in distinct):
            distinct.append(node)
    return distinct


def probed(model: onnx.ModelProto, watched: Sequence[Layer]) -> onnx.ModelProto:
    """The graph with what enters and leaves these layers among its outputs, named by `probe`."""
    opened = _copy(model)
    recurrent = _recurrent(opened)
    for layer in watched:
        node = recurrent[layer.place]
        for name, kind in PROBES.items():
            if source := _input(node, _INPUTS[name]):
                _add_output(opened, source, probe(layer, name), kind)
        if not node.output[0]:  # only the final state is asked of it
            node.output[0] = f"{probe(layer, 'states')}_own"
        _add_output(opened, node.output[0], probe(layer, "states"), TensorProto.FLOAT)
    return opened


def probe(layer: Layer, name: str) -> str:
    """The output of a probed graph that holds x, steps, initial or states of a layer."""
    return f"gru_{layer.place}_{name}"


def forced(model: onnx.ModelProto, gates: Mapping[str, int]) -> onnx.ModelProto:
    """The graph with gates of every GRU node held at 0 or at 1, by their bias.

    Args:
        gates: "r" or "z" -> 0 or 1.
    """
    edited = _copy(model)
    for node, read in zip(_recurrent(edited), nodes(model), strict=True):
        held = read.forced(gates)
        bias = np.concatenate([_to_onnx(held, part) for part in (held.b_ih, held.b_hh)])
        name = f"gru_{read.place}_forced"
        edited.graph.initializer.append(
            numpy_helper.from_array(bias.astype(np.float32)[np.newaxis], name)
        )
        node.input.extend([""] * (4 - len(node.input)))
        node.input[3] = name
    return edited


def _recurrent(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "GRU"]


def _read(node: onnx.NodeProto, place: int, weights: Mapping[str, TensorProto]) -> Layer:
    attributes: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    for name, usual in _USUAL.items():
        if (came := attributes.get(name, usual)) != usual:
            raise CannotExplain(
                f"GRU node {place} has {name} {came!r}; only {usual!r} is explained"
            )
    if unknown := {"activations", "clip"} & attributes.keys():
        raise CannotExplain(
            f"GRU node {place} sets {sorted(unknown)}; only sigma and tanh without a clip are "
            "explained"
        )
    if computed := sorted({name for name in node.input[1:4] if name} - weights.keys()):
        raise CannotExplain(
            f"GRU node {place} takes {', '.join(computed)} from other nodes; its weights must be "
            "constants of the graph"
        )
    w, r = (numpy_helper.to_array(weights[name])[0].astype(np.float64) for name in node.input[1:3])
    hidden = r.shape[1]
    name = _input(node, 3)
    b = numpy_helper.to_array(weights[name])[0] if name else np.zeros(6 * hidden)
    before = not attributes.get("linear_before_reset", 0)
    return Layer(
        place,
        Convention.RESET_BEFORE if before else Convention.RESET_AFTER,
        *(_from_onnx(part) for part in (w, r, *np.split(b.astype(np.float64), 2))),
    )


def _from_onnx(weight: Floats) -> Floats:
    """Gate blocks z, r, n -> r, z, n."""
    z, r, n = np.split(weight, 3)
    return np.concatenate([r, z, n])


def _to_onnx(layer: Layer, weight: Floats) -> Floats:
    """Gate blocks r, z, n -> z, r, n."""
    return np.concatenate([weight[layer.gate(name)] for name in "zrn"])


def _input(node: onnx.NodeProto, at: int) -> str:
    """The name of an input, empty where it is left out."""
    return node.input[at] if at < len(node.input) else ""


def _add_output(model: onnx.ModelProto, source: str, name: str, kind: int) -> None:
    """By a node of its own, since `source` may be an input or a constant of the graph."""
    model.graph.node.append(helper.make_node("Identity", [source], [name]))
    model.graph.output.append(helper.make_tensor_value_info(name, kind, None))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
