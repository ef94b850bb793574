"""The derivatives written by hand against autograd's over the plain form, in float64."""

from collections.abc import Sequence
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.gru import Convention, GRULayer
from training.layers import recurrence as module
from training.layers.recurrence import recurrence


def make(inputs: int, hidden: int, dtype: torch.dtype = torch.float64) -> GRULayer:
    torch.manual_seed(0)
    return GRULayer(inputs, hidden, Convention.RESET_AFTER).to(dtype)


def plain(layer: GRULayer, x: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """States and final as a student would write them, for autograd to differentiate."""
    states = layer._written_out(x)
    return states, states[torch.arange(len(x)), steps - 1]


def gradients(
    outputs: Sequence[Tensor], used: Sequence[bool], leaves: Sequence[Tensor]
) -> list[Tensor]:
    """Of a sum in which every entry of the used outputs has a weight of its own."""
    generator = torch.Generator().manual_seed(1)
    loss = outputs[0].new_zeros(())
    for output, wanted in zip(outputs, used, strict=True):
        weight = torch.randn(output.shape, generator=generator, dtype=output.dtype)
        loss = loss + (weight * output).sum() * wanted
    return list(torch.autograd.grad(loss, leaves))


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 7),
    length=st.integers(1, 8),
    inputs=st.integers(1, 4),
    hidden=st.integers(1, 6),
    rows=st.integers(1, 8),
    used=st.sampled_from([[True, True], [True, False], [False, True]]),
)
def test_outputs_and_gradients_are_those_of_the_plain_form(
    batch: int, length: int, inputs: int, hidden: int, rows: int, used: list[bool]
) -> None:
    layer = make(inputs, hidden)
    x = torch.randn(batch, length, inputs, dtype=torch.float64, requires_grad=True)
    steps = torch.randint(1, length + 1, (batch,))
    leaves = [x, *layer.weights.parameters()]
    with patch.object(module, "ROWS", rows):
        found = layer(x, steps)
        found_gradients = gradients(found, used, leaves)
    expected = plain(layer, x, steps)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(
        found_gradients, gradients(expected, used, leaves), atol=1e-12, rtol=1e-10
    )


def test_training_sees_the_states_that_evaluation_sees() -> None:
    layer = make(3, 8, torch.float32)
    x, steps = torch.randn(5, 10, 3), torch.tensor([1, 4, 10, 9, 2])
    trained = layer(x, steps)
    with torch.no_grad():
        evaluated = layer(x, steps)
    torch.testing.assert_close(trained, evaluated, atol=1e-6, rtol=1e-5)


def test_inputs_that_need_no_gradient_get_none() -> None:
    layer = make(2, 4)
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    (layer(x, torch.full((3,), 5))[1] ** 2).sum().backward()
    assert x.grad is None
    assert all(weight.grad is not None for weight in layer.weights.parameters())


def test_what_stands_in_the_padding_has_no_effect_on_the_gradient_of_the_final_state() -> None:
    layer = make(2, 4)
    x, steps = torch.randn(3, 9, 2, dtype=torch.float64), torch.tensor([1, 4, 9])
    other = x.clone()
    for row, length in enumerate(steps):
        other[row, length:] = 1e6
    weights = list(layer.weights.parameters())
    found, changed = (gradients(layer(y, steps), [False, True], weights) for y in (x, other))
    torch.testing.assert_close(found, changed, atol=1e-14, rtol=1e-12)


def test_every_bit_is_the_same_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(3, 16, torch.float32)
    x, steps = torch.randn(37, 12, 3), torch.randint(1, 13, (37,))
    monkeypatch.setattr(module, "ROWS", 5)
    results = []
    for cores in (1, 2, 4):
        monkeypatch.setattr(module, "CORES", cores)
        outputs = layer(x, steps)
        made = gradients(outputs, [True, True], list(layer.weights.parameters()))
        results.append([*outputs, *made])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_second_backward_pass_is_refused() -> None:
    layer = make(2, 4)
    x, steps = torch.randn(3, 5, 2, dtype=torch.float64), torch.full((3,), 5)
    weights = list(layer.weights.parameters())
    _, final = recurrence(x, steps, *weights)
    torch.autograd.grad(final.sum(), weights, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(final.sum(), weights)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_an_error_in_any_block_is_raised(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(rows: slice) -> int:
        start: int = rows.start
        if start == bad:
            raise ArithmeticError(f"block at {start}")
        return start

    monkeypatch.setattr(module, "ROWS", 2)
    monkeypatch.setattr(module, "CORES", cores)
    for bad in (0, 2, 4, 6):
        with pytest.raises(ArithmeticError, match=f"block at {bad}"):
            module._blockwise(7, fail)
    bad = -1
    assert module._blockwise(7, fail) == [0, 2, 4, 6]
