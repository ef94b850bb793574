"""The GRU cell: every form of it against the float64 reference, in both conventions."""

import math
from functools import partial
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import Tensor

from training import export
from training.gru import Convention, GRULayer, gru_step, reference_gru

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
BOTH = pytest.mark.parametrize("convention", list(Convention))


def make(
    convention: Convention,
    inputs: int,
    hidden: int,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> GRULayer:
    torch.manual_seed(seed)
    return GRULayer(inputs, hidden, convention).to(dtype).eval()


def weights_of(layer: GRULayer) -> Weights:
    w_ih, w_hh, b_ih, b_hh = layer.weights.parameters()
    return w_ih, w_hh, b_ih, b_hh


def reference(
    layer: GRULayer, x: Tensor, steps: Tensor, initial: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    weights = [weight.detach().double().numpy() for weight in weights_of(layer)]
    before = None if initial is None else initial.double().numpy()
    return reference_gru(x.double().numpy(), steps.numpy(), weights, layer.convention, before)


def step_by_step(
    x: Tensor,
    initial: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    convention: Convention,
) -> tuple[Tensor, ...]:
    """The states [B, N] of all steps, each from `gru_step`."""
    states = [initial]
    for at in x.unbind(1):
        states.append(gru_step(at, states[-1], w_ih, w_hh, b_ih, b_hh, convention))
    return tuple(states[1:])


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@BOTH
@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    length=st.integers(1, 12),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 9),
    given_initial=st.booleans(),
    training=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_the_layer_equals_the_float64_reference_at_every_valid_step(
    convention: Convention,
    batch: int,
    length: int,
    inputs: int,
    hidden: int,
    given_initial: bool,
    training: bool,
    seed: int,
) -> None:
    layer = make(convention, inputs, hidden, seed)
    x = torch.randn(batch, length, inputs)
    steps = torch.randint(1, length + 1, (batch,))
    initial = torch.randn(batch, hidden) if given_initial else None
    with torch.set_grad_enabled(training):
        states, final = (output.detach() for output in layer(x, steps, initial))
    expected_states, expected_final = reference(layer, x, steps, initial)
    for row in range(batch):
        valid = slice(0, int(steps[row]))
        np.testing.assert_allclose(states[row, valid], expected_states[row, valid], atol=1e-6)
    np.testing.assert_allclose(final, expected_final, atol=1e-6)


def test_the_written_out_reset_after_is_what_torch_computes() -> None:
    layer = make(Convention.RESET_AFTER, 3, 8, dtype=torch.float64)
    x, initial = torch.randn(4, 10, 3).double(), torch.randn(4, 8).double()
    with torch.no_grad():
        for before in (None, initial):
            expected, _ = layer.weights(x, None if before is None else before.unsqueeze(0))
            written_out = layer._written_out(x, before)
            torch.testing.assert_close(written_out, expected, atol=1e-14, rtol=1e-12)


@BOTH
def test_gradients_of_the_written_out_cell_match_finite_differences(
    convention: Convention,
) -> None:
    torch.manual_seed(0)
    shapes = [(2, 3), (2, 4), (12, 3), (12, 4), (12,), (12,)]
    tensors = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(partial(gru_step, convention=convention), tensors)


@BOTH
def test_gradients_through_several_written_out_steps_match_finite_differences(
    convention: Convention,
) -> None:
    torch.manual_seed(0)
    shapes = [(2, 4, 2), (2, 3), (9, 2), (9, 3), (9,), (9,)]  # x, the initial state, weights
    tensors = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(partial(step_by_step, convention=convention), tensors)


def test_gradients_of_the_written_out_reset_after_are_those_of_torch() -> None:
    layer = make(Convention.RESET_AFTER, 3, 8, dtype=torch.float64)
    x = torch.randn(4, 10, 3, dtype=torch.float64, requires_grad=True)
    initial = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
    leaves = [x, initial, *weights_of(layer)]
    states, _ = layer.weights(x, initial.unsqueeze(0))
    expected = torch.autograd.grad(states.square().sum(), leaves)
    found = torch.autograd.grad(layer._written_out(x, initial).square().sum(), leaves)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


@BOTH
def test_gradients_of_the_layer_reach_the_initial_state(convention: Convention) -> None:
    layer = make(convention, 2, 5, dtype=torch.float64)
    x = torch.randn(3, 6, 2, dtype=torch.float64, requires_grad=True)
    initial = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    steps, weights = torch.tensor([1, 6, 4]), weights_of(layer)
    leaves = [x, initial, *weights]
    found = torch.autograd.grad(layer(x, steps, initial)[1].square().sum(), leaves)
    states = torch.stack(step_by_step(x, initial, *weights, convention=convention), 1)
    plain = states[torch.arange(3), steps - 1].square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(plain, leaves), atol=1e-12, rtol=1e-10)


