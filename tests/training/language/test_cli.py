"""`gatecast train-language` as a user types it: what it writes, and how it refuses."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.contract import artifact
from service.contract.language import LanguageMetadata
from tests.training.language.texts import TEXT
from training.gru import Convention


def train(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["train-language", *map(str, arguments)])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "lighthouse.txt"
    path.write_text(TEXT * 2, encoding="utf-8")
    return path


def published(folder: Path) -> LanguageMetadata:
    metadata = artifact.read(folder).metadata
    assert isinstance(metadata, LanguageMetadata)
    return metadata


def test_a_text_file_becomes_a_model_of_its_name(text: Path, tmp_path: Path) -> None:
    done = train(text, "--models", tmp_path, "--epochs", 2, "--hidden", 16, "--seed", 3)
    assert done.exit_code == 0, done.output
    for words in ("vocabulary of 2", "perplexity", "5-gram", "best baseline", "Parity holds"):
        assert words in done.output
    assert f"Published {tmp_path / 'lighthouse' / '1'}" in done.output
    metadata = published(tmp_path / "lighthouse/1")
    assert metadata.training.seed == 3
    assert metadata.signature.unit == "character"
    assert metadata.training.network["embedding"] == 0


def test_the_recipe_takes_a_copy_of_its_text_and_its_own_budget_of_tokens(
    text: Path, tmp_path: Path
) -> None:
    done = train(
        *("time-machine", "--data", text, "--models", tmp_path, "--epochs", 1, "--hidden", 8),
        *("--convention", "reset_before", "--layers", 2, "--dropout", 0.1, "--embedding", 4),
        *("--tokens", 1300),
    )
    assert done.exit_code == 0, done.output
    metadata = published(tmp_path / "time-machine/1")
    assert metadata.training.observations == 1300
    assert metadata.training.network["convention"] == Convention.RESET_BEFORE.value
    assert metadata.signature.layers == 2


def test_words_have_learned_vectors(text: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text(text.read_text() * 8)
    done = train(long, "--unit", "word", "--models", tmp_path, "--epochs", 1, "--hidden", 8)
    assert done.exit_code == 0, done.output
    metadata = published(tmp_path / "long/1")
    assert metadata.signature.unit == "word"
    assert metadata.training.network["embedding"] == 128


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", (), "holds no letters"),
        (b"1234 5678", (), "holds no letters"),
        (b"a" * 5000, (), "vocabulary has 1 characters, expected at least 2"),
        (b"f\xfcr", (), "is not UTF-8: byte 1 is 0xfc"),
        (b"far too short" * 9, (), "a batch of 32 rows x 35 steps needs 1155"),
        (TEXT.encode(), ("--held-out", 0.9), "tokens; a batch of 32 rows x 35 steps needs 1155"),
        (TEXT.encode(), ("--held-out", 1), "1 is not a share: 0 up to but not 1"),
        (TEXT.encode(), ("--held-out", "nan"), "nan is not a share"),
        (TEXT.encode(), ("--dropout", 1), "1 is not a share"),
        (TEXT.encode(), ("--dropout", -0.1), "-0.1 is not a share"),
        (TEXT.encode(), ("--dropout", "much"), "much is not a share"),
        (TEXT.encode(), ("--unit", "syllable"), "'syllable' is not one of 'character', 'word'"),
        (TEXT.encode(), ("--hidden", 0), "x>=1"),
        (TEXT.encode(), ("--name", "a.b"), "is not a model name"),
        (TEXT.encode(), ("--data", "x.txt"), "--data is a copy of the text of time-machine"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line_and_publishes_nothing(
    content: bytes, options: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    done = train(path, "--models", tmp_path / "models", *options)
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output
    assert not os.path.exists(tmp_path / "models")


def test_a_text_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    done = train(tmp_path / "nowhere.txt")
    assert done.exit_code == 1
    assert "nowhere.txt cannot be read: No such file" in done.output


def test_a_name_that_cannot_be_a_model_asks_for_another(tmp_path: Path) -> None:
    done = train(tmp_path / "my text.txt")
    assert done.exit_code == 2
    assert "'my text' is not a model name; give one with --name" in done.output
