"""The repository: the highest version is live, a broken model keeps nobody else from serving."""

import logging
from pathlib import Path

import numpy as np
import pytest

from service.errors import NotFound
from service.repository.intake import Intake
from service.repository.live import open_version
from tests.artifacts import edit


def test_the_highest_version_is_live(tmp_path: Path) -> None:
    for version in (1, 2, 10):
        edit.copy(tmp_path, version=version)
    found = Intake(tmp_path, "cpu").load()
    assert found.get("tiny").metadata.version == 10
    assert found.get("tiny", 10) is found.get("tiny")
    assert found.refused == {}


def test_every_good_model_is_live_under_its_own_name(tmp_path: Path) -> None:
    for name in ("pond", "airline"):
        edit.copy(tmp_path, name)
    found = Intake(tmp_path, "cpu").load()
    assert {name: model.metadata.name for name, model in found.live.items()} == {
        "airline": "airline",
        "pond": "pond",
    }


def test_a_broken_model_is_refused_with_its_reason_while_the_others_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit.copy(tmp_path, "good")
    (edit.copy(tmp_path, "lost") / "model.onnx").unlink()
    edit.replace_model(edit.copy(tmp_path, "scrambled"), b"not a graph")
    (edit.copy(tmp_path, "mangled") / "golden.npz").write_bytes(b"")
    with caplog.at_level(logging.ERROR, "gatecast"):
        found = Intake(tmp_path, "cpu").load()
    assert list(found.live) == ["good"]
    assert found.refused["lost"][1] == "lost/1: model.onnx is missing"
    assert "onnxruntime cannot open" in found.refused["scrambled"][1]
    assert "golden.npz" in found.refused["mangled"][1]
    assert set(found.refused) == {"lost", "scrambled", "mangled"}
    for reason in found.refused.values():
        assert reason[1] in caplog.text
    answer = found.get("good").runtime.run(np.ones((1, 8), np.float32), np.array([8]))
    assert answer.shape == (1, 6, 9)


def test_the_highest_good_version_stands_in_for_a_broken_one(tmp_path: Path) -> None:
    edit.copy(tmp_path, version=1)
    (edit.copy(tmp_path, version=2) / "golden.npz").unlink()
    found = Intake(tmp_path, "cpu").load()
    assert found.get("tiny").metadata.version == 1
    assert found.refused == {"tiny": {2: "tiny/2: golden.npz is missing"}}


def test_hidden_and_unfinished_folders_are_not_models(tmp_path: Path) -> None:
    edit.copy(tmp_path)
    (tmp_path / ".building/1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    found = Intake(tmp_path, "cpu").load()
    assert list(found.live) == ["tiny"]
    assert found.refused == {}


def test_an_unknown_name_is_not_found_and_told_what_is_served(tmp_path: Path) -> None:
    for name in ("pond", "airline"):
        edit.copy(tmp_path, name)
    found = Intake(tmp_path, "cpu").load()
    with pytest.raises(NotFound, match="'lake' is not served here; served: airline, pond") as error:
        found.get("lake")
    assert error.value.field == "model"


def test_a_refused_model_is_not_found(tmp_path: Path) -> None:
    (edit.copy(tmp_path) / "model.onnx").unlink()
    with pytest.raises(NotFound, match="'tiny' is not served here; served: none"):
        Intake(tmp_path, "cpu").load().get("tiny")


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_not_found_even_where_it_lies_on_disk(
    tmp_path: Path, version: int
) -> None:
    for existing in (1, 2):
        edit.copy(tmp_path, version=existing)
    found = Intake(tmp_path, "cpu").load()
    with pytest.raises(NotFound, match=f"is served in version 2, not {version}; ready: live 2"):
        found.get("tiny", version)


def test_a_name_is_never_read_as_a_path(tmp_path: Path) -> None:
    edit.copy(tmp_path / "models")
    edit.copy(tmp_path, "outside")
    found = Intake(tmp_path / "models", "cpu").load()
    for name in ("../outside", "tiny/1", str(tmp_path / "outside"), ""):
        with pytest.raises(NotFound):
            found.get(name)


def test_a_missing_folder_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train a model first"):
        Intake(tmp_path / "models", "cpu").load()


def test_an_empty_folder_serves_nothing(tmp_path: Path) -> None:
    found = Intake(tmp_path, "cpu").load()
    assert (found.live, found.refused) == ({}, {})


def test_a_version_that_is_not_live_can_still_be_opened(tmp_path: Path) -> None:
    for version in (1, 2):
        edit.copy(tmp_path, version=version)
    assert open_version(tmp_path, "tiny", 1, "cpu").metadata.version == 1


def test_loading_writes_nothing_into_the_folder(tmp_path: Path) -> None:
    edit.copy(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    Intake(tmp_path, "cpu").load()
    assert sorted(tmp_path.rglob("*")) == before
