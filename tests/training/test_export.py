"""Export and parity: the file on disk is the network, whole, reproducible and free of secrets."""

import hashlib
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from service.contract import layout
from service.contract.artifact import Artifact, InvalidArtifact
from service.contract.metadata import CONTEXT, LENGTHS, Metadata
from service.runtime import Runtime
from tests.conftest import ARTIFACTS
from training import export, parity
from training.config import NetworkConfig
from training.gru import Convention, GRULayer, reference_gru
from training.network import GRUForecaster

CONFIG = NetworkConfig(horizon=4, seasonality=3, context_length=20, hidden=8)
SHAPES = [
    CONFIG,
    replace(CONFIG, layers=2, patch=3),
    replace(CONFIG, convention=Convention.RESET_BEFORE),
    replace(CONFIG, seasonality=1, quantile_levels=(0.5,)),
]
EVERY_SHAPE = pytest.mark.parametrize("config", SHAPES, ids=str)
BOTH = pytest.mark.parametrize("convention", list(Convention))


def make(config: NetworkConfig = CONFIG) -> GRUForecaster:
    torch.manual_seed(0)
    network = GRUForecaster(config).eval()
    torch.nn.init.normal_(network.head.out.weight, std=0.3)
    return network


def histories() -> parity.Rows:
    random = np.random.default_rng(1)
    return [100 + random.normal(size=int(n)).cumsum() for n in (50, 9, 20)]


def open_exported(network: GRUForecaster, folder: Path) -> Runtime:
    """Export and open as the service does, with metadata borrowed from the committed artifact."""
    model_file = export.write_model(network, folder / "model.onnx")
    borrowed = Metadata.model_validate_json((ARTIFACTS / "tiny/1/metadata.json").read_bytes())
    inputs, outputs = export.tensors(network)
    config = network.config
    signature = borrowed.signature.model_copy(
        update={"context_length": config.context_length, "horizon": config.horizon}
    )
    metadata = borrowed.model_copy(
        update={
            "inputs": inputs,
            "outputs": outputs,
            "signature": signature,
            "model_file": model_file,
        }
    )
    golden = parity.golden(network, histories())
    model = (folder / "model.onnx").read_bytes()
    return Runtime(Artifact(folder, metadata, model, golden))


@EVERY_SHAPE
def test_torch_and_the_served_runtime_agree_on_every_case(
    config: NetworkConfig, tmp_path: Path
) -> None:
    network = make(config)
    proven = parity.check(network, open_exported(network, tmp_path), histories())
    assert proven.rows >= 200
    assert proven.share <= 1
    assert {case.name for case in proven.cases} >= {"every length", "magnitudes", "ragged batch"}
    assert f"{proven.rows} rows" in parity.table(proven)


def test_a_network_that_is_not_the_exported_one_fails_parity(tmp_path: Path) -> None:
    network = make()
    runtime = open_exported(network, tmp_path)
    with torch.no_grad():
        network.head.out.bias.add_(1e-4)
    with pytest.raises(parity.ParityFailed, match="nothing is published"):
        parity.check(network, runtime, histories())


@BOTH
def test_onnx_runtimes_gru_equals_the_float64_reference(
    convention: Convention, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    layer = GRULayer(3, 16, convention).eval()
    x, steps = torch.randn(5, 30, 3), torch.tensor([1, 7, 30, 15, 29])
    with torch.no_grad():
        torch_final = layer(x, steps)[1].numpy()
    inputs = {"x": (x, ("batch", "time")), "steps": (steps, ("batch",))}
    graph = export.trace(layer, inputs, ["states", "final"])
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    states, final = session.run(None, {"x": x.numpy(), "steps": steps.numpy()})
    weights = [weight.detach().double().numpy() for weight in layer.weights.parameters()]
    expected, expected_final = reference_gru(x.double().numpy(), steps.numpy(), weights, convention)
    np.testing.assert_allclose(states, expected, atol=1e-6)  # zero in the padding, as ONNX says
    np.testing.assert_allclose(final, expected_final, atol=1e-6)
    np.testing.assert_allclose(torch_final, expected_final, atol=1e-6)


def digest_of_an_export(_: int) -> str:
    folder = Path(__file__).parent
    path = folder / f".{multiprocessing.current_process().pid}.onnx"
    try:
        return export.write_model(make(), path).sha256
    finally:
        path.unlink(missing_ok=True)


def test_the_bytes_depend_on_the_weights_alone(tmp_path: Path) -> None:
    here = [export.write_model(make(), tmp_path / f"{n}.onnx").sha256 for n in range(2)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        elsewhere = pool.map(digest_of_an_export, [0])
    assert {*here, *elsewhere} == {here[0]}
    other = make()
    with torch.no_grad():
        other.head.out.bias.add_(1)
    assert export.write_model(other, tmp_path / "other.onnx").sha256 != here[0]


@EVERY_SHAPE
def test_the_graph_is_one_gru_node_per_layer_with_free_axes_and_no_trace_of_its_making(
    config: NetworkConfig, tmp_path: Path
) -> None:
    described = export.write_model(make(config), tmp_path / "model.onnx")
    data = (tmp_path / "model.onnx").read_bytes()
    assert described.sha256 == hashlib.sha256(data).hexdigest()
    assert described.size == len(data)
    model = onnx.load_from_string(data)
    recurrent = [node for node in model.graph.node if node.op_type == "GRU"]
    assert len(recurrent) == config.layers
    for node in recurrent:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes["linear_before_reset"] == config.convention.linear_before_reset
    assert [opset.version for opset in model.opset_import] == [20]
    for word in (b"/home", b"/tmp", b"site-packages", b".py", b"torch", b"File "):
        assert word not in data


def test_an_exported_model_takes_any_batch_and_time(tmp_path: Path) -> None:
    network = make()
    export.write_model(network, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        (tmp_path / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    for batch, time in ((1, 1), (1, 20), (7, 3), (64, 133)):
        context = np.ones((batch, time), np.float32)
        lengths = np.full(batch, time, np.int64)
        (quantiles,) = session.run(None, {CONTEXT: context, LENGTHS: lengths})
        assert quantiles.shape == (batch, 4, 9)


def test_publishing_numbers_versions_and_shows_whole_ones_only(tmp_path: Path) -> None:
    def write(folder: Path, version: int) -> None:
        (folder / "model.onnx").write_text(str(version))
        assert layout.versions(tmp_path, "m") == list(range(1, version))

    for expected in (1, 2, 3):
        assert export.publish(tmp_path, "m", write) == tmp_path / "m" / str(expected)
    assert (tmp_path / "m/2/model.onnx").read_text() == "2"


def test_a_failure_while_writing_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path, _version: int) -> None:
        (folder / "model.onnx").write_text("half")
        raise InvalidArtifact("no")

    with pytest.raises(InvalidArtifact):
        export.publish(tmp_path, "m", fail)
    assert list((tmp_path / "m").iterdir()) == []


def test_two_publishers_at_a_time_get_two_versions(tmp_path: Path) -> None:
    def write(folder: Path, version: int) -> None:
        (folder / "model.onnx").write_text("late")
        if version == 1:  # another publisher is faster
            (tmp_path / "m/1").mkdir()
            (tmp_path / "m/1/model.onnx").write_text("early")

    assert export.publish(tmp_path, "m", write) == tmp_path / "m/2"
    assert (tmp_path / "m/1/model.onnx").read_text() == "early"
