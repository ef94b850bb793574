"""`GRUForecaster`: raw values in, honest quantiles out, for any series one can think of."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from service.contract.forecast import (
    CATEGORIES,
    CONTEXT,
    KNOWN,
    LENGTHS,
    PAST,
    STATIC,
    TIMESTAMPS,
    Category,
    Covariates,
)
from service.contract.placement import History, stack
from training.config import NetworkConfig
from training.gru import Convention
from training.layers.base import base
from training.layers.calendar import Cycle
from training.network import GRUForecaster

SMALL = NetworkConfig("6h", horizon=5, seasonality=4, context_length=16, hidden=8)
EVERYTHING = replace(
    SMALL,
    calendar=tuple(Cycle),
    covariates=Covariates(
        past=("load",),
        known=("price", "promotion"),
        static=("size",),
        categories=(Category(name="region", values=("east", "west")),),
    ),
)
SHAPES = [
    SMALL,
    EVERYTHING,
    replace(EVERYTHING, patch=3),
    replace(SMALL, long_season=7),
    replace(SMALL, seasonality=1),
    replace(SMALL, patch=3, layers=2),
    replace(SMALL, horizon=11, convention=Convention.RESET_BEFORE),
    replace(SMALL, quantile_levels=(0.05, 0.5, 0.75)),
]
EVERY_SHAPE = pytest.mark.parametrize("config", SHAPES, ids=str)


def make(config: NetworkConfig, seed: int = 0) -> GRUForecaster:
    """A network with random weights everywhere, its head too."""
    torch.manual_seed(seed)
    network = GRUForecaster(config).eval()
    torch.nn.init.normal_(network.decoder.out.weight, std=0.2)
    torch.nn.init.normal_(network.decoder.out.bias, std=0.5)
    return network


def inputs(config: NetworkConfig, *rows: list[float], padding: int = 0) -> dict[str, Tensor]:
    """Rows as the tensors of the signature, with made-up covariates."""
    random = np.random.default_rng(0)
    histories = [
        History(
            target=np.array(row),
            timestamps=np.arange(len(row) + config.horizon) * 21_600 + 1_700_000_000,
            past=random.normal(size=(len(row), 1)),
            known=random.normal(size=(len(row) + config.horizon, 2)),
            static=np.array([3.0]),
            categories=np.array([2]),
        )
        for row in rows
    ]
    padded = max(len(row) for row in rows) + padding
    tensors = stack(histories, config.signature, padded)
    names = [spec.name for spec in config.signature.inputs]
    return dict(zip(names, map(torch.from_numpy, tensors), strict=True))


def answer_to(network: GRUForecaster, given: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        answer: Tensor = network(*given.values())
    return answer


def ask(network: GRUForecaster, *rows: list[float]) -> Tensor:
    return answer_to(network, inputs(network.config, *rows))


values = st.one_of(st.floats(-1e6, 1e6, width=32), st.just(float("nan")))
series = st.lists(values, min_size=1, max_size=20)


@EVERY_SHAPE
@settings(max_examples=60, deadline=None)
@given(row=series)
def test_any_series_gets_a_finite_forecast_with_sorted_levels(
    config: NetworkConfig, row: list[float]
) -> None:
    answer = ask(make(config), row)
    assert answer.shape == (1, config.horizon, len(config.quantile_levels))
    assert torch.isfinite(answer).all()
    assert (answer.diff(dim=-1) >= 0).all()


@EVERY_SHAPE
@pytest.mark.parametrize("factor", [10.0**k for k in range(-6, 10)])
def test_scaling_a_series_scales_its_forecast(config: NetworkConfig, factor: float) -> None:
    random = np.random.default_rng(0)
    row = (50 + random.normal(size=16).cumsum()).tolist()
    network = make(config)
    expected = ask(network, row).double() * factor
    got = ask(network, [value * factor for value in row]).double()
    torch.testing.assert_close(got, expected, rtol=2e-5, atol=2e-5 * factor)


@EVERY_SHAPE
def test_a_constant_series_is_forecast_near_its_constant(config: NetworkConfig) -> None:
    answer = ask(make(config), [7.0] * 16)
    assert ((answer - 7.0).abs() < 0.05).all()


@EVERY_SHAPE
def test_an_all_zero_series_is_forecast_as_zero(config: NetworkConfig) -> None:
    assert (ask(make(config), [0.0] * 9) == 0).all()


@EVERY_SHAPE
def test_an_untrained_network_is_the_seasonal_naive_forecast(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    row = [float(v) for v in range(1, 17)]
    answer = ask(GRUForecaster(config).eval(), row)
    centre = config.quantile_levels.index(0.5)
    season = row[-config.seasonality :]
    expected = [season[step % config.seasonality] for step in range(config.horizon)]
    torch.testing.assert_close(answer[0, :, centre], torch.tensor(expected))


def test_a_missing_value_of_the_base_is_taken_from_the_season_before() -> None:
    torch.manual_seed(0)
    nan = float("nan")
    row = [1.0, 2.0, 3.0, 4.0, 5.0, nan, 7.0, nan]
    answer = ask(GRUForecaster(SMALL).eval(), row)
    assert answer[0, :, 4].tolist() == pytest.approx([5.0, 2.0, 7.0, 4.0, 5.0])


@EVERY_SHAPE
def test_the_newest_value_changes_the_first_step(config: NetworkConfig) -> None:
    network = make(config)
    row = [float(v % 5) for v in range(16)]
    assert not torch.equal(ask(network, row)[0, 0], ask(network, [*row[:-1], 9.0])[0, 0])


@EVERY_SHAPE
def test_padding_and_its_contents_do_not_change_a_forecast(config: NetworkConfig) -> None:
    network = make(config)
    row = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    padded = inputs(config, row, padding=7)
    padded[CONTEXT][:, len(row) :] = 1e9
    for name in (PAST, TIMESTAMPS, KNOWN):
        if name in padded:
            steps = len(row) + (0 if name == PAST else config.horizon)
            padded[name][:, steps:] = 1_000_000
    torch.testing.assert_close(answer_to(network, padded), ask(network, row), rtol=1e-5, atol=1e-5)


@EVERY_SHAPE
def test_neighbours_do_not_change_a_forecast(config: NetworkConfig) -> None:
    network = make(config)
    row = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    together = ask(network, row, [1e8, 2e8], [0.0] * 6)
    torch.testing.assert_close(together[:1], ask(network, row), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [TIMESTAMPS, PAST, KNOWN, STATIC, CATEGORIES])
@pytest.mark.parametrize("patch", [1, 3])
def test_every_input_has_a_say(name: str, patch: int) -> None:
    network = make(replace(EVERYTHING, patch=patch))
    given = inputs(network.config, [3.0, 1.0, 4.0, 1.0, 5.0])
    before = answer_to(network, given)
    given[name] = given[name] + (86_400 if name == TIMESTAMPS else -1)
    assert not torch.allclose(answer_to(network, given), before)


def test_a_known_covariate_acts_on_its_own_step_of_the_horizon_most() -> None:
    network = make(EVERYTHING)
    given = inputs(network.config, [3.0, 1.0, 4.0, 1.0, 5.0])
    before = answer_to(network, given)
    given[KNOWN][0, 5 + 2, 0] += 5.0
    moved = (answer_to(network, given) - before).abs().sum(-1)[0]
    assert moved[2] > 0
    assert moved[[0, 1, 3, 4]].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", [PAST, KNOWN, STATIC])
def test_missing_covariates_are_valid(name: str) -> None:
    network = make(EVERYTHING)
    given = inputs(network.config, [3.0, 1.0, 4.0, 1.0, 5.0])
    given[name] = torch.full_like(given[name], torch.nan)
    assert torch.isfinite(answer_to(network, given)).all()


def test_the_long_season_is_looked_up_where_the_short_one_is_wrong() -> None:
    config = replace(SMALL, long_season=7, context_length=14, horizon=3)
    row = [float(v) for v in range(14)]
    given = inputs(config, row)
    scaled = GRUForecaster(config).rescale(given[CONTEXT], given[LENGTHS])
    found = base(scaled, given[LENGTHS], config).alternatives[0] * 13
    assert found[:, -2:].round().tolist() == [[7, 0], [8, 1], [9, 2]]
