"""Weights of other libraries: the layer that they are loaded into gives that library's numbers.

Each library's cell is written here once more, in float64 numpy, from its published equations.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.foreign import (
    GRUWeights,
    InvalidWeights,
    Update,
    from_d2l,
    from_keras,
    from_torch,
)
from training.gru import Convention, GRULayer

F64: TypeAlias = NDArray[np.float64]
Mix: TypeAlias = Callable[[F64, F64, F64], F64]  # z, old state, candidate -> new state

MIX: dict[Update, Mix] = {
    Update.KEEPS: lambda z, h, n: z * h + (1 - z) * n,
    Update.RENEWS: lambda z, h, n: (1 - z) * h + z * n,
}
D2L = ("W_xz", "W_hz", "b_z", "W_xr", "W_hr", "b_r", "W_xh", "W_hh", "b_h")
any_size = given(
    inputs=st.integers(1, 5),
    hidden=st.integers(1, 6),
    update=st.sampled_from(Update),
    seed=st.integers(0, 2**16),
)


def sigmoid(a: F64) -> F64:
    return 1 / (1 + np.exp(-a))


def keras_step(x: F64, h: F64, weights: list[F64], reset_after: bool, mix: Mix) -> F64:
    """`GRUCell.call`: matrices from the right, gates z, r, h side by side."""
    kernel, recurrent, bias = weights
    n = len(recurrent)
    input_bias, recurrent_bias = bias if reset_after else (bias, np.zeros(3 * n))
    a, b = x @ kernel + input_bias, h @ recurrent + recurrent_bias
    z = sigmoid(a[:, :n] + b[:, :n])
    r = sigmoid(a[:, n : 2 * n] + b[:, n : 2 * n])
    inner = r * b[:, 2 * n :] if reset_after else (r * h) @ recurrent[:, 2 * n :]
    return mix(z, h, np.tanh(a[:, 2 * n :] + inner))


def d2l_step(x: F64, h: F64, weights: list[F64], mix: Mix) -> F64:
    p = dict(zip(D2L, weights, strict=True))
    z = sigmoid(x @ p["W_xz"] + h @ p["W_hz"] + p["b_z"])
    r = sigmoid(x @ p["W_xr"] + h @ p["W_hr"] + p["b_r"])
    return mix(z, h, np.tanh(x @ p["W_xh"] + (r * h) @ p["W_hh"] + p["b_h"]))


def torch_step(x: F64, h: F64, state: dict[str, F64], mix: Mix) -> F64:
    """The equations in the documentation of `torch.nn.GRU`: gates r, z, n one below the other."""
    a = (state["weight_ih_l0"] @ x.T).T + state["bias_ih_l0"]
    b = (state["weight_hh_l0"] @ h.T).T + state["bias_hh_l0"]
    (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3, 1), np.split(b, 3, 1)
    n = np.tanh(a_n + sigmoid(a_r + b_r) * b_n)
    return mix(sigmoid(a_z + b_z), h, n)


def keras_weights(
    inputs: int, hidden: int, reset_after: bool, seed: int = 0, dtype: Any = np.float64
) -> list[NDArray[Any]]:
    bias = (2, 3 * hidden) if reset_after else (3 * hidden,)
    return normal([(inputs, 3 * hidden), (hidden, 3 * hidden), bias], seed, dtype)


def d2l_weights(
    inputs: int, hidden: int, seed: int = 0, dtype: Any = np.float64
) -> list[NDArray[Any]]:
    return normal([(inputs, hidden), (hidden, hidden), (hidden,)] * 3, seed, dtype)


def torch_weights(
    inputs: int, hidden: int, seed: int = 0, dtype: Any = np.float64
) -> dict[str, NDArray[Any]]:
    shapes = [(3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)]
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return dict(zip(names, normal(shapes, seed, dtype), strict=True))


def normal(shapes: list[tuple[int, ...]], seed: int, dtype: Any) -> list[NDArray[Any]]:
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(dtype) for shape in shapes]


def loaded(weights: GRUWeights, dtype: torch.dtype = torch.float64) -> GRULayer:
    layer = GRULayer(weights.w_ih.shape[1], weights.w_hh.shape[1], weights.convention)
    layer.to(dtype)
    weights.load(layer)
    return layer


def assert_same_numbers(
    weights: GRUWeights, convention: Convention, step: Callable[[F64, F64], F64]
) -> None:
    """The layer over 3 rows of 5 steps, from a state that is not zero, against the library's."""
    assert weights.convention is convention
    random = np.random.default_rng(1)
    x = random.normal(size=(3, 5, weights.w_ih.shape[1]))
    initial = random.normal(size=(3, weights.w_hh.shape[1]))
    expected = [initial]
    for t in range(5):
        expected.append(step(x[:, t], expected[-1]))
    with torch.no_grad():
        states, _ = loaded(weights)(
            torch.from_numpy(x), torch.full((3,), 5), torch.from_numpy(initial)
        )
    np.testing.assert_allclose(states, np.stack(expected[1:], 1), atol=1e-12)


