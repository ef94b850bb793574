"""The files of one version: whatever is missing, damaged or swapped is refused with its reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.contract import artifact
from service.contract.artifact import Golden, InvalidArtifact
from service.contract.buckets import bucket
from tests.artifacts import edit, toy
from tests.artifacts.rows import unstack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good copy, to be damaged."""
    return edit.copy(tmp_path)


def refused(folder: Path) -> str:
    """The one line with which this version is refused; it begins with name/version."""
    with pytest.raises(InvalidArtifact) as caught:
        artifact.read(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder.parent.name}/{folder.name}: ")
    assert "\n" not in message
    return message


def array(golden: Golden, name: str) -> NDArray[Any]:
    """An array of golden.npz by its name there."""
    found: NDArray[Any] = {**golden.inputs, **golden.outputs, "scale": golden.scale}[name]
    return found


def test_a_good_version_is_read_whole() -> None:
    found = artifact.read(edit.TINY)
    assert found.folder == edit.TINY
    assert found.metadata.model_dump(mode="json") == edit.read_metadata(edit.TINY)
    assert found.model == (edit.TINY / "model.onnx").read_bytes()
    with np.load(edit.TINY / "golden.npz") as arrays:
        assert set(arrays) == {"context", "lengths", "quantiles", "scale"}
        for name in arrays:
            np.testing.assert_array_equal(array(found.golden, name), arrays[name])


def test_golden_rows_are_replayed_in_their_own_buckets() -> None:
    found = artifact.read(edit.TINY)
    golden, signature = found.golden, edit.forecaster(edit.TINY).signature
    blocks = signature.blocks(golden.given(signature))
    assert sorted(row for block in blocks for row in block.rows) == [*range(len(golden.scale))]
    for block in blocks:
        context, lengths = block.inputs
        np.testing.assert_array_equal(lengths, golden.inputs["lengths"][block.rows])
        width = context.shape[1]
        assert {bucket(n, signature.context_length) for n in lengths} == {width}
        np.testing.assert_array_equal(context, golden.inputs["context"][block.rows, :width])


@pytest.mark.parametrize("name", ["metadata.json", "model.onnx", "golden.npz"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder) == f"tiny/1: {name} is missing"


@pytest.mark.parametrize("name", ["metadata.json", "model.onnx", "golden.npz"])
def test_a_folder_in_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert name in refused(folder)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "missing" in refused(tmp_path / "tiny/3")


@pytest.mark.parametrize("text", ["", "{", "not JSON", '{"name": "tiny",}', "\x00"])
def test_broken_json_is_refused_with_the_file_named(folder: Path, text: str) -> None:
    (folder / "metadata.json").write_text(text)
    assert "metadata.json: document: Invalid JSON" in refused(folder)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "metadata.json").write_bytes(b'{"name": "\xff\xfe"}')
    assert "metadata.json" in refused(folder)


@pytest.mark.parametrize("name", json.loads((edit.TINY / "metadata.json").read_text()))
def test_a_missing_field_is_named(folder: Path, name: str) -> None:
    kept = {k: v for k, v in edit.read_metadata(folder).items() if k != name}
    (folder / "metadata.json").write_text(json.dumps(kept))
    assert f"metadata.json: {name}: Field required" in refused(folder)


def test_an_unknown_field_is_named(folder: Path) -> None:
    edit.edit_metadata(folder, colour="green")
    assert "metadata.json: colour: Extra inputs are not permitted" in refused(folder)


def test_an_unknown_field_deep_inside_is_named_with_its_place(folder: Path) -> None:
    parity = edit.read_metadata(folder)["parity"]
    parity["cpu"]["cases"][2]["mood"] = "good"
    edit.edit_metadata(folder, parity=parity)
    assert "metadata.json: parity.cpu.cases.2.mood: Extra" in refused(folder)


def test_metadata_of_another_schema_is_refused(folder: Path) -> None:
    edit.edit_metadata(folder, schema_version=2)
    assert "metadata.json: schema_version: Input should be 1" in refused(folder)


