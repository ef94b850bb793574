"""`gatecast generate`: the text that the service writes, or one line that says what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.generation.agreement import agree
from service.generation.alone import write
from service.generation.cli import generate
from service.generation.inquiry import Manner, TextInquiry
from tests.artifacts import babble
from tests.conftest import ARTIFACTS
from tests.service.generation.models import opened

LETTERS = opened()
WORDS = opened(babble.signature(babble.WORDS))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of letters and one of words."""
    folder = tmp_path_factory.mktemp("models")
    babble.write(folder)
    babble.write(folder, "words", babble.signature(babble.WORDS))
    return folder


def run(models: Path, *arguments: str) -> Result:
    return CliRunner().invoke(generate, [*arguments, "--models", str(models)])


def test_the_prompt_and_its_text_are_printed(models: Path) -> None:
    asked = ("--length", "30", "--temperature", "0.7", "--top-k", "9", "--top-p", "0.9")
    done = run(models, "babble", "--prompt", "time traveller", *asked, "--seed", "1")
    inquiry = TextInquiry("babble", None, "time traveller", 30, Manner(0.7, 9, 0.9), 1)
    plan = agree(inquiry, LETTERS.metadata.signature, 100)
    expected = LETTERS.metadata.signature.decode(list(write(LETTERS, plan)))
    assert done.exit_code == 0, done.output
    assert done.stdout == f"time traveller{expected}\n"


def test_words_are_parted_by_blanks(models: Path) -> None:
    done = run(models, "words@1", "--prompt", "the time", "--length", "5", "--seed", "1")
    words = done.stdout.strip("\n").split(" ")
    assert words[:2] == ["the", "time"]
    assert len(words) == 7
    assert set(words) <= set(babble.WORDS)


def test_a_seed_that_was_chosen_is_told_and_repeats_the_text(models: Path) -> None:
    first = run(models, "babble", "--prompt", "it", "--length", "40")
    seed = first.stderr.split()[1]
    again = run(models, "babble", "--prompt", "it", "--length", "40", "--seed", seed)
    assert again.stdout == first.stdout
    assert again.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("babble", "--prompt", "Time"), "'T' at character 0"),
        (("babble", "--prompt", ""), "send at least one character"),
        (("babble", "--prompt", "a", "--length", "0"), "length is 0"),
        (("babble", "--prompt", "a", "--length", "9999999"), "at most 1000000"),
        (("babble", "--prompt", "a", "--temperature", "-1"), "temperature is -1.0"),
        (("babble", "--prompt", "a", "--top-k", "99"), "expected 1 to 28"),
        (("nobody", "--prompt", "a"), "no model 'nobody' in"),
        (("babble@2", "--prompt", "a"), "has versions [1], not '2'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    models: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run(models, *arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_model_of_another_task_is_refused() -> None:
    done = run(ARTIFACTS, "tiny", "--prompt", "a")
    assert done.exit_code == 1
    assert "has the task forecast" in done.stderr


def test_the_command_needs_neither_torch_nor_onnx_nor_the_http_server(models: Path) -> None:
    forbidden = "{'torch', 'onnx', 'onnxscript', 'polars', 'training', 'fastapi'}"
    script = (
        "import sys; from service.generation.cli import generate\n"
        "generate(['babble', '--prompt', 'a', '--length', '3', '--seed', '1', '--models', "
        f"{str(models)!r}], standalone_mode=False)\n"
        f"print(sorted({forbidden} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