@pytest.mark.parametrize("reset_after", [True, False])
@settings(max_examples=30, deadline=None)
@any_size
def test_weights_from_keras_give_the_numbers_of_keras(
    reset_after: bool, inputs: int, hidden: int, update: Update, seed: int
) -> None:
    weights = keras_weights(inputs, hidden, reset_after, seed)
    convention = Convention.RESET_AFTER if reset_after else Convention.RESET_BEFORE
    assert_same_numbers(
        from_keras(weights, reset_after, update),
        convention,
        lambda x, h: keras_step(x, h, weights, reset_after, MIX[update]),
    )


@settings(max_examples=30, deadline=None)
@any_size
def test_weights_from_d2l_give_the_numbers_of_d2l(
    inputs: int, hidden: int, update: Update, seed: int
) -> None:
    weights = d2l_weights(inputs, hidden, seed)
    assert_same_numbers(
        from_d2l(weights, update),
        Convention.RESET_BEFORE,
        lambda x, h: d2l_step(x, h, weights, MIX[update]),
    )


@settings(max_examples=30, deadline=None)
@any_size
def test_weights_from_torch_give_the_numbers_of_torchs_equations(
    inputs: int, hidden: int, update: Update, seed: int
) -> None:
    state = torch_weights(inputs, hidden, seed)
    assert_same_numbers(
        from_torch(state, update),
        Convention.RESET_AFTER,
        lambda x, h: torch_step(x, h, state, MIX[update]),
    )


def test_a_state_dict_of_torch_arrives_bit_by_bit() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.GRU(3, 4, batch_first=True)
    layer = loaded(from_torch(theirs.state_dict()), torch.float32)
    for name, parameter in layer.weights.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(name))
    x = torch.randn(2, 6, 3)
    with torch.no_grad():
        states, _ = layer(x, torch.tensor([6, 6]))
        assert torch.equal(states, theirs(x)[0])


def test_parameters_that_want_gradients_are_read_and_not_shared() -> None:
    parameters = [
        torch.from_numpy(weight).requires_grad_() for weight in d2l_weights(2, 3, dtype=np.float32)
    ]
    weights = from_d2l(parameters)
    kept = weights.w_ih.copy()
    with torch.no_grad():
        parameters[0].zero_()
        loaded(weights).weights.get_parameter("weight_ih_l0").zero_()
    np.testing.assert_array_equal(weights.w_ih, kept)
    assert weights.w_ih.dtype == np.float32


def test_the_wrong_update_gate_gives_other_numbers() -> None:
    """Equal shapes: nothing but the argument can tell the two apart."""
    weights = d2l_weights(2, 3)
    keeps, renews = (loaded(from_d2l(weights, update)) for update in Update)
    x, steps = torch.ones(1, 4, 2).double(), torch.tensor([4])
    with torch.no_grad():
        assert (keeps(x, steps)[1] - renews(x, steps)[1]).abs().max() > 0.1


@pytest.mark.parametrize("changed", range(3))
@pytest.mark.parametrize("reset_after", [True, False])
def test_an_array_of_keras_of_another_shape_is_named(changed: int, reset_after: bool) -> None:
    name = ("kernel", "recurrent_kernel", "bias")[changed]
    for other in (
        np.zeros((24, 4)),
        np.zeros((4, 25)),
        np.zeros((2, 4, 24)),
        np.zeros(0),
        np.array(1.0),
    ):
        weights = keras_weights(4, 8, reset_after)
        weights[changed] = other
        with pytest.raises(InvalidWeights) as caught:
            from_keras(weights, reset_after)
        assert str(caught.value).startswith(f"{name} of a Keras GRU with reset_after={reset_after}")
        assert str(caught.value).endswith(f"got {list(other.shape)}")


def test_an_array_of_d2l_or_torch_of_another_shape_is_named() -> None:
    for at, name in enumerate(D2L):
        parameters = d2l_weights(4, 8)
        parameters[at] = np.zeros((8, 5))
        with pytest.raises(InvalidWeights, match=rf"^{name} of a d2l GRU: .* got \[8, 5\]$"):
            from_d2l(parameters)
    for name in torch_weights(4, 8):
        state = torch_weights(4, 8) | {name: np.zeros((8, 24))}
        with pytest.raises(InvalidWeights, match=rf"^{name} of a torch.nn.GRU: .* got \[8, 24\]$"):
            from_torch(state)


