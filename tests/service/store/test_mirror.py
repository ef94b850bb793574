"""A folder kept as a store has it: what is taken, what is not, and what is said of it."""

import json
import shutil
from pathlib import Path

import pytest

from service.contract import artifact, layout
from service.repository.place import Refusal
from service.store import loading
from service.store.cache import Cache
from service.store.mirror import Mirror
from service.store.objects import StoreFailed
from tests.artifacts import edit
from tests.end_to_end.s3 import FILES, S3


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The folder of tiny/1, on the machine that trained it."""
    return edit.copy(tmp_path / "trained")


def mirror(s3: S3, cache: Path | None = None) -> Mirror:
    return Mirror(s3.url, cache)


def versions(one: Mirror) -> dict[str, list[int]]:
    return {name: layout.versions(one.folder, name) for name in layout.names(one.folder)}


def refusals(one: Mirror) -> list[Refusal]:
    return [refusal for found in one.refused().values() for refusal in found.values()]


def forget_pauses(one: Mirror) -> None:
    """As if the pause before the next try were over."""
    cache = Cache(one.url, None)
    look = cache.read()
    for held in look.held.values():
        held.again = 0.0
    cache.write(look)


def test_the_folder_becomes_what_the_store_holds_and_nothing_is_loaded_twice(
    s3: S3, version: Path
) -> None:
    s3.upload(version)
    s3.put("tiny/1/report/curve.png", b"a picture")
    one = mirror(s3)
    assert one.look().failure is None
    for file in FILES:
        assert (one.folder / "tiny/1" / file).read_bytes() == (version / file).read_bytes()
    assert sorted(s3.loads()) == [f"tiny/1/{file}" for file in FILES]
    for again in (one, mirror(s3)):
        again.look()
        assert s3.loads() == []
    s3.upload(edit.copy(version.parents[1], version=2))
    one.look()
    assert versions(one) == {"tiny": [1, 2]}
    assert sorted(s3.loads()) == [f"tiny/2/{file}" for file in FILES]


def test_a_version_is_taken_when_its_files_are_there_and_missed_when_it_stays_without(
    s3: S3, version: Path
) -> None:
    one = mirror(s3)
    for file in ("metadata.json", "golden.npz"):
        s3.upload(version, [file])
        one.look()
        assert (versions(one), refusals(one)) == ({}, [])
    one.look()
    (refusal,) = refusals(one)
    assert "tiny/1: model.onnx not there (yet)" in refusal.reason
    s3.upload(version, ["model.onnx"])
    one.look()
    assert (versions(one), refusals(one)) == ({"tiny": [1]}, [])


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_load_is_not_taken_and_tried_again_after_a_pause(
    s3: S3, version: Path, file: str
) -> None:
    s3.upload(version)
    one = mirror(s3)
    s3.spoilt = file
    one.look()
    assert versions(one) == {}
    (refusal,) = refusals(one)
    assert refusal.reason.startswith("tiny/1: ")
    s3.spoilt = ""
    s3.loads()
    one.look()
    assert s3.loads() == []  # not before the pause is over
    forget_pauses(one)
    one.look()
    assert (versions(one), refusals(one)) == ({"tiny": [1]}, [])


def test_pauses_grow_to_five_minutes_and_end_when_the_objects_change(
    s3: S3, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(loading.time, "monotonic", lambda: now)
    s3.upload(version)
    s3.put("tiny/1/model.onnx", b"no model")
    one = mirror(s3)
    pauses = []
    for _ in range(10):
        one.look()
        (held,) = Cache(one.url, None).read().held.values()
        pauses.append(held.again - now)
        now = held.again
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]
    s3.upload(version)
    now -= 200.0
    one.look()
    assert versions(one) == {"tiny": [1]}


def test_a_boot_does_not_make_a_pause_longer(s3: S3, version: Path) -> None:
    s3.upload(version)
    one = mirror(s3)
    cache = Cache(one.url, None)
    s3.spoilt = "model.onnx"
    one.look()
    s3.spoilt = ""
    look = cache.read()
    (held,) = look.held.values()
    held.again += 1e6  # monotonic clocks begin anew
    cache.write(look)
    one.look()
    assert versions(one) == {"tiny": [1]}


def test_a_version_changed_in_its_place_follows_and_a_bad_one_does_not(
    s3: S3, version: Path
) -> None:
    s3.upload(version)
    one = mirror(s3)
    one.look()
    changed = edit.times(version.parents[2] / "changed", 2.0, version=1)
    s3.upload(changed, ["model.onnx"])
    one.look()
    assert "sha256" in refusals(one)[0].reason
    assert artifact.read(one.folder / "tiny/1").model == (version / "model.onnx").read_bytes()
    s3.upload(changed, ["metadata.json", "golden.npz"])
    one.look()
    assert refusals(one) == []
    assert artifact.read(one.folder / "tiny/1").model == (changed / "model.onnx").read_bytes()


def test_what_is_deleted_goes_and_an_empty_store_is_taken_for_lost(s3: S3, version: Path) -> None:
    s3.upload(version)
    s3.upload(edit.copy(version.parents[1], version=2))
    s3.upload(edit.copy(version.parents[1], name="pond"))
    s3.put("pond/aliases.json", b"{}")
    one = mirror(s3)
    one.look()
    assert versions(one) == {"tiny": [1, 2], "pond": [1]}
    s3.delete("tiny/1/")
    s3.delete("pond/")
    assert not one.look().lost
    assert versions(one) == {"tiny": [2]}
    assert not (one.folder / "pond").exists()
    s3.delete()
    assert one.look().lost
    assert versions(one) == {"tiny": [2]}
    s3.upload(version)
    assert not one.look().lost
    assert versions(one) == {"tiny": [1]}


def test_names_of_the_store_become_paths_only_where_the_layout_knows_them(
    s3: S3, version: Path
) -> None:
    s3.upload(version)
    for key in ("0", "01", "1x", "-1", "1000000000", ".hidden", "report"):
        s3.put(f"tiny/{key}/model.onnx", b"x")
    for key in (".hidden/1/model.onnx", "a b/1/model.onnx", "tiny/1/model.onnx/x", "x" * 65 + "/1"):
        s3.put(key, b"x")
    one = mirror(s3)
    one.look()
    found = {str(path.relative_to(one.folder)) for path in one.folder.rglob("*") if path.is_file()}
    assert {path for path in found if not Path(path).name.startswith(".")} == {
        f"tiny/1/{file}" for file in FILES
    }
    assert sorted(s3.loads()) == [f"tiny/1/{file}" for file in FILES]


def test_a_name_that_is_no_path_stops_the_look_and_nothing_else(s3: S3, version: Path) -> None:
    s3.upload(version)
    one = mirror(s3)
    one.look()
    s3.put("../../tiny/2/model.onnx", b"x")
    s3.put("tiny//2/model.onnx", b"x")
    assert "invalid path" in (one.look().failure or "")
    assert versions(one) == {"tiny": [1]}


def test_a_file_beyond_its_limit_is_never_asked_for(
    s3: S3, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.lacking.__globals__["LIMITS"], "golden.npz", 100)
    s3.upload(version)
    one = mirror(s3)
    one.look()
    one.look()
    assert "at most 100 are taken" in refusals(one)[0].reason
    assert s3.loads() == []


def test_a_damaged_cache_is_mended_at_a_start(s3: S3, version: Path) -> None:
    s3.upload(version)
    one = mirror(s3)
    one.look()
    (one.folder / "tiny/1/model.onnx").write_bytes(b"half")
    one.look(doubting=True)
    assert artifact.read(one.folder / "tiny/1").model == (version / "model.onnx").read_bytes()


def test_what_a_killed_process_left_is_swept_and_never_in_place(s3: S3, version: Path) -> None:
    s3.upload(version)
    one = mirror(s3)
    left = one.folder / ".incoming/left/tiny/1"
    shutil.copytree(version, left)
    one.look()
    assert list((one.folder / ".incoming").iterdir()) == []
    assert versions(one) == {"tiny": [1]}


def test_of_those_who_share_a_cache_one_looks_in_a_turn(s3: S3, version: Path) -> None:
    s3.upload(version)
    one, other = mirror(s3), mirror(s3)
    s3.asked.clear()
    with Cache(one.url, None).turn() as ours:
        assert ours
        other.look()
        assert s3.asked == []
    one.look(60.0)
    looks = len(s3.asked)
    assert looks > 0
    assert other.look(60.0).seen == one.look(60.0).seen > 0
    assert len(s3.asked) == looks
    other.look()
    assert len(s3.asked) == looks + 1


def test_leaving_stops_in_the_middle_and_leaves_nothing(s3: S3, version: Path) -> None:
    s3.upload(version)
    one = mirror(s3)
    one.leaving.set()
    one.look()
    assert versions(one) == {}
    assert list((one.folder / ".incoming").iterdir()) == []


def test_a_store_that_is_down_keeps_what_there_is_and_says_what_happened(
    s3: S3, version: Path
) -> None:
    s3.upload(version)
    one = mirror(s3)
    seen = one.look().seen
    with s3.being_down():
        look = one.look()
        assert f"{s3.url} cannot be listed" in (look.failure or "")
        assert look.seen == seen
        with pytest.raises(StoreFailed, match="cannot be listed"):
            one.refresh("tiny")
        with pytest.raises(StoreFailed):
            one.change("tiny", lambda now: now.promoted("live", 1, None, None))
        with pytest.raises(StoreFailed):
            one.remove("tiny", 1)
        assert versions(one) == {"tiny": [1]}
    assert one.look().failure is None


def test_a_broken_note_of_the_last_look_is_no_note(s3: S3, version: Path) -> None:
    s3.upload(version)
    one = mirror(s3)
    one.look()
    (one.folder / ".look.json").write_text(json.dumps({"at": "soon"}))
    assert one.look(60.0).failure is None
    assert one.refused() == {}


def test_a_model_without_room_is_said_and_tried_again(
    s3: S3, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    s3.upload(version)
    one = mirror(s3)
    with monkeypatch.context() as patched:
        patched.setattr(loading.os, "fsync", full)
        one.look()
    assert refusals(one)[0].reason.startswith("tiny/1: it cannot be kept here: No space left")
    forget_pauses(one)
    one.look()
    assert (versions(one), refusals(one)) == ({"tiny": [1]}, [])
