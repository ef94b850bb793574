"""Parity: torch and the served file agree on every input there is, or nothing is published."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from service.contract.artifact import InvalidArtifact
from service.contract.forecast import ForecastSignature
from service.contract.placement import History, place
from service.contract.timestamp import EARLIEST, LATEST
from tests.training.networks import CONFIG, EVERYTHING, SHAPES, histories, make, opened, prove
from training import cases, parity
from training.config import NetworkConfig
from training.network import GRUForecaster

EVERY_SHAPE = pytest.mark.parametrize("config", SHAPES, ids=str)


def every_row(signature: ForecastSignature) -> list[History]:
    """The rows of all cases that are made up."""
    families = dict(cases.cases(signature, histories(signature)))
    families.pop("training data")
    return [row for rows in families.values() for row in rows]


@EVERY_SHAPE
def test_torch_and_the_served_runtime_agree_on_every_case(config: NetworkConfig) -> None:
    network = make(config)
    proven = prove(network, opened(network))
    assert proven.rows >= 200
    assert proven.share <= 1
    assert {case.name for case in proven.cases} >= {"every length", "magnitudes", "ragged batch"}
    assert f"{proven.rows} rows" in parity.table(proven)


def test_a_network_that_is_not_the_exported_one_fails_parity() -> None:
    network = make()
    runtime = opened(network)
    with torch.no_grad():
        network.decoder.out.bias.add_(1e-4)
    with pytest.raises(parity.ParityFailed, match="nothing is published"):
        prove(network, runtime)


def shift(name: str) -> Callable[[GRUForecaster], None]:
    """Change one tensor of a network a little."""

    def change(network: GRUForecaster) -> None:
        with torch.no_grad():
            network.state_dict()[name].add_(1e-2)

    return change


BESIDE = [
    "past.mean",
    "known.spread",
    "static.mean",
    "from_static.weight",
    "categories.vectors.0.weight",
    "categories.vectors.1.weight",
    *(f"calendar.vectors.{cycle}.weight" for cycle in range(4)),
]


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_computed_from_covariates_and_the_calendar_takes_part_in_parity(name: str) -> None:
    network = make(EVERYTHING)
    runtime = opened(network)
    shift(name)(network)
    with pytest.raises(parity.ParityFailed):
        prove(network, runtime)
    with pytest.raises(InvalidArtifact, match="answers differ from the golden ones"):
        opened(network)


def test_a_row_has_the_same_bits_alone_and_in_any_batch() -> None:
    runtime = opened(make(EVERYTHING))
    blocks = place(every_row(EVERYTHING.signature), EVERYTHING.signature)
    assert len(blocks) == 4  # 8, 12, 16, 20
    for block in blocks:
        together = runtime.run(*block.inputs)
        backwards = runtime.run(*(array[::-1].copy() for array in block.inputs))[::-1]
        np.testing.assert_array_equal(backwards, together)
        for at in range(len(block.rows)):
            alone = runtime.run(*(array[at : at + 1] for array in block.inputs))
            np.testing.assert_array_equal(alone[0], together[at])


def test_targets_are_the_same_with_and_without_covariates() -> None:
    plain = replace(EVERYTHING, covariates=CONFIG.covariates, calendar=()).signature
    for one, other in zip(every_row(plain), every_row(EVERYTHING.signature), strict=True):
        np.testing.assert_array_equal(one.target, other.target)


def test_covariates_are_known_partly_known_and_missing_and_categories_unknown() -> None:
    rows = every_row(EVERYTHING.signature)
    for field in ("past", "known"):
        shares = [np.isnan(getattr(row, field)).mean(0) for row in rows]
        assert {0.0, 1.0} < set(np.concatenate(shares).tolist())
    static = np.concatenate([row.static for row in rows if row.static is not None])
    assert 0 < np.isnan(static).mean() < 1
    codes = np.stack([row.categories for row in rows if row.categories is not None])
    assert np.unique(codes[:, 0]).tolist() == [0, 1, 2]
    assert np.unique(codes[:, 1]).tolist() == [0]


@pytest.mark.parametrize("freq", ["s", "15min", "h", "D", "W", "B", "MS", "ME", "QS", "3YE"])
def test_timestamps_are_those_of_a_series_of_the_models_frequency(freq: str) -> None:
    signature = EVERYTHING.signature.model_copy(update={"freq": freq})
    anchored = {"QS": "3MS", "3YE": "36ME"}.get(freq, freq)
    for row in every_row(signature):
        assert row.timestamps is not None
        found = pd.to_datetime(row.timestamps, unit="s")
        steps = "7D" if freq == "W" else anchored
        expected = pd.date_range(found[0], periods=len(row.target) + signature.horizon, freq=steps)
        assert found.tolist() == expected.tolist()


def test_forecast_origins_are_landmarks_of_the_calendar_and_anywhere() -> None:
    signature = EVERYTHING.signature.model_copy(update={"freq": "D"})
    origins = [
        pd.Timestamp(int(row.timestamps[len(row.target)]), unit="s")
        for row in every_row(signature)
        if row.timestamps is not None
    ]
    for landmark in cases.LANDMARKS:
        assert pd.Timestamp(landmark) in origins
    assert len(set(origins)) > 100
    assert {origin.year // 50 for origin in origins} == {39, 40, 41, 42}


@pytest.mark.parametrize("freq", ["YS", "2YE"])
def test_a_context_of_centuries_is_moved_into_the_calendar(freq: str) -> None:
    changes = {"freq": freq, "context_length": 250 if freq == "2YE" else 500}
    for row in every_row(EVERYTHING.signature.model_copy(update=changes)):
        assert row.timestamps is not None
        moments = row.timestamps.astype("datetime64[s]")
        assert moments[0] >= EARLIEST
        assert moments[-1] <= LATEST