def test_the_message_says_what_was_expected() -> None:
    weights = keras_weights(4, 8, reset_after=False)
    with pytest.raises(InvalidWeights) as caught:
        from_keras(weights, reset_after=True)
    assert str(caught.value) == (
        "bias of a Keras GRU with reset_after=True: expected shape [2, 3N] = [2, 24] "
        "for I inputs and N units, at least 1, got [24]"
    )
    both = keras_weights(4, 8, reset_after=True)
    with pytest.raises(InvalidWeights, match=r"^bias .*expected shape \[3N\] .* got \[2, 24\]$"):
        from_keras(both, reset_after=False)
    weights[1] = np.zeros(24)
    with pytest.raises(
        InvalidWeights, match=r"expected shape \[N, 3N\] for I inputs .* got \[24\]"
    ):
        from_keras(weights, reset_after=False)


def test_no_inputs_or_no_units_are_no_layer() -> None:
    with pytest.raises(InvalidWeights, match=r"^kernel .*at least 1, got \[0, 24\]"):
        from_keras(keras_weights(0, 8, True), True)
    with pytest.raises(InvalidWeights, match=r"^W_hz .*at least 1, got \[0, 0\]"):
        from_d2l(d2l_weights(4, 0))


def test_a_wrong_number_of_arrays_is_refused_with_a_remedy() -> None:
    with pytest.raises(InvalidWeights, match=r"3 arrays, kernel, .*got 2: add zeros as the bias"):
        from_keras(keras_weights(4, 8, True)[:2], True)
    with_output = [*d2l_weights(4, 8), np.zeros((8, 4)), np.zeros(4)]
    with pytest.raises(InvalidWeights, match=r"9 arrays, W_xz, .*got 11: leave out W_hq and b_q"):
        from_d2l(with_output)
    with pytest.raises(InvalidWeights, match=r"got 0"):
        from_d2l([])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": False}, "missing: bias_hh_l0, bias_ih_l0, unknown: none"),
        ({"num_layers": 2}, "missing: none, unknown: bias_hh_l1, bias_ih_l1, weight_hh_l1, "),
        ({"bidirectional": True}, "missing: none, unknown: bias_hh_l0_reverse, "),
    ],
)
def test_a_torch_gru_of_another_kind_is_refused_by_its_names(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidWeights, match=message):
        from_torch(torch.nn.GRU(3, 4, **options).state_dict())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 24), np.int64), "expected float32 or float64, got int64"),
        (np.zeros((4, 24), np.float16), "expected float32 or float64, got float16"),
        (np.zeros((4, 24), ">f4"), "expected float32 or float64, got >f4"),
        (np.full((4, 24), "1"), "expected float32 or float64, got <U1"),
        (torch.zeros(4, 24, dtype=torch.bfloat16), "float64, got torch.bfloat16"),
        ([[0.0] * 24] * 4, "expected a numpy array or a torch tensor, got list"),
        (None, "expected a numpy array or a torch tensor, got NoneType"),
        (np.full((4, 24), np.nan), "expected finite numbers"),
        (torch.full((4, 24), torch.inf), "expected finite numbers"),
    ],
)
def test_what_is_no_array_of_finite_floats_is_refused_by_name(bad: Any, message: str) -> None:
    weights = keras_weights(4, 8, True)
    weights[0] = bad
    with pytest.raises(InvalidWeights, match=f"^kernel: .*{message}"):
        from_keras(weights, True)


def test_a_layer_of_other_sizes_or_convention_refuses_and_is_unchanged() -> None:
    weights = from_keras(keras_weights(4, 8, True), True)
    for layer, message in (
        (GRULayer(4, 8, Convention.RESET_BEFORE), "reset_before, .*Convention.RESET_AFTER$"),
        (GRULayer(5, 8, Convention.RESET_AFTER), r"^weight_ih_l0: .*\[24, 5\].*got \[24, 4\]"),
        (GRULayer(4, 9, Convention.RESET_AFTER), r"^weight_ih_l0: .*\[27, 4\].*got \[24, 4\]"),
    ):
        before = [parameter.detach().clone() for parameter in layer.parameters()]
        with pytest.raises(InvalidWeights, match=message):
            weights.load(layer)
        for parameter, value in zip(layer.parameters(), before, strict=True):
            assert torch.equal(parameter, value)


def test_float64_weights_are_rounded_to_the_layers_dtype() -> None:
    weights = from_keras(keras_weights(4, 8, True), True)
    layer = loaded(weights, torch.float32)
    found = layer.weights.get_parameter("weight_hh_l0").detach().numpy()
    np.testing.assert_array_equal(found, weights.w_hh.astype(np.float32))
