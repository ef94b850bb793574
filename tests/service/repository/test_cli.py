"""`gatecast models`: what it writes into the folder, and what it refuses to."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.contract import aliases
from service.contract.aliases import Aliases
from service.repository.cli import models as group
from tests.artifacts import edit


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        edit.copy(tmp_path, version=version)
    return tmp_path


def run(models: Path, *arguments: str) -> Result:
    return CliRunner().invoke(group, ["--models", str(models), *arguments])


def said(models: Path, *arguments: str) -> str:
    """What a command prints that succeeds."""
    found = run(models, *arguments)
    assert found.exit_code == 0, found.output
    return found.output


def refused(models: Path, *arguments: str) -> str:
    """What a command prints that fails, and changes nothing."""
    before = aliases.read(models, "tiny")
    found = run(models, *arguments)
    assert found.exit_code > 0
    assert "Traceback" not in found.output
    assert aliases.read(models, "tiny") == before
    return found.output


def test_the_list_says_which_version_answers(models: Path) -> None:
    assert said(models, "list").startswith("tiny@3  forecast: freq 4h")
    said(models, "promote", "tiny", "2")
    said(models, "promote", "tiny", "3", "--alias", "canary", "--share", "5")
    line = said(models)
    assert line.startswith("tiny@2  ")
    assert line.endswith("; versions [1, 2, 3]; canary 3, live 2, canary 5 %\n")


def test_the_folder_may_be_named_behind_the_command(models: Path) -> None:
    found = CliRunner().invoke(group, ["list", "--models", str(models)])
    assert found.output.startswith("tiny@3")
    missing = CliRunner().invoke(group, ["list", "--models", str(models / "nowhere")])
    assert "nowhere does not exist" in missing.output


@pytest.mark.parametrize(("asked", "version"), [("tiny", 3), ("tiny@1", 1), ("tiny@next", 2)])
def test_metadata_is_shown_of_a_name_a_version_or_an_alias(
    models: Path, asked: str, version: int
) -> None:
    said(models, "promote", "tiny", "2", "--alias", "next")
    assert json.loads(said(models, "show", asked))["version"] == version


def test_a_promotion_and_its_rollback(models: Path) -> None:
    said(models, "promote", "tiny", "1")
    assert aliases.read(models, "tiny") == Aliases(aliases={"live": 1}, previous=3)
    said(models, "rollback", "tiny")
    assert aliases.read(models, "tiny") == Aliases(aliases={"live": 3}, previous=1)
    said(models, "promote", "tiny", "--release")
    assert aliases.read(models, "tiny").aliases == {}


def test_without_a_promotion_a_rollback_leads_to_the_newest_older_good_version(
    models: Path,
) -> None:
    (models / "tiny/2/golden.npz").unlink()
    assert "passed over: tiny/2" in said(models, "rollback", "tiny")
    assert aliases.read(models, "tiny") == Aliases(aliases={"live": 1}, previous=3)


def test_a_bad_version_is_not_promoted(models: Path) -> None:
    (models / "tiny/2/model.onnx").write_bytes(b"no model")
    assert "sha256" in refused(models, "promote", "tiny", "2")
    assert "sha256" in refused(models, "verify", "tiny@2")
    assert "tiny@1 is whole" in said(models, "verify", "tiny@1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("promote", "tiny", "9"), "has the versions [1, 2, 3], not 9"),
        (("promote", "nobody", "1"), "no model 'nobody'"),
        (("promote", "../tiny", "1"), "no model '../tiny'"),
        (("promote", "tiny"), "name a version, or --release"),
        (("promote", "tiny", "1", "--release"), "not both"),
        (("promote", "tiny", "1", "--alias", "7"), "alias is '7'"),
        (("promote", "tiny", "1", "--share", "5"), "share is for the aliases"),
        (("promote", "tiny", "1", "--alias", "canary", "--share", "120"), "0 to 100"),
        (("show", "tiny@9"), "has versions [1, 2, 3], not '9'"),
        (("show", "tiny@nobody"), "has versions [1, 2, 3], not 'nobody'"),
        (("verify", "nobody"), "no model 'nobody'"),
        (("delete", "tiny"), "names no version"),
        (("delete", "tiny@9"), "has the versions"),
        (("delete", "tiny@3"), "is live; promote another"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    models: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert words in refused(models, *arguments)


def test_the_lowest_version_has_nothing_to_go_back_to(models: Path) -> None:
    for version in (1, 2):
        said(models, "delete", f"tiny@{version}")
    assert "no version before 3 to go back to; there: [3]" in refused(models, "rollback", "tiny")


def test_a_version_without_an_alias_is_deleted(models: Path) -> None:
    said(models, "promote", "tiny", "2", "--alias", "shadow")
    assert "is shadow" in refused(models, "delete", "tiny@2")
    said(models, "promote", "tiny", "--alias", "shadow", "--release")
    said(models, "delete", "tiny@2")
    assert sorted(one.name for one in (models / "tiny").iterdir()) == ["1", "3", aliases.FILE]


def test_a_damaged_aliases_file_is_told_and_left(models: Path) -> None:
    path = models / "tiny" / aliases.FILE
    path.write_text("{")
    assert "damaged: tiny/aliases.json" in said(models, "list")
    for command in (("promote", "tiny", "1"), ("rollback", "tiny"), ("delete", "tiny@1")):
        found = run(models, *command)
        assert found.exit_code > 0
        assert "repair or delete the file" in found.output
    assert path.read_text() == "{"
