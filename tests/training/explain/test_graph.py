"""GRU nodes read, watched and forced, judged by onnxruntime's own answers."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.artifacts import edit, ledger
from tests.training.explain import models
from training.explain import graph
from training.explain.question import CannotExplain
from training.gru import Convention, reference_gru

WEIGHTS = models.weights(3, 5, 4)
BOTH = pytest.mark.parametrize("convention", list(Convention))
X = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)  # [S, B, I]
GIVEN = {
    "x": X,
    "steps": np.array([7, 4], np.int32),
    "start": np.random.default_rng(1).uniform(-1, 1, (1, 2, 5)).astype(np.float32),
}


def run(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, GIVEN), strict=True))


def bare(**attributes: Any) -> onnx.ModelProto:
    return models.one_gru(WEIGHTS, 1, **attributes)


@BOTH
def test_weights_come_back_in_the_order_of_torch(convention: Convention) -> None:
    (found,) = graph.layers(models.one_gru(WEIGHTS, convention.linear_before_reset))
    assert found.convention is convention
    for part, expected in zip(
        (found.w_ih, found.w_hh, found.b_ih, found.b_hh), WEIGHTS, strict=True
    ):
        np.testing.assert_array_equal(part, expected)


@BOTH
def test_what_is_watched_is_what_the_node_sees_and_answers(convention: Convention) -> None:
    model = models.one_gru(WEIGHTS, convention.linear_before_reset)
    watched = graph.layers(model)
    answers = run(graph.probed(model, watched))
    for name in ("x", "steps"):
        np.testing.assert_array_equal(answers[graph.probe(watched[0], name)], GIVEN[name])
    np.testing.assert_array_equal(answers[graph.probe(watched[0], "initial")], GIVEN["start"])
    states, _ = reference_gru(
        X.transpose(1, 0, 2).astype(np.float64),
        GIVEN["steps"].astype(np.int64),
        WEIGHTS,
        convention,
        GIVEN["start"][0].astype(np.float64),
    )
    seen = answers[graph.probe(watched[0], "states")][:, 0].transpose(1, 0, 2)
    np.testing.assert_allclose(seen, states, atol=1e-6)


def test_watching_changes_no_bit_of_the_answer_and_not_the_model_itself() -> None:
    model = bare()
    before = model.SerializeToString()
    opened = run(graph.probed(model, graph.layers(model)))
    np.testing.assert_array_equal(opened["final"], run(model)["final"])
    assert model.SerializeToString() == before


@BOTH
@pytest.mark.parametrize(("r", "z"), [(0, None), (1, None), (None, 0), (None, 1), (1, 0)])
def test_the_runtime_answers_as_the_reference_with_the_gate_held(
    convention: Convention, r: int | None, z: int | None
) -> None:
    model = models.one_gru(WEIGHTS, convention.linear_before_reset)
    gates = {name: value for name, value in (("r", r), ("z", z)) if value is not None}
    w_ih, w_hh, b_ih, b_hh = (part.copy() for part in WEIGHTS)
    for name, value in gates.items():  # weights of nothing and a bias beyond any float32
        rows = slice(0, 5) if name == "r" else slice(5, 10)
        w_ih[rows] = w_hh[rows] = b_hh[rows] = 0.0
        b_ih[rows] = 700.0 if value else -700.0
    _, final = reference_gru(
        X.transpose(1, 0, 2).astype(np.float64),
        GIVEN["steps"].astype(np.int64),
        [w_ih, w_hh, b_ih, b_hh],
        convention,
        GIVEN["start"][0].astype(np.float64),
    )
    np.testing.assert_allclose(run(graph.forced(model, gates))["final"][0], final, atol=1e-6)


def test_with_an_update_gate_held_at_one_the_state_stays_bit_for_bit() -> None:
    held = run(graph.forced(bare(), {"z": 1}))["final"]
    np.testing.assert_array_equal(held, GIVEN["start"])


def test_nothing_forced_answers_as_trained() -> None:
    np.testing.assert_array_equal(run(graph.forced(bare(), {}))["final"], run(bare())["final"])


def test_a_node_without_a_bias_can_be_read_and_forced() -> None:
    model = bare()
    model.graph.node[0].input[3] = ""
    (found,) = graph.layers(model)
    assert not found.b_ih.any()
    assert not found.b_hh.any()
    held = run(graph.forced(model, {"z": 1}))["final"]
    np.testing.assert_array_equal(held, GIVEN["start"])


def test_nodes_that_share_weights_are_one_layer_and_all_are_forced() -> None:
    model = bare()
    again = onnx.NodeProto()
    again.CopyFrom(model.graph.node[0])
    again.output[:] = ["", "second"]
    again.input[5] = "final"
    copied = numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[2]), "copied")
    again.input[3] = "copied"  # the same numbers by another name
    model.graph.node.append(again)
    model.graph.initializer.append(copied)
    model.graph.output.append(
        helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, "batch", 5])
    )
    assert [layer.place for layer in graph.layers(model)] == [0]
    held = run(graph.forced(model, {"z": 1}))
    np.testing.assert_array_equal(held["second"], GIVEN["start"])


def test_layers_of_other_weights_are_told_apart() -> None:
    assert [layer.place for layer in graph.layers(models.speaker())] == [0, 1]


def test_the_committed_model_has_one_layer() -> None:
    (found,) = graph.layers(onnx.load(edit.TINY / "model.onnx"))
    assert (found.hidden, found.convention) == (8, Convention.RESET_AFTER)


def test_a_model_without_a_gru_is_refused() -> None:
    with pytest.raises(CannotExplain, match="no GRU node .its nodes: Add|no GRU node"):
        graph.layers(onnx.load_from_string(ledger.model()))


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"direction": "reverse"}, "direction b'reverse'; only b'forward'"),
        ({"layout": 1}, "layout 1; only 0"),
        ({"clip": 1.0}, "sets ['clip']"),
        ({"activations": ["Sigmoid", "Relu"]}, "sets ['activations']"),
    ],
)
def test_a_node_of_another_form_is_refused_by_its_attribute(
    attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CannotExplain) as caught:
        graph.layers(bare(**attributes))
    assert said in str(caught.value)
    assert "GRU node 0" in str(caught.value)


def test_weights_that_another_node_computes_are_refused_by_name() -> None:
    model = bare()
    model.graph.node[0].input[1] = "computed"
    with pytest.raises(CannotExplain, match="takes computed from other nodes"):
        graph.layers(model)
