"""Memory and gradients where they are known: by formulas, and by the chain rule."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.explain import models
from training.explain.gates import gates, jacobian
from training.explain.graph import Layer
from training.explain.memory import OPENED, fallen, gains, memory, spectral_radius, time_constants
from training.explain.trace import Trace
from training.gru import Convention

BOTH = pytest.mark.parametrize("convention", list(Convention))


def traced(layer: Layer, count: int = 12, inputs: int = 2) -> Trace:
    x = np.random.default_rng(5).normal(size=(count, inputs))
    start = np.zeros(layer.hidden)
    return Trace(layer, x, start, gates(x, start, layer), 0.0)


def random_layer(convention: Convention, seed: int = 0) -> Layer:
    return Layer(0, convention, *models.weights(2, 4, seed))


def constant_layer(z: Sequence[float]) -> Layer:
    """Update gates that no input moves, and a candidate that does not see the state."""
    hidden = len(z)
    bias = np.zeros(3 * hidden)
    bias[hidden : 2 * hidden] = np.log(np.array(z) / (1 - np.array(z)))
    zeros = np.zeros((3 * hidden, 2)), np.zeros((3 * hidden, hidden))
    return Layer(0, Convention.RESET_AFTER, *zeros, bias, np.zeros(3 * hidden))


def test_a_constant_gate_implies_its_own_time_constant() -> None:
    shares = np.array([0.1, 0.5, 0.9, 0.99])
    found = memory(traced(constant_layer(shares.tolist())))
    np.testing.assert_allclose(found.constants, -1 / np.log(shares))


@given(st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=30))
def test_the_mean_is_that_of_the_logarithm_so_the_product_is_exact(shares: list[float]) -> None:
    z = np.array(shares)
    (tau,) = time_constants(np.log(z)[:, np.newaxis])
    np.testing.assert_allclose(np.exp(-len(z) / tau), np.prod(z), rtol=1e-6)
    assert tau <= -1 / np.log(z.mean()) * (1 + 1e-9)


def test_a_gate_that_never_opens_remembers_for_a_long_but_countable_time() -> None:
    assert np.isfinite(time_constants(np.zeros((3, 1)))).all()


def test_where_nothing_else_sees_the_state_what_is_measured_is_what_is_implied() -> None:
    found = memory(traced(constant_layer([0.3, 0.8])))
    steps = np.arange(7)
    expected = np.sqrt((0.3 ** (2 * steps) + 0.8 ** (2 * steps)) / 2)
    np.testing.assert_allclose(found.carried, expected)
    np.testing.assert_allclose(found.measured, expected, rtol=1e-6)


@BOTH
def test_a_measured_disturbance_is_the_product_of_the_derivatives(convention: Convention) -> None:
    trace = traced(random_layer(convention), count=2 * 5)
    lengths = []
    for start in range(5):
        product = np.eye(4)
        for k in range(1, 6):
            product = (
                jacobian(trace.x[start + k], trace.gates.h[start + k - 1], trace.layer) @ product
            )
            lengths.append((k, np.square(product).sum() / 4))
    expected = [np.sqrt(np.mean([v for at, v in lengths if at == k])) for k in range(1, 6)]
    np.testing.assert_allclose(memory(trace).measured[1:], expected, rtol=1e-5)


@BOTH
def test_a_gradient_at_the_last_state_shrinks_as_its_differences_say(
    convention: Convention,
) -> None:
    trace = traced(random_layer(convention), count=5)
    tiny = 1e-6
    columns = [
        (
            gates(trace.x, tiny * unit, trace.layer).h[-1]
            - gates(trace.x, -tiny * unit, trace.layer).h[-1]
        )
        / (2 * tiny)
        for unit in np.eye(4)
    ]
    singular = np.linalg.svd(np.stack(columns, 1), compute_uv=False)
    np.testing.assert_allclose(gains(trace).gru[-1], np.sqrt(np.mean(singular**2)), rtol=1e-6)


def test_an_update_gate_at_one_keeps_every_gradient_whole() -> None:
    found = gains(traced(random_layer(Convention.RESET_AFTER).forced({"z": 1})))
    np.testing.assert_array_equal(found.gru, np.ones(13))
    np.testing.assert_array_equal(found.kept, np.ones(13))


def test_small_recurrent_weights_lose_a_gradient_without_gates_and_keep_it_with_an_open_one() -> (
    None
):
    weights = models.weights(2, 4, 1)
    weights[1] *= 0.1
    found = gains(traced(Layer(0, Convention.RESET_AFTER, *weights), count=40))
    assert found.plain[-1] < 1e-20
    assert found.opened[-1] > 1e6 * found.gru[-1] > 0
    assert OPENED > 0


def test_the_spectral_radius_is_that_of_the_candidate_alone() -> None:
    weights = models.weights(2, 2, 1)
    weights[1][4:] = [[0.0, -1.5], [1.5, 0.0]]  # a turn, whose eigenvalues are +-1.5 i
    assert spectral_radius(Layer(0, Convention.RESET_AFTER, *weights)) == pytest.approx(1.5)


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_a_thousand_steps_neither_overflow_nor_end_in_nothing(size: float) -> None:
    weights = [np.zeros_like(part) for part in models.weights(2, 4)]
    weights[1][8:] = size * np.eye(4)
    trace = traced(Layer(0, Convention.RESET_AFTER, *weights), count=1000)
    found = gains(trace)
    for curve in found:
        assert np.isfinite(curve).all()
        assert (curve > 0).all()
    assert (found.plain[-1] > 1e300) == (size > 1)
    assert len(memory(trace).measured) == 101


def test_one_over_e_is_found_between_steps() -> None:
    curve = np.exp(-np.arange(9) / 2.5)
    assert fallen(curve) == pytest.approx(2.5)
    assert fallen(np.ones(9)) == float("inf")
    assert 0 < fallen(np.array([1.0, 0.0])) < 1
    assert fallen(np.append(1.0, np.zeros(3))) < 1


@pytest.mark.parametrize("count", [2, 3])
def test_two_steps_are_enough(count: int) -> None:
    found = memory(traced(random_layer(Convention.RESET_BEFORE), count=count))
    assert len(found.carried) == len(found.measured) == 2
