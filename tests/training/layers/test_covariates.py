"""Covariates inside the graph: measured on training data, absent without harm."""

import numpy as np
import pytest
import torch

from training.layers.covariates import Categories, Numbers


def test_numbers_come_in_units_of_their_own_spread() -> None:
    random = np.random.default_rng(0)
    values = random.normal([5.0, -300.0], [2.0, 0.01], (1000, 2))
    values[::7] = np.nan
    numbers = Numbers(2)
    numbers.measure(torch.from_numpy(values).float())
    numbers.eval()
    expected = np.arcsinh((values - np.nanmean(values, 0)) / np.nanstd(values, 0))
    got = numbers(torch.from_numpy(values).float()).numpy()
    missing = np.isnan(values)
    assert got[:, :2][~missing] == pytest.approx(expected[~missing], abs=2e-2)  # float32 of 300
    assert (got[:, :2][missing] == 0).all()
    assert np.array_equal(got[:, 2:], ~missing)


def test_a_column_without_any_value_stays_finite() -> None:
    numbers = Numbers(1)
    numbers.measure(torch.full((5, 1), torch.nan))
    assert torch.isfinite(numbers.eval()(torch.tensor([[[1.0], [torch.nan]]]))).all()


def test_a_category_is_looked_up_and_several_add_up() -> None:
    categories = Categories((2, 3), 4).eval()
    first, second = categories.parameters()
    assert torch.equal(categories(torch.tensor([[1, 3]]))[0], first[1] + second[3])


def test_training_hides_some_covariates_of_whole_series_and_serving_none() -> None:
    torch.manual_seed(0)
    numbers = Numbers(1)
    given = torch.ones(2000, 3, 1)
    known = numbers.train()(given)[..., 1]
    assert (known == known[:, :1]).all()  # a series has it or not
    assert 0.9 < known.mean() < 0.99
    assert numbers.eval()(given)[..., 1].all()
