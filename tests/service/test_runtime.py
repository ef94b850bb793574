"""The runtime: only a model that proves itself is opened, and every row gets its own bits."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.contract import artifact
from service.contract.artifact import InvalidArtifact
from service.contract.buckets import bucket
from service.contract.placement import History, place
from service.errors import InferenceFailed
from service.providers import ProviderUnavailable
from service.runtime import Runtime
from tests.artifacts import edit

CONTEXT_LENGTH = 24
RUNTIME = Runtime(artifact.read(edit.TINY))
SIGNATURE = edit.forecaster(edit.TINY).signature

Floats = NDArray[np.float32]

without_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this installation has CUDA"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good copy, to be damaged."""
    return edit.copy(tmp_path)


def refused(folder: Path) -> str:
    with pytest.raises(InvalidArtifact) as caught:
        Runtime(artifact.read(folder))
    message = str(caught.value)
    assert message.startswith("tiny/1: ")
    return message


def graph(value: float, element: int = TensorProto.FLOAT, **names: Any) -> bytes:
    """A model of the right form that answers every row with one number."""
    named: dict[str, Any] = {
        "context": "context",
        "batch": "batch",
        "time": "time",
        "levels": 9,
    } | names
    tensor = helper.make_tensor_value_info
    inputs = [
        tensor(named["context"], TensorProto.FLOAT, [named["batch"], named["time"]]),
        tensor("lengths", TensorProto.INT64, [named["batch"]]),
    ]
    outputs = [tensor("quantiles", element, [named["batch"], 6, named["levels"]])]
    rest = helper.make_tensor("rest", TensorProto.INT64, [2], [6, named["levels"]])
    nodes = [
        helper.make_node("Shape", ["lengths"], ["rows"]),
        helper.make_node("Concat", ["rows", "rest"], ["shape"], axis=0),
        helper.make_node(
            "ConstantOfShape",
            ["shape"],
            ["quantiles"],
            value=helper.make_tensor("value", element, [1], [value]),
        ),
    ]
    body = helper.make_graph(nodes, "constant", inputs, outputs, [rest])
    opset = helper.make_opsetid("", 20)
    made: bytes = helper.make_model(body, opset_imports=[opset], ir_version=10).SerializeToString()
    return made


@st.composite
def rows_of_one_bucket(draw: st.DrawFn) -> list[NDArray[np.float64]]:
    """Histories of one bucket, of any magnitude, with gaps but never without a value."""
    width = draw(st.sampled_from(sorted({bucket(n, CONTEXT_LENGTH) for n in range(1, 25)})))
    allowed = [n for n in range(1, 25) if bucket(n, CONTEXT_LENGTH) == width]
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = []
    for length in draw(st.lists(st.sampled_from(allowed), min_size=1, max_size=9)):
        row = 10.0 ** random.integers(-8, 12) * (random.normal(size=length).cumsum() + 2)
        row[random.random(length) < random.uniform(0, 0.7)] = np.nan
        row[random.integers(length)] = float(random.integers(-3, 4))
        rows.append(row)
    return rows


@settings(max_examples=60, deadline=None)
@given(rows_of_one_bucket())
def test_a_row_has_the_same_bits_alone_and_in_any_batch(rows: list[NDArray[np.float64]]) -> None:
    (batch,) = place([History(row) for row in rows], SIGNATURE)
    together = RUNTIME.run(*batch.inputs)
    backwards = RUNTIME.run(*(array[::-1].copy() for array in batch.inputs))[::-1]
    for at in range(len(rows)):
        alone = RUNTIME.run(*(array[at : at + 1] for array in batch.inputs))
        np.testing.assert_array_equal(together[at], alone[0])
        np.testing.assert_array_equal(backwards[at], alone[0])


@settings(max_examples=10, deadline=None)
@given(rows_of_one_bucket())
def test_a_row_has_the_same_bits_from_four_threads_at_once(rows: list[NDArray[np.float64]]) -> None:
    (batch,) = place([History(row) for row in rows], SIGNATURE)
    expected = RUNTIME.run(*batch.inputs)

    def one(at: int) -> Floats:
        at %= len(rows)
        return RUNTIME.run(*(array[at : at + 1] for array in batch.inputs))

    with ThreadPoolExecutor(4) as threads:
        for at, got in enumerate(threads.map(one, range(40))):
            np.testing.assert_array_equal(got[0], expected[at % len(rows)])


def test_the_golden_answers_are_replayed() -> None:
    golden = artifact.read(edit.TINY).golden
    for block in SIGNATURE.blocks(golden.given(SIGNATURE)):
        got = RUNTIME.run(*block.inputs)
        want = golden.outputs["quantiles"][block.rows].astype(np.float64)
        unit = np.maximum(golden.scale[block.rows], 1e-30)[:, None, None]
        assert (np.abs(got - want) / unit <= 2e-6 + 1e-5 * np.abs(want) / unit).all()


def test_levels_never_cross() -> None:
    random = np.random.default_rng(3)
    context = (100 * random.normal(size=(50, CONTEXT_LENGTH))).astype(np.float32)
    answer = RUNTIME.run(context, np.full(50, CONTEXT_LENGTH))
    assert answer.shape == (50, 6, 9)
    assert answer.dtype == np.float32
    assert (np.diff(answer, axis=-1) >= 0).all()


