"""Where the cache of a store is: nobody else's, and no other store's."""

from pathlib import Path

import pytest

from service.store.cache import Cache
from service.store.objects import BadStore


def test_the_default_cache_is_the_users_else_a_temporary_one_and_never_a_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert Cache("s3://b/m", None).folder.parent == tmp_path / "user/gatecast"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    temporary = Cache("s3://b/m", None).folder.parent
    assert temporary.parent == tmp_path / "temporary"
    assert temporary.stat().st_mode & 0o777 == 0o700
    temporary.chmod(0o777)  # a stranger may put a model there
    with pytest.raises(BadStore, match="--store-cache: neither"):
        Cache("s3://b/m", None)


def test_stores_share_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(url: str) -> Path:
        return Cache(url, tmp_path).folder

    first = folder("s3://bucket/models")
    assert folder("s3://bucket/models") == first
    assert len({first, folder("gs://bucket/models"), folder("s3://bucket-models")}) == 3
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert folder("s3://bucket/models") != first


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadStore, match="--store-cache: .*cannot be written: Not a directory"):
        Cache("s3://b/m", tmp_path / "file")
