"""Models in a real S3 store: served, promoted by replicas, and never missed while it is down."""

import re
import sys
from pathlib import Path

import httpx
import pytest

from service.contract import aliases
from tests.artifacts import edit
from tests.end_to_end.processes import eventually
from tests.end_to_end.s3 import S3
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import counted, gatecast
from tests.end_to_end.test_versions import Callers, answering, ask, error, promote


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Where versions are before they are uploaded."""
    return tmp_path / "trained"


def upload(s3: S3, trained: Path, version: int) -> None:
    s3.upload(edit.times(trained, 1.0 + version, version=version))


def everywhere(server: ServerProcess, version: int) -> bool:
    """Whether each of the workers answers with a version: connections go to them in turn."""
    found = set()
    for _ in range(4):
        with client(server) as http:
            found.add(answering(http))
    return found == {version}


def up(s3: S3, http: httpx.Client) -> float:
    return counted(http, f'gatecast_store_up{{store="{s3.url}"}}')


def test_replicas_follow_the_store_and_each_other_and_a_restart_loads_nothing(
    s3: S3, trained: Path, tmp_path: Path
) -> None:
    upload(s3, trained, 1)
    first = tmp_path / "first"
    with (
        serving(s3.url, "--workers", "2", store_cache=first, watch_s=0.1) as two,
        serving(s3.url, store_cache=tmp_path / "second", watch_s=0.1) as one,
        client(two) as http,
        client(one) as other,
    ):
        assert everywhere(two, 1)
        upload(s3, trained, 2)
        assert eventually(lambda: everywhere(two, 2) and answering(other) == 2)
        assert promote(other, 1).json()["version"] == 1
        assert aliases.parse("tiny", s3.read("tiny/aliases.json")).aliases == {"live": 1}
        assert eventually(lambda: everywhere(two, 1))
        done = gatecast("models", "promote", "tiny", "2", "--models", s3.url)
        assert done.stdout.startswith("tiny@2  "), done.stderr
        assert eventually(lambda: everywhere(two, 2) and answering(other) == 2)
        assert http.post("/v1/models/tiny/rollback").json()["version"] == 1
        assert eventually(lambda: answering(other) == 1)
        assert counted(http, f'gatecast_store_loaded_bytes_total{{store="{s3.url}"}}') > 0
        two.terminate()
        assert two.wait() == 0, two.log
    s3.loads()
    with serving(s3.url, store_cache=first) as again, client(again) as http:
        assert (answering(http), s3.loads()) == (1, [])
        assert ": 0 bytes loaded; 2 versions in " in again.log


def test_no_request_fails_while_the_store_is_down_and_what_is_new_then_is_found(
    s3: S3, trained: Path
) -> None:
    upload(s3, trained, 1)
    upload(s3, trained, 2)
    with serving(s3.url, watch_s=0.05) as server, client(server) as http:
        callers = Callers(server, 2)
        assert eventually(lambda: up(s3, http) == 1)
        with callers.asking():
            with s3.being_down():
                assert eventually(lambda: up(s3, http) == 0)
                assert http.get("/health/ready").json()["status"] == "ready"
                status, message = error(promote(http, 1))
                assert (status, f"{s3.url} cannot be listed" in message) == (409, True)
                assert answering(http) == 2
                asked = callers.count
                assert eventually(lambda: callers.count > asked + 20)
            assert eventually(lambda: up(s3, http) == 1)
            upload(s3, trained, 3)
            assert eventually(lambda: answering(http) == 3)
        assert callers.failures == []
        assert server.log.count("; what is live goes on") == 1
        assert server.log.count("answers again") == 1


def test_a_start_without_the_store_serves_what_was_verified_before_or_says_why_not(
    s3: S3, trained: Path, tmp_path: Path
) -> None:
    upload(s3, trained, 1)
    cache = tmp_path / "cache"
    listed = gatecast("models", "--models", s3.url, store_cache=cache)
    assert listed.stdout.startswith("tiny@1  ")
    with s3.being_down():
        with serving(s3.url, store_cache=cache, watch_s=0.05) as server, client(server) as http:
            assert answering(http) == 1
            assert http.get("/health/ready").status_code == 200
            assert "; serving the 1 versions in " in server.log
            assert eventually(lambda: "what is live goes on" in server.log)
            assert up(s3, http) == 0
        refused = gatecast("serve", "--models", s3.url, store_cache=tmp_path / "empty")
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert re.match(rf"Error: --models {s3.url}: .* cannot be listed: .*; and nothing of", line)
        listed = gatecast("models", "--models", s3.url, store_cache=cache)
        assert (listed.returncode, "cannot be listed" in listed.stderr) == (1, True)


def test_a_half_upload_and_a_corrupt_one_are_said_and_never_served(s3: S3, trained: Path) -> None:
    upload(s3, trained, 1)
    with serving(s3.url, watch_s=0.05) as server, client(server) as http:
        s3.upload(edit.times(trained, 3.0, version=2), ["metadata.json", "model.onnx"])
        upload(s3, trained, 3)
        s3.put("tiny/3/model.onnx", b"damaged")

        def refused() -> dict[int, str]:
            found = http.get("/v1/models").json()["refused"]
            return {one["version"]: one["reason"] for one in found}

        assert eventually(lambda: set(refused()) == {2, 3}), server.log
        assert "golden.npz not there (yet)" in refused()[2]
        assert "sha256" in refused()[3]
        assert http.get("/health/ready").json() == {
            "status": "ready",
            "models": ["tiny"],
            "refused": ["tiny"],
        }
        for version, words in ((2, "golden.npz"), (3, "sha256")):
            status, message = error(promote(http, version))
            assert (status, words in message) == (409, True)
        assert answering(http) == 1
        s3.upload(trained / "tiny/2", ["golden.npz"])
        assert eventually(lambda: answering(http) == 2)
        s3.upload(trained / "tiny/3", ["model.onnx"])
        assert eventually(lambda: answering(http) == 3)
        assert refused() == {}
        assert [eventually(lambda v=v: f"tiny/{v}" in server.log) for v in (2, 3)] == [True, True]  # type: ignore[misc]


def test_a_version_deleted_over_http_is_gone_from_the_store_and_the_replicas(
    s3: S3, trained: Path
) -> None:
    upload(s3, trained, 1)
    upload(s3, trained, 2)
    s3.put("tiny/1/report/curve.png", b"x")
    with serving(s3.url, watch_s=0) as server, client(server) as http:
        assert error(http.delete("/v1/models/tiny/versions/2"))[0] == 409
        assert http.delete("/v1/models/tiny/versions/1").status_code == 200
        assert s3.keys("tiny/1") == []
        assert http.delete("/v1/models/tiny/versions/1").status_code == 404
        upload(s3, trained, 3)
        assert promote(http, 3).json()["version"] == 3  # found by being asked for
        assert http.post("/v2/repository/models/tiny/unload", json={}).status_code == 200
        assert ask(http).status_code == 404
        assert aliases.parse("tiny", s3.read("tiny/aliases.json")).unloaded


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "expected a folder, s3://bucket/prefix"),
        ("ftp://bucket", "expected a folder, s3://bucket/prefix"),
        ("s3://nobodys/models", "NoSuchBucket"),
    ],
)
def test_a_store_that_cannot_be_is_refused_at_the_start(s3: S3, url: str, words: str) -> None:
    refused = gatecast("serve", "--models", url)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"Error: --models {url}: ")
    assert words in line


def test_without_the_extra_a_start_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "obstore").mkdir()
    (tmp_path / "obstore/__init__.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *sys.path]))
    refused = gatecast("serve", "--models", "s3://bucket/models")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "pip install 'gatecast[store]'" in line
