"""Promise 2 for every shape of a network: the same bits alone and at any place of any batch."""

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from service.contract.placement import History, place
from tests.training.networks import SHAPES, exported, history
from training.config import NetworkConfig


def histories(config: NetworkConfig) -> list[History]:
    """Series of one bucket, with holes."""
    random = np.random.default_rng(0)
    steps, span = config.context_length, config.context_length + config.horizon
    declared = config.covariates
    rows = []
    for at in range(33):
        target = random.normal(100, 10, steps)
        target[random.random(steps) < 0.1 * (at % 3)] = np.nan
        timestamps = random.integers(0, 2_000_000_000) + 3600 * np.arange(span)
        codes = [random.integers(0, len(each.values) + 1) for each in declared.categories]
        row = history(target, timestamps, declared, random)
        rows.append(replace(row, categories=np.array(codes, np.int64)))
    return rows


@pytest.mark.parametrize("config", SHAPES, ids=range(len(SHAPES)))
def test_a_series_gets_the_same_bits_alone_and_in_any_batch(config: NetworkConfig) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(exported(config), options, providers=["CPUExecutionProvider"])
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
    assert (np.diff(alone, axis=-1) >= 0).all()
    for count in (2, 3, 5, 8, 16, 32, 33):
        assert np.array_equal(run(rows[-count:]), alone[-count:])
