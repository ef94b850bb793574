"""A folder kept as a store has it: what follows, what goes, and who looks."""

import json
import shutil
from pathlib import Path

import pytest

from service.store.cache import Cache
from service.store.objects import StoreFailed
from tests.artifacts import edit
from tests.end_to_end.s3 import FILES, S3
from tests.service.store.mirrors import mirror, versions


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


def test_a_cache_that_is_full_is_said_like_a_store_that_is_down(
    s3: S3, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    s3.upload(version)
    one = mirror(s3)
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.mkstemp", full)
        assert (one.look().failure or "").endswith("cannot be written: No space left on device")
        with pytest.raises(StoreFailed, match="No space left"):
            one.refresh()
    assert one.look().failure is None
    assert versions(one) == {"tiny": [1]}


def test_markers_of_folders_are_nothing(s3: S3, version: Path) -> None:
    for marker in ("", "tiny/", "tiny/1/", "tiny/2/"):
        s3.put(marker, b"")
    s3.upload(version)
    one = mirror(s3)
    for _ in range(2):
        assert one.look().failure is None
    assert (versions(one), one.refused()) == ({"tiny": [1]}, {})
