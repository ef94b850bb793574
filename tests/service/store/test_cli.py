"""`gatecast models` on a store; the commands that want a folder say so."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from tests.artifacts import edit
from tests.end_to_end.s3 import S3


def run(s3: S3, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--models", s3.url])


def said(s3: S3, *arguments: str) -> str:
    """What a command prints that succeeds."""
    done = run(s3, "models", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def two(s3: S3, version: Path) -> S3:
    """A store with two versions."""
    s3.upload(version)
    s3.upload(edit.copy(version.parents[1], version=2))
    return s3


def test_every_command_works_on_what_the_store_holds(two: S3) -> None:
    assert '"version": 1' in said(two, "show", "tiny@1")
    assert "tiny@2 is whole" in said(two, "verify", "tiny")
    assert said(two, "promote", "tiny", "1").startswith("tiny@1  ")
    assert said(two).startswith("tiny@1  ")
    assert said(two, "rollback", "tiny").startswith("tiny@2  ")
    assert said(two, "delete", "tiny@1") == "tiny@1 is deleted\n"
    assert two.keys("tiny/1") == []
    assert "live 2" in said(two, "list")


def test_what_is_not_taken_is_said(two: S3) -> None:
    two.put("tiny/2/model.onnx", b"damaged")
    listed = run(two, "models", "list")
    assert (listed.exit_code, "not taken: tiny/2: model.onnx has sha256" in listed.stderr) == (
        0,
        True,
    )
    refused = run(two, "models", "promote", "tiny", "2")
    assert refused.exit_code == 1
    assert "model.onnx has sha256" in refused.stderr
    assert two.keys("tiny/aliases.json") == []


@pytest.mark.parametrize(
    "command",
    [
        ("train", "airline"),
        ("forecast", "tiny", "x.csv", "--output", "y.csv"),
        ("explain", "tiny"),
        ("generate", "tiny"),
    ],
)
def test_what_works_on_a_folder_alone_says_so(s3: S3, command: tuple[str, ...]) -> None:
    refused = run(s3, *command)
    assert refused.exit_code == 2
    assert "this works on a folder" in refused.output
