"""aliases.json: whole or not at all, whoever writes at once, and never a path."""

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract import aliases
from service.contract.aliases import Aliases, InvalidAliases

EVERYTHING = {
    "aliases": {"live": 3, "canary": 4, "shadow": 5, "idea-7": 1},
    "shares": {"canary": 5.0, "shadow": 10.0},
    "previous": 2,
    "unloaded": False,
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path


def write(models: Path, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (models / "m" / aliases.FILE).write_text(text)


def test_without_a_file_nothing_is_said(models: Path) -> None:
    assert aliases.read(models, "m") == Aliases()


def test_what_is_written_is_read(models: Path) -> None:
    wanted = Aliases.model_validate_json(json.dumps(EVERYTHING))
    assert aliases.change(models, "m", lambda _: wanted) == wanted
    assert aliases.read(models, "m") == wanted
    assert json.loads((models / "m" / aliases.FILE).read_text()) == EVERYTHING


def test_a_file_written_by_hand_may_leave_things_out(models: Path) -> None:
    write(models, {"aliases": {"live": 3}})
    assert aliases.read(models, "m") == Aliases(aliases={"live": 3})


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "document"),
        ("[]", "document"),
        ('{"aliases": {"live": 3}', "document"),
        ({"aliases": {"live": "3"}}, "aliases.live"),
        ({"aliases": {"live": 0}}, "aliases.live"),
        ({"aliases": {"live": 1.5}}, "aliases.live"),
        ({"aliases": {"3": 3}}, "aliases.3"),
        ({"aliases": {"../x": 3}}, "aliases.../x"),
        ({"aliases": {"x\n": 3}}, "aliases"),
        ({"shares": {"canary": 101}}, "shares.canary"),
        ({"shares": {"canary": -1}}, "shares.canary"),
        ({"shares": {"live": 5}}, "shares.live"),
        ({"alias": {}}, "alias"),
    ],
)
def test_a_file_that_cannot_be_says_where(models: Path, content: object, word: str) -> None:
    write(models, content)
    with pytest.raises(InvalidAliases) as error:
        aliases.read(models, "m")
    assert str(error.value).startswith(f"m/{aliases.FILE}: {word}")
    with pytest.raises(InvalidAliases):  # a change would lose what is there
        aliases.change(models, "m", lambda now: now)


def test_a_file_that_is_no_file_says_why(models: Path) -> None:
    (models / "m" / aliases.FILE).mkdir()
    with pytest.raises(InvalidAliases, match="directory"):
        aliases.read(models, "m")


def test_an_edit_that_fails_leaves_the_file_and_no_other(models: Path) -> None:
    write(models, EVERYTHING)

    def fail(_: Aliases) -> Aliases:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        aliases.change(models, "m", fail)
    assert os.listdir(models / "m") == [aliases.FILE]


def test_a_write_that_fails_leaves_the_file_and_no_other(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(models, EVERYTHING)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        aliases.change(models, "m", lambda now: now.released("live"))
    assert os.listdir(models / "m") == [aliases.FILE]
    assert json.loads((models / "m" / aliases.FILE).read_text()) == EVERYTHING


def test_a_change_of_nothing_writes_nothing(models: Path) -> None:
    aliases.change(models, "m", lambda now: now)
    assert os.listdir(models / "m") == []


def test_others_may_read_it(models: Path) -> None:
    aliases.change(models, "m", lambda now: now.promoted("live", 1, None, None))
    assert stat.S_IMODE((models / "m" / aliases.FILE).stat().st_mode) == 0o644


def _count_up(models: Path, alias: str, times: int) -> None:
    for _ in range(times):
        aliases.change(
            models,
            "m",
            lambda now: now.promoted(alias, now.aliases.get(alias, 0) + 1, None, None),
        )


def test_of_changes_at_once_none_is_lost_and_no_reader_sees_half(models: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    names = ["a", "b", "c"]
    processes = [spawn.Process(target=_count_up, args=(models, name, 40)) for name in names]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        aliases.read(models, "m")
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert aliases.read(models, "m").aliases == dict.fromkeys(names, 40)


def test_a_promotion_remembers_what_was_live_and_a_rollback_may_be_undone() -> None:
    first = Aliases().promoted("live", 4, None, live=3)
    assert (first.aliases, first.previous) == ({"live": 4}, 3)
    back = first.promoted("live", 3, None, live=4)
    assert (back.aliases, back.previous) == ({"live": 3}, 4)
    again = back.promoted("live", 3, None, live=3)  # of what is live already
    assert again == back


def test_a_promotion_loads_what_was_unloaded() -> None:
    assert not Aliases(unloaded=True).promoted("live", 1, None, None).unloaded
    assert Aliases(unloaded=True).promoted("canary", 1, 5.0, None).unloaded


def test_a_share_stays_until_another_is_said_and_goes_with_its_alias() -> None:
    canary = Aliases().promoted("canary", 4, 5.0, live=3)
    assert canary.share("canary") == 5.0
    assert canary.promoted("canary", 5, None, live=3).share("canary") == 5.0
    assert canary.promoted("canary", 5, 0.0, live=3).share("canary") == 0.0
    assert canary.released("canary") == Aliases()
    assert Aliases(shares={"canary": 5.0}).share("canary") == 0.0


@given(st.text(max_size=70))
def test_an_alias_is_never_a_version_a_path_or_two_lines(text: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    expected = bool(text) and len(text) <= 64 and set(text) <= allowed
    assert aliases.is_alias(text) == (expected and text[0] not in "0123456789_-")
