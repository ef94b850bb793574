"""`RolledForecaster`: scaled as the protocol says, and rolled forward over its own forecasts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler

from service.contract.placement import LARGEST_VALUE
from tests.training.classic.networks import SMALL, VALUES, ask, make
from training.classic.network import RolledForecaster
from training.gru import Convention, reference_gru

NAN = float("nan")
ROW = np.array([300.0, 310.0, 420.0, 380.0, 250.0, 333.0])


def rolled(network: RolledForecaster, row: NDArray[np.float64]) -> NDArray[np.float64]:
    """The protocol in float64: scale, forecast a step, push it into the window, scale back."""
    scaler = MinMaxScaler((-1, 1)).fit(VALUES[:, None])
    weights = [w.detach().double().numpy() for w in network.recurrent.weights.parameters()]
    out = network.out.weight.detach().double().numpy()[0]
    bias = network.out.bias.item()
    values = list(scaler.transform(row[:, None]).ravel())
    for _ in range(network.horizon):
        window = np.array(values[-network.window :])[None, :, None]
        steps = np.array([network.window])
        _, state = reference_gru(window, steps, weights, Convention.RESET_AFTER)
        values.append(float(state[0] @ out + bias))
    made: NDArray[np.float64] = scaler.inverse_transform(np.array(values)[:, None])
    return made[-network.horizon :, 0]


def test_the_scale_is_that_of_the_min_max_scaler() -> None:
    expected = MinMaxScaler((-1, 1)).fit(VALUES[:, None]).transform(ROW[:, None]).ravel()
    found = make().scale(torch.from_numpy(ROW.astype(np.float32)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_each_forecast_is_made_of_the_window_before_it_forecasts_among_them(seed: int) -> None:
    network = make(seed=seed)
    expected = rolled(network, ROW)
    assert np.ptp(expected) > 1  # it moves along the horizon
    np.testing.assert_allclose(ask(network, ROW), expected, rtol=1e-5)


def test_only_the_newest_window_counts() -> None:
    network = make()
    np.testing.assert_array_equal(ask(network, [1e9, NAN, *ROW]), ask(network, ROW))


def test_padding_has_no_effect() -> None:
    network = make()
    np.testing.assert_array_equal(ask(network, ROW, padding=5), ask(network, ROW))


def test_a_missing_value_becomes_the_mean_of_the_known_ones() -> None:
    network = make()
    holed = ROW.copy()
    holed[[1, 4]] = NAN
    filled = np.where(np.isnan(holed), np.nanmean(holed), holed)
    np.testing.assert_allclose(ask(network, holed), rolled(network, filled), rtol=1e-5)


def test_what_lies_before_the_start_of_a_short_row_is_missing() -> None:
    network = make()
    short = ask(network, [300.0, 360.0], padding=2)
    np.testing.assert_array_equal(short, ask(network, [NAN, NAN, NAN, NAN, 300.0, 360.0]))


def test_where_nothing_is_known_it_starts_from_the_middle_of_the_training_range() -> None:
    network = make()
    middle = (VALUES.min() + VALUES.max()) / 2
    np.testing.assert_allclose(ask(network, [NAN] * 6), rolled(network, np.full(6, middle)), 1e-5)


LARGEST = float(np.float32(LARGEST_VALUE))
values = st.one_of(st.floats(-LARGEST, LARGEST, width=32), st.just(NAN))


@settings(max_examples=60, deadline=None)
@given(row=st.lists(values, min_size=1, max_size=9))
def test_any_row_gets_a_finite_forecast_of_the_size_of_the_training_values(
    row: list[float],
) -> None:
    network = make()
    made = ask(network, row)
    reach = network.out.weight.abs().sum() + network.out.bias.abs() + 1  # no state exceeds 1
    assert (abs(made - VALUES.min()) <= reach.item() * network.unit.item() * 1.001).all()


def test_the_graph_has_one_recurrence_for_each_step_of_the_horizon() -> None:
    assert make().layers == [Convention.RESET_AFTER] * SMALL.horizon
