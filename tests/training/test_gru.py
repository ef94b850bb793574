"""The GRU cell: every form of it against the float64 reference, in both conventions."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.gru import Convention, GRULayer, gru_step, reference_gru

BOTH = pytest.mark.parametrize("convention", list(Convention))


def make(convention: Convention, inputs: int, hidden: int, seed: int = 0) -> GRULayer:
    torch.manual_seed(seed)
    return GRULayer(inputs, hidden, convention).eval()


def reference(
    layer: GRULayer, x: torch.Tensor, steps: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    weights = [weight.detach().double().numpy() for weight in layer.weights.parameters()]
    return reference_gru(x.double().numpy(), steps.numpy(), weights, layer.convention)


@BOTH
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 5),
    length=st.integers(1, 12),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
def test_the_layer_equals_the_float64_reference_at_every_valid_step(
    convention: Convention, batch: int, length: int, inputs: int, hidden: int, seed: int
) -> None:
    layer = make(convention, inputs, hidden, seed)
    x = torch.randn(batch, length, inputs)
    steps = torch.randint(1, length + 1, (batch,))
    with torch.no_grad():
        states, final = layer(x, steps)
    expected_states, expected_final = reference(layer, x, steps)
    for row in range(batch):
        valid = slice(0, int(steps[row]))
        np.testing.assert_allclose(states[row, valid], expected_states[row, valid], atol=5e-7)
    np.testing.assert_allclose(final, expected_final, atol=5e-7)


def test_reset_after_is_what_torch_computes() -> None:
    layer = make(Convention.RESET_AFTER, 3, 8)
    x = torch.randn(4, 10, 3)
    with torch.no_grad():
        torch_states, _ = layer.weights(x)
        written_out = layer._written_out(x)
    torch.testing.assert_close(written_out, torch_states, atol=1e-6, rtol=1e-5)


@BOTH
def test_gradients_of_the_written_out_cell_match_finite_differences(
    convention: Convention,
) -> None:
    torch.manual_seed(0)
    shapes = [(2, 3), (2, 4), (12, 3), (12, 4), (12,), (12,)]
    tensors = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(partial(gru_step, convention=convention), tensors)


def test_gradients_of_reset_after_are_those_of_torch() -> None:
    layer = make(Convention.RESET_AFTER, 3, 8)
    x = torch.randn(4, 10, 3)
    gradients = []
    for run in (layer.weights, lambda x: (layer._written_out(x), None)):
        layer.zero_grad()
        run(x)[0].square().sum().backward()
        gradients.append([weight.grad.clone() for weight in layer.weights.parameters()])  # type: ignore[union-attr]
    for fused, written_out in zip(*gradients, strict=True):
        torch.testing.assert_close(written_out, fused, atol=1e-4, rtol=1e-4)


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
