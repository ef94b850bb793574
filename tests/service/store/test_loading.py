"""Versions on their way from a store: what is taken, what is not, and when it is tried again."""

import os
import re
import time
from pathlib import Path

import pytest

from service.contract import artifact
from service.store import inventory
from service.store.cache import Cache
from tests.artifacts import edit
from tests.end_to_end.s3 import FILES, S3
from tests.service.store.mirrors import forget_pauses, mirror, refusals, versions


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
    monkeypatch.setattr(time, "monotonic", lambda: now)
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


def test_a_file_beyond_its_limit_is_never_asked_for(
    s3: S3, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(inventory.LIMITS, "golden.npz", 100)
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


def test_leaving_stops_in_the_middle_and_leaves_nothing(s3: S3, version: Path) -> None:
    s3.upload(version)
    one = mirror(s3)
    one.leaving.set()
    one.look()
    assert versions(one) == {}
    assert list((one.folder / ".incoming").iterdir()) == []


def test_a_model_without_room_is_said_and_tried_again(
    s3: S3, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    s3.upload(version)
    one = mirror(s3)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        one.look()
    assert refusals(one)[0].reason.startswith("tiny/1: it cannot be kept here: No space left")
    forget_pauses(one)
    one.look()
    assert (versions(one), refusals(one)) == ({"tiny": [1]}, [])


def test_a_listing_may_leave_out_the_quotes_of_tags(s3: S3, version: Path) -> None:
    s3.listing = lambda body: body.replace(b"&quot;", b"")
    s3.upload(version)
    one = mirror(s3)
    one.look()
    assert versions(one) == {"tiny": [1]}


def test_a_listing_that_never_agrees_with_the_objects_is_said(s3: S3, version: Path) -> None:
    s3.listing = lambda body: re.sub(rb"<ETag>[^<]*", rb"<ETag>&quot;another&quot;", body)
    s3.upload(version)
    one = mirror(s3)
    one.look()
    assert (versions(one), refusals(one)) == ({}, [])
    one.look()
    assert "is not what the listing says" in refusals(one)[0].reason
    s3.listing = bytes
    one.look()
    assert (versions(one), refusals(one)) == ({"tiny": [1]}, [])
