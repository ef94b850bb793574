"""Gates and derivatives against the float64 reference, differences, and numpy by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.explain import models
from training.explain.gates import gates, jacobian, step
from training.explain.graph import Layer
from training.explain.memory import PLAIN
from training.gru import Convention, reference_gru

BOTH = pytest.mark.parametrize("convention", list(Convention))


def layer(inputs: int, hidden: int, convention: Convention, seed: int = 0) -> Layer:
    return Layer(0, convention, *models.weights(inputs, hidden, seed))


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 9),
    st.sampled_from(Convention),
    st.integers(0, 99),
)
def test_the_states_are_those_of_the_reference(
    inputs: int, hidden: int, count: int, convention: Convention, seed: int
) -> None:
    given = models.weights(inputs, hidden, seed)
    random = np.random.default_rng(seed)
    x, initial = random.normal(size=(count, inputs)), random.uniform(-1, 1, hidden)
    states, _ = reference_gru(x[None], np.array([count]), given, convention, initial[None])
    found = gates(x, initial, Layer(0, convention, *given))
    np.testing.assert_allclose(found.h, states[0], rtol=1e-12, atol=1e-14)
    before = np.vstack([initial, states[0, :-1]])
    np.testing.assert_allclose(found.z * before + (1 - found.z) * found.n, states[0], atol=1e-12)


@BOTH
def test_the_derivative_is_the_limit_of_differences(convention: Convention) -> None:
    unit = layer(3, 6, convention)
    random = np.random.default_rng(1)
    x, h, tiny = random.normal(size=3), random.uniform(-1, 1, 6), 1e-6
    columns = [
        (step(x, h + tiny * e, unit).h - step(x, h - tiny * e, unit).h) / (2 * tiny)
        for e in np.eye(6)
    ]
    np.testing.assert_allclose(jacobian(x, h, unit), np.stack(columns, 1), atol=1e-8)


@BOTH
@pytest.mark.parametrize(("gate", "value"), [("r", 0), ("r", 1), ("z", 0), ("z", 1)])
def test_a_forced_gate_is_exactly_open_or_shut_and_the_other_as_free_as_before(
    convention: Convention, gate: str, value: int
) -> None:
    unit = layer(2, 4, convention)
    x, h = np.array([30.0, -30.0]), np.linspace(-1, 1, 4)
    free, held = step(x, h, unit), step(x, h, unit.forced({gate: value}))
    assert (getattr(held, gate) == value).all()
    other = "z" if gate == "r" else "r"
    np.testing.assert_array_equal(getattr(held, other), getattr(free, other))


@BOTH
def test_a_shut_update_gate_and_an_open_reset_gate_make_a_plain_tanh_network(
    convention: Convention,
) -> None:
    unit = layer(2, 4, convention)
    x = np.random.default_rng(2).normal(size=(7, 2))
    h, expected = np.zeros(4), []
    for seen in x:
        h = np.tanh(unit.w_ih[8:] @ seen + unit.b_ih[8:] + unit.w_hh[8:] @ h + unit.b_hh[8:])
        expected.append(h)
    found = gates(x, np.zeros(4), unit.forced(PLAIN)).h
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-12)


def test_a_gate_that_rounds_to_one_still_has_a_logarithm() -> None:
    unit = layer(1, 2, Convention.RESET_AFTER)
    nothing = [np.zeros_like(part) for part in (unit.w_ih, unit.w_hh, unit.b_hh)]
    bias = np.zeros(6)
    bias[2:4] = 40.0
    unit = replace(unit, w_ih=nothing[0], w_hh=nothing[1], b_ih=bias, b_hh=nothing[2])
    found = step(np.zeros(1), np.full(2, 0.5), unit)
    assert (found.z == 1).all()
    np.testing.assert_allclose(found.log_z, -np.exp(-40.0), rtol=1e-12)


@BOTH
def test_many_states_at_once_are_as_each_alone(convention: Convention) -> None:
    unit = layer(2, 3, convention)
    x, states = np.array([0.3, -0.7]), np.random.default_rng(3).uniform(-1, 1, (5, 3))
    together = step(x, states, unit).h
    alone = np.stack([step(x, h, unit).h for h in states])
    np.testing.assert_allclose(together, alone, atol=1e-15)
