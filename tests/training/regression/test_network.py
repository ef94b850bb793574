"""The network against the equations in float64, and its file against itself in other batches."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from service.contract.artifact import Artifact
from service.contract.metadata import ModelFile, Training
from service.contract.regression import (
    RegressionEvaluation,
    RegressionMetadata,
    RegressionSignature,
)
from service.runtime import Runtime
from tests.training.regression.tables import made_up
from training import parity
from training.export import write_model
from training.gru import Convention, reference_gru
from training.regression import cases
from training.regression.config import NetworkConfig
from training.regression.network import USUAL, GRURegressor

Floats = NDArray[np.float64]


def make(
    features: Floats, targets: Floats, convention: Convention = Convention.RESET_AFTER
) -> GRURegressor:
    """An untrained network of these statistics, in which every part changes the answer."""
    torch.manual_seed(0)
    network = GRURegressor(NetworkConfig(features.shape[1], convention=convention)).eval()
    torch.nn.init.normal_(network.bias)
    network.measure(features, targets)
    return network


def equations(network: GRURegressor, features: Floats, seen: Floats, targets: Floats) -> Floats:
    """The same in float64 numpy, with scikit-learn's standardisation."""
    standard = USUAL * np.arcsinh(StandardScaler().fit(seen).transform(features) / USUAL)
    weights = [w.detach().double().numpy() for w in network.recurrent.weights.parameters()]
    ones = np.ones(len(features), np.int64)
    convention = network.config.convention
    _, state = reference_gru(standard[:, np.newaxis], ones, weights, convention)
    out, bias = network.out.detach().double().numpy(), network.bias.detach().double().numpy()
    members = [
        state[:, at * len(row) : (at + 1) * len(row)] @ row + bias[at] for at, row in enumerate(out)
    ]
    answer: Floats = targets.mean() + targets.std() * np.mean(members, 0)
    return answer


def opened(network: GRURegressor, features: Floats, folder: Path) -> Runtime:
    """The exported network as the service opens it."""
    names = tuple(f"column {at}" for at in range(features.shape[1]))
    signature = RegressionSignature(features=names, target="y")
    path = folder / "model.onnx"
    write_model(network, signature, [network.config.convention], path)
    metadata = RegressionMetadata(
        schema_version=1,
        name="made-up",
        version=1,
        inputs=signature.inputs,
        outputs=signature.outputs,
        signature=signature,
        model_file=ModelFile(sha256="0" * 64, size=1, opset=20),
        training=Training(
            data_fingerprint="0" * 64, observations=1, seed=0, steps=1, network={}, libraries={}
        ),
        evaluation=RegressionEvaluation(
            rows=1, scores={}, best_baseline="none", beats_baselines=False
        ),
        parity={},
    )
    golden = parity.golden(answer(network), signature, cases.families(features))
    return Runtime(Artifact(folder, metadata, path.read_bytes(), golden))


def answer(network: GRURegressor) -> parity.Answer:
    return lambda inputs: cases.torch_answer(network, inputs)


@pytest.mark.parametrize("convention", list(Convention))
def test_it_computes_the_equations(convention: Convention) -> None:
    table = made_up()
    network = make(table.features, table.targets, convention)
    rows = table.features.astype(np.float32)
    got, scale = cases.torch_answer(network, (rows,))
    expected = equations(network, rows.astype(float), rows.astype(float), table.targets)
    np.testing.assert_allclose(got, expected, atol=2e-5 * table.targets.std())
    np.testing.assert_allclose(scale, table.targets.std(), rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 2000.0, 1e5, 1e7])
def test_one_float_for_the_mean_loses_less_than_a_thousandth_of_a_deviation(offset: float) -> None:
    """What float32 took from the rows themselves is gone before the graph sees them."""
    table = made_up()
    features = offset + 100 * (table.features - table.features.mean(0)) / table.features.std(0)
    rows = features.astype(np.float32)
    squashed = make(features, table.targets).standardise(torch.from_numpy(rows))
    got = USUAL * np.sinh(squashed.double().numpy() / USUAL)
    shift = got - StandardScaler().fit_transform(rows.astype(float))
    assert np.abs(shift).max() < 1e-3
    assert np.ptp(shift, axis=0).max() < 5e-6  # the same for every row: training absorbs it


def test_a_feature_that_never_differed_says_nothing_whatever_it_is() -> None:
    table = made_up()
    features = table.features.copy()
    features[:, 1] = 0.1
    network = make(features, table.targets)
    rows = features[:3].astype(np.float32)
    before, _ = cases.torch_answer(network, (rows,))
    rows[:, 1] = [0.0, 7.0, -1e9]
    after, _ = cases.torch_answer(network, (rows,))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("columns", [1, 3, 13, 37])
def test_a_row_has_the_same_bits_alone_and_at_any_place_of_any_batch(
    columns: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(columns)
    features = random.normal(10, 3, (64, columns))
    network = make(features, random.normal(size=64))
    runtime = opened(network, features, tmp_path)
    rows = features[:33].astype(np.float32)
    alone = np.concatenate([runtime.run(rows[at : at + 1]) for at in range(33)])
    for count in range(1, 34):
        for start in range(34 - count):
            got = runtime.run(rows[start : start + count])
            np.testing.assert_array_equal(got, alone[start : start + count])


@pytest.mark.parametrize("convention", list(Convention))
@pytest.mark.parametrize("columns", [1, 13])
def test_torch_and_the_served_model_agree_on_every_family(
    columns: int, convention: Convention, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    features = random.normal(1000, 300, (300, columns))
    network = make(features, random.normal(7, 2, 300), convention)
    found = parity.check(
        answer(network), opened(network, features, tmp_path), cases.families(features)
    )
    assert {case.name for case in found.cases} == set(cases.families(features))


def test_the_largest_numbers_of_a_request_are_answered_with_a_number(tmp_path: Path) -> None:
    table = made_up()
    network = make(table.features, table.targets)
    runtime = opened(network, table.features, tmp_path)
    rows = np.array([[1e36] * 3, [-1e36] * 3, [1e-36] * 3, [1e36, 0, -1e36]], np.float32)
    expected, _ = cases.torch_answer(network, (rows,))
    np.testing.assert_allclose(runtime.run(rows), expected, rtol=1e-5)


def test_the_statistics_are_in_the_file_and_there_is_one_gru_node(tmp_path: Path) -> None:
    table = made_up()
    opened(make(table.features, table.targets), table.features, tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [node.op_type for node in graph.node].count("GRU") == 1
    values = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    mean = table.features.mean(0)
    assert any(v.shape == mean.shape and np.allclose(v, mean) for v in values)
    assert any(v.shape == () and np.allclose(v, table.targets.mean()) for v in values)
