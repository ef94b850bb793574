"""Export: the file on disk is the network, whole, reproducible and free of secrets."""

import hashlib
import multiprocessing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from service.contract import layout
from service.contract.artifact import InvalidArtifact
from tests.training.networks import CONFIG, EVERYTHING, SHAPES, exported, make, write_model
from training import export
from training.config import NetworkConfig
from training.gru import Convention, GRULayer, reference_gru

EVERY_SHAPE = pytest.mark.parametrize("config", SHAPES, ids=str)
BOTH = pytest.mark.parametrize("convention", list(Convention))


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


def digest_of_an_export(config: NetworkConfig) -> str:
    return hashlib.sha256(exported(config)).hexdigest()


def test_the_bytes_depend_on_the_weights_alone_and_are_described(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    again = write_model(make(), path)
    assert (again.size, again.opset) == (path.stat().st_size, 20)
    assert again.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (elsewhere,) = pool.map(digest_of_an_export, [CONFIG])
    assert again.sha256 == digest_of_an_export(CONFIG) == elsewhere
    other = make()
    with torch.no_grad():
        other.decoder.out.bias.add_(1)
    assert write_model(other, path).sha256 != elsewhere


@EVERY_SHAPE
def test_the_graph_is_one_gru_node_per_layer_with_free_axes_and_no_trace_of_its_making(
    config: NetworkConfig,
) -> None:
    data = exported(config)
    model = onnx.load_from_string(data)
    recurrent = [node for node in model.graph.node if node.op_type == "GRU"]
    assert len(recurrent) == config.layers
    for node in recurrent:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes["linear_before_reset"] == config.convention.linear_before_reset
    assert [opset.version for opset in model.opset_import] == [20]
    for word in (b"/home", b"/tmp", b"site-packages", b".py", b"torch", b"File "):
        assert word not in data


@EVERY_SHAPE
def test_the_tensors_of_the_graph_are_those_of_the_signature(config: NetworkConfig) -> None:
    session = onnxruntime.InferenceSession(exported(config), providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": "float32", "tensor(int64)": "int64"}
    for found, expected in (
        (session.get_inputs(), config.signature.inputs),
        (session.get_outputs(), config.signature.outputs),
    ):
        came = [(value.name, kinds[value.type], tuple(value.shape)) for value in found]
        assert came == [(spec.name, spec.dtype, spec.shape) for spec in expected]


class Nothing(torch.nn.Module):
    """A forecast of zeros for any series, without a recurrence."""

    def forward(self, context: Tensor, lengths: Tensor) -> Tensor:
        scale = (context.sum(1) * lengths * 0).view(-1, 1, 1)
        return scale.expand(-1, CONFIG.horizon, len(CONFIG.quantile_levels))


def test_a_graph_of_another_signature_is_not_written(tmp_path: Path) -> None:
    longer = CONFIG.signature.model_copy(update={"horizon": 5})
    with pytest.raises(export.ExportFailed, match=r"outputs are .*4, 9.*says .*5, 9"):
        export.write_model(Nothing(), longer, [], tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_without_the_recurrence_that_it_should_have_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(export.ExportFailed, match="0 GRU nodes for 1 layers"):
        export.write_model(
            Nothing(), CONFIG.signature, [CONFIG.convention], tmp_path / "model.onnx"
        )
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("config", [CONFIG, EVERYTHING], ids=["plain", "everything"])
def test_an_exported_model_takes_any_batch_and_time(config: NetworkConfig) -> None:
    session = onnxruntime.InferenceSession(exported(config), providers=["CPUExecutionProvider"])
    signature = config.signature
    for batch, time in ((1, 1), (1, 20), (7, 3), (64, 133)):
        sizes = signature.sizes(batch, time)
        inputs = {spec.name: np.ones(spec.fixed(sizes), spec.dtype) for spec in signature.inputs}
        inputs["lengths"] *= time
        if config is EVERYTHING:
            inputs["static_categories"][:] = 0
        (quantiles,) = session.run(None, inputs)
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
