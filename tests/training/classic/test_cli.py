"""The command leaves nothing to choose where a protocol is followed, and says so."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.cli import main
from training import recipes

CHOICES = [
    ("--horizon", "6"),
    ("--freq", "MS"),
    ("--known", "price"),
    ("--budget", "10s"),
    ("--level", "0.975"),
    ("--device", "cuda"),
    ("--devices", "2"),
    ("--resume",),
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice[0])
def test_whatever_the_protocol_has_fixed_is_refused(
    choice: tuple[str, ...], tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        main, ["train", "airline-classic", "--models", str(tmp_path), *choice]
    )
    assert done.exit_code == 2
    assert "it takes --seed, --name and --models alone" in done.output
    assert not list(tmp_path.iterdir())


def test_the_seed_the_name_and_the_folder_are_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[object] = []

    def protocol(*arguments: object, **_: Any) -> Path:
        given.extend(arguments)
        return tmp_path / "mine/1"

    monkeypatch.setitem(recipes.PROTOCOLS, "airline-classic", protocol)
    options = ["--seed", "7", "--name", "mine", "--models", str(tmp_path)]
    done = CliRunner().invoke(main, ["train", "airline-classic", *options])
    assert done.exit_code == 0, done.output
    assert given == [7, "mine", tmp_path]
    assert f"Published {tmp_path / 'mine/1'}" in done.output


def test_an_interrupted_protocol_promises_no_resumption(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def protocol(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setitem(recipes.PROTOCOLS, "airline-classic", protocol)
    done = CliRunner().invoke(main, ["train", "airline-classic", "--models", str(tmp_path)])
    assert done.exit_code == 1
    assert "nothing is kept" in done.output
    assert "--resume" not in done.output


def test_a_backtest_of_it_names_the_command_that_judges_it() -> None:
    done = CliRunner().invoke(main, ["backtest", "airline-classic", "--horizon", "12"])
    assert done.exit_code == 2
    assert "gatecast train airline-classic" in done.output
