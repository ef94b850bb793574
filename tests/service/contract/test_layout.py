"""The folder of models: what counts as a model and a version, and in which order."""

from pathlib import Path

import pytest

from service.contract import aliases, layout


def make(models: Path, *folders: str) -> None:
    for folder in folders:
        (models / folder).mkdir(parents=True)


def test_versions_are_ordered_as_numbers(tmp_path: Path) -> None:
    make(tmp_path, "airline/10", "airline/2", "airline/1", "airline/100")
    assert layout.versions(tmp_path, "airline") == [1, 2, 10, 100]


@pytest.mark.parametrize(
    "folder",
    ["0", "01", "-1", "+1", "1.0", "1a", "v1", "latest", ".2", "1_0", "\u0661", "1\n", " 1"],
)
def test_only_a_plain_positive_integer_is_a_version(tmp_path: Path, folder: str) -> None:
    make(tmp_path, "airline/3", f"airline/{folder}")
    assert layout.versions(tmp_path, "airline") == [3]


def test_a_version_too_long_to_be_one_is_ignored(tmp_path: Path) -> None:
    make(tmp_path, "airline/999999999", "airline/1000000000")
    assert layout.versions(tmp_path, "airline") == [999_999_999]


def test_a_file_is_no_version(tmp_path: Path) -> None:
    make(tmp_path, "airline/1")
    (tmp_path / "airline/2").touch()
    assert layout.versions(tmp_path, "airline") == [1]


def test_names_are_sorted_and_have_a_version(tmp_path: Path) -> None:
    make(tmp_path, "pond/1", "airline/2", "A-b_9/1", "empty", "unready/.tmp")
    (tmp_path / "README.md").touch()
    assert layout.names(tmp_path) == ["A-b_9", "airline", "pond"]


@pytest.mark.parametrize(
    "name", [".airline", "_airline", "-airline", "a.b", "a b", "caf\u00e9", "airline\n", "a" * 65]
)
def test_a_folder_whose_name_is_no_model_name_is_ignored(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"{name}/1")
    assert layout.names(tmp_path) == []
    assert layout.versions(tmp_path, name) == []


@pytest.mark.parametrize("name", ["..", ".", "", "../models", "airline/1", "/", "airline/../pond"])
def test_a_path_is_never_a_name(tmp_path: Path, name: str) -> None:
    make(tmp_path, "models/airline/1/1", "models/pond/1", "1")
    assert layout.versions(tmp_path / "models", name) == []


def test_an_absolute_path_is_never_a_name(tmp_path: Path) -> None:
    make(tmp_path, "models", "elsewhere/1")
    assert layout.versions(tmp_path / "models", str(tmp_path / "elsewhere")) == []


def test_an_unknown_name_has_no_versions(tmp_path: Path) -> None:
    assert layout.versions(tmp_path, "airline") == []


def test_an_empty_folder_has_no_names(tmp_path: Path) -> None:
    assert layout.names(tmp_path) == []


def test_each_version_found_is_a_folder_where_it_is_said_to_live(tmp_path: Path) -> None:
    make(tmp_path, "airline/7", "pond/12")
    for name in layout.names(tmp_path):
        for version in layout.versions(tmp_path, name):
            assert layout.folder(tmp_path, name, version).is_dir()
    assert layout.folder(tmp_path, "pond", 12) == tmp_path / "pond" / "12"


def test_a_name_means_what_answers_and_an_alias_its_version(tmp_path: Path) -> None:
    make(tmp_path, "airline/1", "airline/2", "airline/3")
    assert layout.find(tmp_path, "airline") == ("airline", 3)
    assert layout.find(tmp_path, "airline@live") == ("airline", 3)
    file = tmp_path / "airline" / aliases.FILE
    file.write_text('{"aliases": {"live": 2, "canary": 1, "gone": 9}}')
    assert layout.find(tmp_path, "airline") == ("airline", 2)
    assert layout.find(tmp_path, "airline@canary") == ("airline", 1)
    assert layout.find(tmp_path, "airline@3") == ("airline", 3)
    for asked in ("airline@gone", "airline@nobody", "airline@", "airline@9", "pond"):
        with pytest.raises(layout.NoVersion):
            layout.find(tmp_path, asked)
    file.write_text("{")
    assert layout.find(tmp_path, "airline@3") == ("airline", 3)
    with pytest.raises(layout.NoVersion, match="repair or delete the file"):
        layout.find(tmp_path, "airline")
