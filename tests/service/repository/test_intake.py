"""What a folder of models comes to: which version is wanted, and what is kept of those before."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.contract import aliases
from service.repository.intake import Intake
from service.repository.live import Lineup
from service.repository.place import Refusal
from tests.artifacts import edit


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        edit.copy(tmp_path, version=version)
    return tmp_path


def say(models: Path, **content: object) -> None:
    (models / "tiny" / aliases.FILE).write_text(json.dumps(content))


def spoil(models: Path, version: int) -> None:
    (models / f"tiny/{version}/model.onnx").write_bytes(b"no model")


def lineup(intake: Intake, before: Lineup | None = None) -> Lineup:
    found = intake.assemble("tiny", before).lineup
    assert found is not None
    return found


def live(intake: Intake, before: Lineup | None = None) -> int:
    return lineup(intake, before).live.metadata.version


def test_without_an_alias_the_highest_good_version_is_live(models: Path) -> None:
    assert live(Intake(models, "cpu")) == 3
    spoil(models, 3)
    found = Intake(models, "cpu").assemble("tiny", None)
    assert found.lineup is not None
    assert found.lineup.live.metadata.version == 2
    assert found.refused[3].kind == "hash"


def test_an_alias_says_which_version_is_live(models: Path) -> None:
    say(models, aliases={"live": 1, "next": 3})
    found = lineup(Intake(models, "cpu"))
    assert found.roles() == {"live": 1, "next": 3}
    assert sorted(found.warm()) == [1, 3]


def test_where_the_alias_means_a_bad_version_the_one_before_it_answers(models: Path) -> None:
    say(models, aliases={"live": 3}, previous=1)
    spoil(models, 3)
    found = Intake(models, "cpu").assemble("tiny", None)
    assert found.lineup is not None
    assert found.lineup.live.metadata.version == 1
    assert list(found.refused) == [3]


def test_an_alias_of_a_missing_version_is_reported_and_moves_nothing(models: Path) -> None:
    intake = Intake(models, "cpu")
    before = lineup(intake)
    say(models, aliases={"live": 9, "canary": 8}, shares={"canary": 50})
    found = intake.assemble("tiny", before)
    assert found.lineup is not None
    assert found.lineup.live is before.live
    assert "no such folder" in found.refused[9].reason
    assert set(found.refused) == {8, 9}


def test_a_damaged_aliases_file_keeps_what_answers_and_refuses_at_a_start(models: Path) -> None:
    intake = Intake(models, "cpu")
    before = lineup(intake)
    (models / "tiny" / aliases.FILE).write_text("{")
    found = intake.assemble("tiny", before)
    assert found.lineup is before
    assert found.refused[0].kind == "aliases"
    fresh = Intake(models, "cpu").load()
    assert fresh.live == {}
    assert "delete it to serve the highest" in fresh.refused["tiny"][0]


def test_a_version_is_opened_once_and_again_only_when_its_files_change(models: Path) -> None:
    intake = Intake(models, "cpu")
    before = lineup(intake)
    assert lineup(intake, before).live is before.live
    (models / "tiny/3/report").mkdir()
    assert lineup(intake, before).live is before.live
    shutil.rmtree(models / "tiny/3")
    edit.times(models, 2.0, version=3)
    after = lineup(intake, before)
    assert after.live is not before.live
    assert after.live.metadata.version == 3


def test_files_damaged_in_their_place_do_not_touch_what_is_in_memory(models: Path) -> None:
    intake = Intake(models, "cpu")
    before = lineup(intake)
    spoil(models, 3)
    found = intake.assemble("tiny", before)
    assert found.lineup is not None
    assert found.lineup.live is before.live
    assert found.refused[3].kind == "hash"


def test_what_was_live_stays_warm_until_the_next_swap(models: Path) -> None:
    intake = Intake(models, "cpu")
    found = [lineup(intake)]
    for version in (1, 2):
        say(models, aliases={"live": version})
        found.append(lineup(intake, found[-1]))
    assert [one.roles() for one in found] == [
        {"live": 3},
        {"live": 1, "previous": 3},
        {"live": 2, "previous": 1},
    ]
    assert found[1].previous is found[0].live
    say(models, aliases={"live": 1})
    assert lineup(intake, found[-1]).live is found[1].live  # opened by nobody again
    shutil.rmtree(models / "tiny/1")
    say(models, aliases={"live": 2})
    assert lineup(intake, found[-1]).previous is None


def test_a_patient_intake_refuses_what_fails_twice_with_the_same_files(models: Path) -> None:
    intake = Intake(models, "cpu")
    before = lineup(intake)
    edit.copy(models, version=4)
    model = models / "tiny/4/model.onnx"
    whole = model.read_bytes()
    for size in (100, 200):
        model.write_bytes(whole[:size])
        assert intake.assemble("tiny", before, patient=True).refused == {}
    assert set(intake.assemble("tiny", before, patient=True).refused) == {4}
    assert set(intake.assemble("tiny", before, patient=True).refused) == {4}
    model.write_bytes(whole)
    found = intake.assemble("tiny", before, patient=True)
    assert found.lineup is not None
    assert (found.lineup.live.metadata.version, found.refused) == (4, {})


def test_an_unloaded_model_has_no_lineup(models: Path) -> None:
    say(models, unloaded=True)
    found = Intake(models, "cpu").assemble("tiny", None)
    assert (found.lineup, found.refused) == (None, {})


def test_weights_outside_of_the_model_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = edit.copy(tmp_path / "models")
    monkeypatch.chdir(folder)  # where ONNX Runtime would look for them
    model = onnx.load("model.onnx")
    onnx.save_model(
        model, "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    edit.replace_model(folder, (folder / "m.onnx").read_bytes())
    assert (folder / "weights.bin").stat().st_size > 0
    refused = Intake(tmp_path / "models", "cpu").open("tiny", 1)
    assert isinstance(refused, Refusal)
    assert refused.kind == "runtime"
    assert "xternal" in refused.reason


def test_a_publisher_killed_in_the_middle_leaves_no_version(models: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom training.export import publish\n"
        "def write(folder, version):\n"
        "    (folder / 'metadata.json').write_text('{')\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(600)\n"
        f"publish(Path({str(models)!r}), 'tiny', write)\n"
    )
    publisher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert publisher.stdout is not None
    unfinished = Path(publisher.stdout.readline().strip())
    os.kill(publisher.pid, signal.SIGKILL)
    publisher.wait()
    publisher.stdout.close()
    assert unfinished.is_dir()
    found = Intake(models, "cpu").load()
    assert found.get("tiny").metadata.version == 3
    assert found.refused == {}
    answer = found.get("tiny").runtime.run(np.ones((1, 8), np.float32), np.array([8]))
    assert np.isfinite(answer).all()