def test_one_golden_number_that_differs_is_enough_to_refuse(folder: Path) -> None:
    golden = artifact.read(folder).golden
    for row in (0, len(golden.outputs["quantiles"]) - 1):
        changed = golden.outputs["quantiles"].copy()
        changed[row, -1, -1] += np.float32(0.01 * max(golden.scale[row], 1))
        edit.edit_golden(folder, quantiles=changed)
        assert "on cpu the answers differ from the golden ones by" in refused(folder)


def test_another_golden_input_is_enough_to_refuse(folder: Path) -> None:
    golden = artifact.read(folder).golden
    edit.edit_golden(folder, context=golden.inputs["context"] * np.float32(1.01))
    assert "answers differ from the golden ones" in refused(folder)


def test_a_golden_answer_that_is_no_number_is_refused(folder: Path) -> None:
    quantiles = artifact.read(folder).golden.outputs["quantiles"]
    quantiles[0] = np.nan
    edit.edit_golden(folder, quantiles=quantiles)
    assert "answers differ from the golden ones" in refused(folder)


@pytest.mark.parametrize("length", [0, 25])
def test_a_golden_row_of_an_impossible_length_is_refused(folder: Path, length: int) -> None:
    lengths = artifact.read(folder).golden.inputs["lengths"]
    lengths[-1] = length
    edit.edit_golden(folder, lengths=lengths)
    assert "golden.npz: lengths must lie in 1..24" in refused(folder)


@pytest.mark.parametrize("model", [b"not a graph", b"\x00" * 100, b"\x08"])
def test_a_file_that_is_not_onnx_is_refused(folder: Path, model: bytes) -> None:
    edit.replace_model(folder, model)
    assert "onnxruntime cannot open model.onnx" in refused(folder)


def test_a_graph_that_uses_an_operator_nobody_has_is_refused(folder: Path) -> None:
    made = onnx.load_from_string((folder / "model.onnx").read_bytes())
    made.graph.node[0].op_type = "Crystal"
    edit.replace_model(folder, made.SerializeToString())
    assert "onnxruntime cannot open model.onnx" in refused(folder)


def test_other_weights_with_a_matching_digest_are_refused_by_the_golden_rows(folder: Path) -> None:
    made = onnx.load_from_string((folder / "model.onnx").read_bytes())
    weights = max(made.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(weights.raw_data, np.float32)
    weights.raw_data = (values * np.float32(1.01)).tobytes()
    edit.replace_model(folder, made.SerializeToString())
    assert "answers differ from the golden ones" in refused(folder)


LYING_GRAPHS: dict[str, tuple[bytes, str]] = {
    "fixed time": (graph(1.0, time=24), "inputs are .*24"),
    "fixed batch": (graph(1.0, batch=1), "inputs are .*1, 'time'"),
    "no names": (graph(1.0, batch=None, time=None), "inputs are .*None"),
    "another name": (graph(1.0, context="values"), "inputs are .*'values'"),
    "float64": (graph(1.0, TensorProto.DOUBLE), "outputs are .*double"),
    "fewer levels": (graph(1.0, levels=7), r"outputs are .*6, 7.*says .*6, 9"),
}


@pytest.mark.parametrize("case", LYING_GRAPHS)
def test_a_graph_whose_tensors_are_not_those_of_the_metadata_is_refused(
    folder: Path, case: str
) -> None:
    model, message = LYING_GRAPHS[case]
    edit.replace_model(folder, model)
    with pytest.raises(InvalidArtifact, match=message):
        Runtime(artifact.read(folder))


def test_metadata_that_lies_about_an_input_is_refused(folder: Path) -> None:
    inputs = edit.read_metadata(folder)["inputs"]
    inputs[1]["dtype"] = "float32"
    edit.edit_metadata(folder, inputs=inputs)
    assert "the signature says context float32 [batch, time], lengths int64 [batch]" in (
        refused(folder)
    )


def test_a_model_that_answers_with_nan_is_refused_and_not_an_accident(folder: Path) -> None:
    edit.replace_model(folder, graph(float("nan")))
    assert "a number that is not finite" in refused(folder)


WRONG_SHAPES = [
    ((0, 8), []),
    ((1, 0), [1]),
    ((1, 0), [0]),
    ((2, 8), [8]),
    ((1, 8), [8, 8]),
    ((1, 8), [0]),
    ((1, 8), [-1]),
    ((1, 8), [9]),
    ((2, 8), [8, 2**62]),
]


@pytest.mark.parametrize(("shape", "lengths"), WRONG_SHAPES)
def test_what_would_end_the_process_raises_instead(
    shape: tuple[int, int], lengths: list[int]
) -> None:
    with pytest.raises(InferenceFailed, match=r"do not agree|must lie in"):
        RUNTIME.run(np.ones(shape, np.float32), np.array(lengths, np.int64))
    answer = RUNTIME.run(np.ones((1, 8), np.float32), np.array([8]))
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 3, 7])
def test_infinity_in_the_context_is_an_error_and_not_a_forecast(value: float, at: int) -> None:
    context = np.arange(8, dtype=np.float32)[None].repeat(2, 0)
    context[1, at] = value
    with pytest.raises(InferenceFailed, match="not finite"):
        RUNTIME.run(context, np.array([8, 8]))


def test_a_wrong_dtype_is_an_error_of_the_runtime_and_not_of_the_process() -> None:
    with pytest.raises(InferenceFailed, match="onnxruntime: "):
        RUNTIME.run(np.ones((1, 8), np.float64), np.array([8]))


@without_cuda
def test_a_model_is_never_opened_on_another_provider_than_asked() -> None:
    with pytest.raises((ProviderUnavailable, InvalidArtifact)):
        Runtime(artifact.read(edit.TINY), "cuda")
