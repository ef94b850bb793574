"""Every input of the graph: it arrives at its place, or the row is stopped before the runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contract import artifact
from service.contract.artifact import InvalidArtifact
from service.contract.placement import place, stack
from service.errors import InferenceFailed
from service.runtime import Runtime
from tests.artifacts import edit, toy

NAMES = [spec.name for spec in toy.SIGNATURE.inputs]


def good_inputs() -> dict[str, NDArray[Any]]:
    """Two rows of the toy, by tensor."""
    random = np.random.default_rng(0)
    rows = stack([toy.history(n, random) for n in (5, 8)], toy.SIGNATURE, 8)
    return dict(zip(NAMES, rows, strict=True))


@pytest.fixture(scope="module")
def toy_runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A runtime of the model that wants every kind of input."""
    return Runtime(artifact.read(toy.write(tmp_path_factory.mktemp("models"))))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.lists(st.integers(1, 50), min_size=1, max_size=9))
def test_every_input_reaches_the_graph_at_its_place(
    toy_runtime: Runtime, seed: int, steps: list[int]
) -> None:
    random = np.random.default_rng(seed)
    histories = [toy.history(n, random) for n in steps]
    for block in place(histories, toy.SIGNATURE):
        for row, got in zip(block.rows, toy_runtime.run(*block.inputs), strict=True):
            np.testing.assert_array_equal(got, toy.answer(histories[row]))


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_of_another_shape_never_reaches_the_graph(toy_runtime: Runtime, name: str) -> None:
    whole = good_inputs()[name]
    wrong = [whole[:1], whole[:0], whole[..., None]]
    if whole.ndim > 1:
        wrong += [whole[:, :-1], whole[:, :0], np.concatenate([whole, whole], axis=-1), whole[:, 0]]
    for array in wrong:
        with pytest.raises(InferenceFailed, match="do not agree with context float32"):
            toy_runtime.run(*(good_inputs() | {name: array}).values())
    assert toy_runtime.run(*good_inputs().values()).shape == (2, 3, 9)


@pytest.mark.parametrize("count", [0, 1, 2, 6, 8])
def test_another_number_of_tensors_never_reaches_the_graph(
    toy_runtime: Runtime, count: int
) -> None:
    arrays = [*good_inputs().values(), np.zeros((2, 1), np.int64)]
    with pytest.raises(InferenceFailed, match="do not agree"):
        toy_runtime.run(*arrays[:count])


def test_a_batch_without_rows_never_reaches_the_graph_whatever_its_tensors(
    toy_runtime: Runtime,
) -> None:
    with pytest.raises(InferenceFailed, match="do not agree"):
        toy_runtime.run(*(array[:0] for array in good_inputs().values()))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lengths"])
def test_a_golden_input_that_differs_is_enough_to_refuse_whatever_its_tensor(
    tmp_path: Path, name: str
) -> None:
    folder = toy.write(tmp_path)
    golden = artifact.read(folder).golden.inputs[name]
    edit.edit_golden(
        folder, **{name: np.nan_to_num(golden, nan=7) + np.array(86_400, golden.dtype)}
    )
    with pytest.raises(InvalidArtifact, match="answers differ from the golden ones"):
        Runtime(artifact.read(folder))


def test_a_graph_that_lacks_a_tensor_of_the_signature_is_refused(tmp_path: Path) -> None:
    folder = toy.write(tmp_path)
    made = onnx.load_from_string(toy.model())
    made.graph.input[2].name = "moments"
    made.graph.node[[node.op_type for node in made.graph.node].index("Div")].input[0] = "moments"
    edit.replace_model(folder, made.SerializeToString())
    with pytest.raises(InvalidArtifact, match=r"inputs are .*'moments'.*says .*'timestamps'"):
        Runtime(artifact.read(folder))
