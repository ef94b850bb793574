"""Promise 2 for every shape of a network: the same bits alone and at any place of any batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from service.contract.forecast import Category, Covariates
from service.contract.placement import History, place
from tests.training.networks import write_model
from training.config import NetworkConfig
from training.layers.calendar import Cycle
from training.network import GRUForecaster

PLAIN = NetworkConfig("h", horizon=5, seasonality=6, context_length=27, hidden=8)
COVERED = replace(
    PLAIN,
    calendar=tuple(Cycle)[:3],
    covariates=Covariates(
        past=("a",),
        known=("b", "c", "d"),
        static=("e", "f", "g"),
        categories=tuple(Category(name=name, values=("x", "y")) for name in "hij"),
    ),
)
SHAPES = [
    PLAIN,
    COVERED,
    replace(COVERED, patch=4, long_season=7, horizon=1, hidden=7),
    replace(PLAIN, horizon=3, base_seasons=1, hidden=64),
    replace(PLAIN, horizon=1, base_seasons=2, context_length=30),
    replace(PLAIN, horizon=7, base_seasons=3, context_length=102, layers=2, patch=3),
    replace(PLAIN, seasonality=1, quantile_levels=(0.05, 0.5, 0.95), signals=3),
]


def histories(config: NetworkConfig) -> list[History]:
    """Series of one bucket, with holes."""
    random = np.random.default_rng(0)
    steps, span = config.context_length, config.context_length + config.horizon
    rows = []
    for at in range(33):
        target = random.normal(100, 10, steps)
        target[random.random(steps) < 0.1 * (at % 3)] = np.nan
        rows.append(
            History(
                target,
                random.integers(0, 2_000_000_000) + 3600 * np.arange(span),
                random.normal(size=(steps, 1)),
                random.normal(size=(span, 3)),
                random.normal(size=3),
                random.integers(0, 3, 3),
            )
        )
    return rows


@pytest.mark.parametrize("config", SHAPES, ids=range(len(SHAPES)))
def test_a_series_gets_the_same_bits_alone_and_in_any_batch(
    config: NetworkConfig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = GRUForecaster(config).eval()
    torch.nn.init.normal_(network.decoder.out.weight, std=0.3)
    write_model(network, tmp_path / "model.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    names = [spec.name for spec in config.signature.inputs]

    def run(rows: list[History]) -> NDArray[np.float32]:
        (block,) = place(rows, config.signature)
        answer: NDArray[np.float32] = session.run(
            None, dict(zip(names, block.inputs, strict=True))
        )[0]
        return answer

    rows = histories(config)
    alone = np.concatenate([run([row]) for row in rows])
    assert np.isfinite(alone).all()
    for count in (2, 3, 5, 8, 16, 32, 33):
        assert np.array_equal(run(rows[-count:]), alone[-count:])