@BOTH
def test_a_sequence_in_two_parts_is_the_sequence_in_one(convention: Convention) -> None:
    layer = make(convention, 3, 8)
    x = torch.randn(4, 10, 3)
    with torch.no_grad():
        whole, final = layer(x, torch.full((4,), 10))
        _, middle = layer(x[:, :6], torch.full((4,), 6))
        rest, rest_final = layer(x[:, 6:], torch.full((4,), 4), middle)
    torch.testing.assert_close(rest, whole[:, 6:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rest_final, final, atol=1e-6, rtol=1e-5)


@BOTH
def test_an_initial_state_may_be_a_view_of_a_larger_tensor(convention: Convention) -> None:
    layer = make(convention, 2, 4)
    x, steps, wide = torch.randn(3, 5, 2), torch.tensor([5, 2, 1]), torch.randn(8, 3)
    view = wide.T[:, ::2]
    with torch.no_grad():
        found, expected = layer(x, steps, view), layer(x, steps, view.contiguous())
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_two_conventions_differ_for_the_same_weights() -> None:
    after, before = make(Convention.RESET_AFTER, 2, 6), make(Convention.RESET_BEFORE, 2, 6)
    before.load_state_dict(after.state_dict())
    x, steps = torch.randn(1, 8, 2), torch.tensor([8])
    with torch.no_grad():
        difference = (after(x, steps)[1] - before(x, steps)[1]).abs().max().item()
    assert difference > 1e-3


@BOTH
def test_what_stands_in_the_padding_has_no_effect_on_the_final_state(
    convention: Convention,
) -> None:
    layer = make(convention, 2, 6)
    x, steps = torch.randn(3, 9, 2), torch.tensor([1, 4, 9])
    other = x.clone()
    for row, length in enumerate(steps):
        other[row, length:] = 1e6
    with torch.no_grad():
        assert torch.equal(layer(x, steps)[1], layer(other, steps)[1])


@BOTH
@pytest.mark.parametrize("given_initial", [False, True])
def test_the_onnx_operator_built_by_hand_gives_the_same_numbers(
    convention: Convention, given_initial: bool
) -> None:
    """The node is made from the operator's own description: gates z, r, h, biases joined."""
    layer = make(convention, 3, 5)
    order = np.concatenate([np.arange(5, 10), np.arange(0, 5), np.arange(10, 15)])  # z, r, h
    w, r, b, c = (weight.detach().numpy()[order] for weight in weights_of(layer))
    constants = {"W": w[None], "R": r[None], "B": np.concatenate([b, c])[None]}
    lbr = {Convention.RESET_AFTER: 1, Convention.RESET_BEFORE: 0}[convention]
    names = ["X", *constants, "", "initial_h"] if given_initial else ["X", *constants]
    x, initial = torch.randn(2, 7, 3), torch.randn(2, 5)
    fed = {"X": x.transpose(0, 1).numpy(), "initial_h": initial[None].numpy()}
    fed = {name: value for name, value in fed.items() if name in names}
    graph = helper.make_graph(
        [helper.make_node("GRU", names, ["Y"], hidden_size=5, linear_before_reset=lbr)],
        "gru",
        [helper.make_tensor_value_info(name, 1, fed[name].shape) for name in fed],
        [helper.make_tensor_value_info("Y", 1, [7, 1, 2, 5])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    (found,) = session_of(model).run(None, fed)
    before = initial if given_initial else None
    with torch.no_grad():
        states, _ = layer(x, torch.full((2,), 7), before)
    expected, _ = reference(layer, x, torch.full((2,), 7), before)
    np.testing.assert_allclose(found[:, 0].transpose(1, 0, 2), expected, atol=1e-6)
    np.testing.assert_allclose(states, expected, atol=1e-6)


@BOTH
@pytest.mark.parametrize("given_initial", [False, True])
def test_an_exported_layer_begins_where_the_layer_begins(
    convention: Convention, given_initial: bool
) -> None:
    layer = make(convention, 3, 8)
    steps = torch.tensor([1, 6, 4, 3])
    tensors = {"x": (torch.randn(4, 6, 3), ("batch", "time")), "steps": (steps, ("batch",))}
    if given_initial:
        tensors["initial"] = (torch.randn(4, 8), ("batch",))
    model = export.trace(layer, tensors, ["states", "final"])
    (node,) = (node for node in model.graph.node if node.op_type == "GRU")
    assert len(node.input) == (6 if given_initial else 5)  # X, W, R, B, sequence_lens, initial_h
    args = [tensor for tensor, _ in tensors.values()]
    fed = {name: tensor.numpy() for name, (tensor, _) in tensors.items()}
    states, final = session_of(model).run(None, fed)
    with torch.no_grad():
        torch_states, torch_final = layer(*args)
    for row, length in enumerate(steps):
        valid = slice(0, int(length))
        np.testing.assert_allclose(states[row, valid], torch_states[row, valid], atol=1e-6)
    np.testing.assert_allclose(final, torch_final, atol=1e-6)
    np.testing.assert_allclose(final, reference(layer, *args)[1], atol=1e-6)


def printed_step(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> Tensor:
    """A cell as it is often printed: the reset gate is described and then left out of n."""
    _, x_z, x_n = (x @ w_ih.T + b_ih).chunk(3, -1)
    _, h_z, h_n = (h @ w_hh.T + b_hh).chunk(3, -1)
    z, n = torch.sigmoid(x_z + h_z), torch.tanh(x_n + h_n)
    return (1 - z) * n + z * h


@BOTH
def test_without_the_reset_gate_the_state_of_one_unit_is_a_fifth_larger(
    convention: Convention,
) -> None:
    """One unit at h = 1, U_n = 1, all else 0, so r = z = 1/2.

    The cell gives tanh(1/2) / 2 + 1/2 = 0.7311, the printed one tanh(1) / 2 + 1/2 = 0.8808: it is
    (tanh(1) - tanh(1/2)) / 2 = 0.1497 off, 20 % of the state, after a single step.
    """
    zeros = torch.zeros(3, 1).double()
    w_hh = torch.tensor([[0.0], [0.0], [1.0]]).double()
    args = (zeros[:1], torch.ones(1, 1).double(), zeros, w_hh, zeros[:, 0], zeros[:, 0])
    right, printed = gru_step(*args, convention).item(), printed_step(*args).item()
    assert right == pytest.approx(math.tanh(0.5) / 2 + 0.5)
    assert printed - right == pytest.approx((math.tanh(1) - math.tanh(0.5)) / 2)
    assert printed - right == pytest.approx(0.1497, abs=5e-5)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [(Convention.RESET_AFTER, 0.1946), (Convention.RESET_BEFORE, 0.1233)],
)
def test_without_the_reset_gate_a_fresh_layer_is_more_than_a_tenth_off_after_24_steps(
    convention: Convention, expected: float
) -> None:
    """The largest of 4 x 8 errors, for the weights that `nn.GRU(3, 8)` begins with at seed 0.

    States lie within -1 and 1. A comparison with either convention fails at any useful tolerance.
    """
    layer = make(convention, 3, 8, dtype=torch.float64)
    x, state = torch.randn(4, 24, 3).double(), torch.zeros(4, 8).double()
    with torch.no_grad():
        for step in x.unbind(1):
            state = printed_step(step, state, *weights_of(layer))
        _, final = layer(x, torch.full((4,), 24))
    assert (state - final).abs().max().item() == pytest.approx(expected, abs=5e-4)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), size=st.floats(0.01, 10), hidden=st.integers(1, 6))
def test_the_reset_gate_left_out_costs_at_most_1_z_times_1_r_times_the_recurrent_part(
    seed: int, size: float, hidden: int
) -> None:
    """Reset after: |printed - h'| <= (1 - z) (1 - r) |U_n h + c_n|, as tanh has slope 1 at most.

    So it is zero where r = 1, where z = 1 and where the recurrent part is zero, as in the first
    step from a state of zeros if c_n is zero; and nowhere else, as tanh rises everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 2), (3, hidden), (3 * hidden, 2), (3 * hidden, hidden), (3 * hidden,)]
    x, h, w_ih, w_hh, b = (
        size * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    weights = (w_ih, w_hh, b, b.flip(0))
    right = gru_step(x, h, *weights, Convention.RESET_AFTER)
    difference = (printed_step(x, h, *weights) - right).abs()
    r, z, _ = (x @ w_ih.T + b + h @ w_hh.T + b.flip(0)).sigmoid().chunk(3, -1)
    recurrent = (h @ w_hh.T + b.flip(0)).chunk(3, -1)[2].abs()
    bound = (1 - z) * (1 - r) * recurrent
    assert (difference <= bound + 1e-14 * (1 + h.abs())).all()


@BOTH
def test_the_reset_gate_may_be_left_out_where_it_is_saturated_at_one(
    convention: Convention,
) -> None:
    """With b_r = 60 every r rounds to 1, and the printed cell is the cell to the last digits."""
    layer = make(convention, 3, 8, dtype=torch.float64)
    weights = weights_of(layer)
    reset_bias = weights[2][:8]
    x, h = torch.randn(4, 3).double(), torch.randn(4, 8).double()
    differences = []
    with torch.no_grad():
        for value in (60.0, 0.0):
            reset_bias.fill_(value)
            right = gru_step(x, h, *weights, convention)
            differences.append((printed_step(x, h, *weights) - right).abs().max().item())
    assert differences[0] < 1e-15
    assert differences[1] > 0.01