def test_another_model_file_is_refused_with_both_digests(folder: Path) -> None:
    said = edit.read_metadata(folder)["model_file"]["sha256"]
    model = bytearray((folder / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "model.onnx").write_bytes(model)
    message = refused(folder)
    assert "model.onnx has sha256" in message
    assert said in message


@pytest.mark.parametrize("end", [0, 1, 6000, -1])
def test_a_truncated_model_is_refused(folder: Path, end: int) -> None:
    model = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(model[:end])
    assert "model.onnx has sha256" in refused(folder)


@pytest.mark.parametrize("target", ["other/1", "tiny/2", "tiny/01"])
def test_a_renamed_folder_is_refused(folder: Path, target: str) -> None:
    renamed = folder.parents[1] / target
    renamed.parent.mkdir(exist_ok=True)
    folder.rename(renamed)
    assert "metadata.json belongs to tiny/1" in refused(renamed)


def test_pickled_arrays_are_refused_without_being_unpickled(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.mkdir, (tmp_path / "sprung",)

    edit.edit_golden(folder, scale=np.array([Trap()], object))
    assert "golden.npz: ValueError: Object arrays cannot be loaded" in refused(folder)
    assert not (tmp_path / "sprung").exists()


GOLDEN_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"context=1,2,3",
    "half": lambda data: data[: len(data) // 2],
    "changed bytes": lambda data: data[:200] + bytes(255 - c for c in data[200:300]) + data[300:],
    "one array": lambda _: (
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, "
        b"'shape': (1,), }" + b" " * 60 + b"\n" + b"\x00" * 4
    ),
}


@pytest.mark.parametrize("damage", GOLDEN_DAMAGE)
def test_a_damaged_golden_file_is_refused_and_named(folder: Path, damage: str) -> None:
    data = (folder / "golden.npz").read_bytes()
    (folder / "golden.npz").write_bytes(GOLDEN_DAMAGE[damage](data))
    assert "golden.npz: " in refused(folder)


@pytest.mark.parametrize("name", ["context", "lengths", "quantiles", "scale"])
def test_golden_without_one_of_its_arrays_is_refused(folder: Path, name: str) -> None:
    edit.edit_golden(folder, **{name: None})
    assert name in refused(folder)


@pytest.mark.parametrize("name", ["context", "lengths", "quantiles", "scale"])
def test_golden_arrays_that_do_not_belong_together_are_refused(folder: Path, name: str) -> None:
    whole = array(artifact.read(folder).golden, name)
    edit.edit_golden(folder, **{name: whole[:-1]})
    assert "golden.npz: " in refused(folder)
    edit.edit_golden(folder, **{name: whole.astype(np.float64)})
    assert f"{name} is float64" in refused(folder)


def test_golden_without_a_row_proves_nothing_and_is_refused(folder: Path) -> None:
    golden = artifact.read(folder).golden
    names = ("context", "lengths", "quantiles", "scale")
    edit.edit_golden(folder, **{name: array(golden, name)[:0] for name in names})
    assert "golden.npz: context is float32 (0, 24), expected float32 (1, 24)" in refused(folder)


def test_what_is_written_is_read_back(folder: Path) -> None:
    before = artifact.read(folder)
    for name in ("metadata.json", "golden.npz"):
        (folder / name).unlink()
    artifact.write_metadata(folder, before.metadata)
    artifact.write_golden(folder, before.golden)
    after = artifact.read(folder)
    assert after.metadata == before.metadata
    for name in ("context", "lengths", "quantiles", "scale"):
        np.testing.assert_array_equal(array(after.golden, name), array(before.golden, name))


def test_the_same_arrays_are_written_as_the_same_bytes(folder: Path) -> None:
    golden = artifact.read(folder).golden
    artifact.write_golden(folder, golden)
    first = (folder / "golden.npz").read_bytes()
    artifact.write_golden(folder, golden)
    assert (folder / "golden.npz").read_bytes() == first


def test_a_version_with_covariates_has_its_tensors_in_the_golden_rows(tmp_path: Path) -> None:
    found = artifact.read(toy.write(tmp_path))
    assert list(found.golden.inputs) == [spec.name for spec in toy.SIGNATURE.inputs]
    rows = unstack(found.golden.given(toy.SIGNATURE), toy.SIGNATURE)
    for history, quantiles in zip(rows, found.golden.outputs["quantiles"], strict=True):
        np.testing.assert_array_equal(toy.answer(history), quantiles)


@pytest.mark.parametrize("name", [spec.name for spec in toy.SIGNATURE.inputs])
def test_golden_rows_without_one_of_the_models_tensors_are_refused(
    tmp_path: Path, name: str
) -> None:
    folder = toy.write(tmp_path)
    whole = array(artifact.read(folder).golden, name)
    edit.edit_golden(folder, **{name: None})
    assert name in refused(folder)
    edit.edit_golden(folder, **{name: whole[:-1]})
    assert "golden.npz: " in refused(folder)
    edit.edit_golden(folder, **{name: whole.astype(np.float64)})
    assert f"golden.npz: {name} is float64" in refused(folder)
