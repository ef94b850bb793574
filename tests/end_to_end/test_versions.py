"""Versions swapped while callers ask: nobody notices but by the version that answers."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.contract import aliases
from tests.artifacts import edit
from tests.end_to_end.processes import eventually
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_startup import REQUEST, counted


def ask(http: httpx.Client, model: str = "tiny", item_id: str = "a") -> httpx.Response:
    series = {"item_id": item_id, "start": "2024-01-01", "target": [1.0, 3.0, 2.0]}
    return http.post("/v1/forecast", json={"model": model, "series": [series]})


def answering(http: httpx.Client, model: str = "tiny", item_id: str = "a") -> int:
    """The version that answers."""
    answer = ask(http, model, item_id)
    assert answer.status_code == 200, answer.text
    version: int = answer.json()["version"]
    return version


def promote(http: httpx.Client, version: int | None, **more: object) -> httpx.Response:
    return http.post("/v1/models/tiny/promote", json={"version": version, **more})


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two versions with different answers."""
    edit.times(tmp_path, 1.0, version=1)
    edit.times(tmp_path, 1.5, version=2)
    return tmp_path


class Callers:
    """Threads that ask without a pause, and keep what they were answered."""

    def __init__(self, server: ServerProcess, count: int = 4) -> None:
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        self.answers: set[bytes] = set()
        self.failures: list[str] = []
        self.count = 0

    def _ask(self) -> None:
        body = json.dumps(REQUEST).encode()
        with client(self._server) as http:
            while not self._stop.is_set():
                try:
                    answer = http.post("/v1/forecast", content=body)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                self.count += 1
                if answer.status_code == 200:
                    self.answers.add(answer.content)
                else:
                    self.failures.append(answer.text)

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def test_no_request_fails_or_gets_other_bits_while_versions_are_swapped(models: Path) -> None:
    with serving(models, watch_s=0) as server, client(server) as http:
        expected = {ask(http, f"tiny@{v}").content for v in (2,)}
        assert promote(http, 1).status_code == 200
        expected |= {ask(http).content}
        assert len(expected) == 2
        callers = Callers(server)
        with callers.asking():
            for swap in range(20):
                version = 2 - swap % 2
                assert promote(http, version).json()["version"] == version
                asked = callers.count
                assert eventually(lambda asked=asked: callers.count > asked + 4)  # type: ignore[misc]
        assert callers.failures == []
        assert callers.answers == expected
        assert counted(http, 'gatecast_swaps_total{model="tiny"}') == 21


def test_a_new_version_on_disk_is_swapped_in_and_rolled_back_and_stays_so(models: Path) -> None:
    with serving(models, watch_s=0.05) as server, client(server) as http:
        assert answering(http) == 2
        before = ask(http).json()["series"][0]["median"]
        edit.times(models / ".elsewhere", 3.0, version=3)
        os.rename(models / ".elsewhere/tiny/3", models / "tiny/3")
        assert eventually(lambda: answering(http) == 3)
        now = ask(http).json()["series"][0]["median"]
        np.testing.assert_allclose(now, 2.0 * np.array(before), rtol=1e-6)
        assert answering(http, "tiny@2") == 2  # warm
        rolled = http.post("/v1/models/tiny/rollback")
        assert (rolled.status_code, rolled.json()["version"]) == (200, 2)
        assert rolled.json()["aliases"] == {"live": 2, "previous": 3}
        assert answering(http) == 2
        edit.times(models, 4.0, version=4)  # a pinned alias does not follow
        assert promote(http, 4, alias="next").status_code == 200
        assert answering(http) == 2
        assert promote(http, None).json()["version"] == 4
    with serving(models, watch_s=0) as server, client(server) as http:
        assert answering(http) == 4


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("truncated", "hash"),
        ("other bytes", "hash"),
        ("no graph", "runtime"),
        ("a lie about a tensor", "metadata"),
        ("another tensor", "tensors"),
        ("wrong golden", "golden"),
        ("no golden", "files"),
        ("renamed", "metadata"),
    ],
)
def test_a_bad_version_is_refused_and_the_old_one_goes_on(
    models: Path, damage: str, kind: str
) -> None:
    with serving(models, watch_s=0.05) as server, client(server) as http:
        folder = edit.times(models / ".elsewhere", 3.0, version=3)
        break_it(folder, damage)
        os.rename(folder, models / "tiny/3")
        reason = f'gatecast_refused_versions_total{{model="tiny",reason="{kind}"}}'
        assert eventually(lambda: counted(http, reason) == 1), server.log
        (refused,) = http.get("/v1/models").json()["refused"]
        assert (refused["name"], refused["version"]) == ("tiny", 3)
        assert eventually(lambda: refused["reason"] in server.log)
        assert http.get("/health/ready").json()["refused"] == ["tiny"]
        assert answering(http) == 2
        status, message = error(promote(http, 3))
        assert status == 409
        assert message.startswith(refused["reason"])
        assert answering(http) == 2
        assert not (models / "tiny" / aliases.FILE).exists()
        shutil.rmtree(models / "tiny/3")
        edit.times(models / ".mended", 3.0, version=3)
        os.rename(models / ".mended/tiny/3", models / "tiny/3")
        assert eventually(lambda: answering(http) == 3)
        assert http.get("/v1/models").json()["refused"] == []


def break_it(folder: Path, damage: str) -> None:
    model = folder / "model.onnx"
    if damage == "truncated":
        model.write_bytes(model.read_bytes()[:-100])
    elif damage == "other bytes":
        model.write_bytes(edit.TINY.joinpath("model.onnx").read_bytes())
    elif damage == "no graph":
        edit.replace_model(folder, b"not a graph")
    elif damage == "a lie about a tensor":
        tensors: list[Any] = edit.read_metadata(folder)["outputs"]
        edit.edit_metadata(folder, outputs=[tensors[0] | {"shape": ["batch", 6, 8]}])
    elif damage == "another tensor":
        edit.replace_model(folder, model.read_bytes().replace(b"lengths", b"sizesss"))
    elif damage == "wrong golden":
        with np.load(folder / "golden.npz") as arrays:
            zeros = np.zeros_like(arrays["quantiles"])
        edit.edit_golden(folder, quantiles=zeros)
    elif damage == "no golden":
        (folder / "golden.npz").unlink()
    else:
        edit.edit_metadata(folder, version=4)


def test_a_folder_copied_piece_by_piece_is_no_bad_version(models: Path) -> None:
    with serving(models, watch_s=0.05) as server, client(server) as http:
        whole = edit.times(models / ".elsewhere", 3.0, version=3)
        (models / "tiny/3").mkdir()
        for name in ("golden.npz", "metadata.json"):
            shutil.copy(whole / name, models / "tiny/3")
        data = (whole / "model.onnx").read_bytes()
        with (models / "tiny/3/model.onnx").open("wb", buffering=0) as file:
            for byte in range(0, len(data), len(data) // 40):
                file.write(data[byte : byte + len(data) // 40])
                assert answering(http) == 2
        assert eventually(lambda: answering(http) == 3)


def test_the_other_workers_follow(models: Path) -> None:
    with serving(models, "--workers", "2", watch_s=0.05) as server:
        with client(server) as http:
            assert promote(http, 1).status_code == 200

        def everywhere() -> bool:
            found = set()
            for _ in range(8):  # a connection each: in turn to the workers
                with client(server) as http:
                    found.add(answering(http))
            return found == {1}

        assert eventually(everywhere)
        server.terminate()
        assert server.wait() == 0


def test_a_folder_that_cannot_be_written_refuses_in_words_and_serves_on(models: Path) -> None:
    (models / "tiny" / aliases.FILE).mkdir()  # what no process may replace by a file
    with serving(models, watch_s=0) as server, client(server) as http:
        assert http.get("/health/ready").json()["refused"] == ["tiny"]
    (models / "tiny" / aliases.FILE).rmdir()
    with serving(models, watch_s=0) as server, client(server) as http:
        (models / "tiny" / aliases.FILE).mkdir()
        status, message = error(promote(http, 1))
        assert status == 409
        assert aliases.FILE in message
        assert answering(http) == 2


def test_what_answers_or_has_an_alias_is_not_deleted(models: Path) -> None:
    with serving(models, watch_s=0) as server, client(server) as http:
        path = "/v1/models/tiny/versions"
        status, message = error(http.delete(f"{path}/2"))
        assert (status, "is live; promote another" in message) == (409, True)
        assert promote(http, 1, alias="canary", share=0).status_code == 200
        status, message = error(http.delete(f"{path}/1"))
        assert (status, "is canary" in message) == (409, True)
        assert promote(http, None, alias="canary").status_code == 200
        assert http.delete(f"{path}/1").json() == {"name": "tiny", "version": 1, "deleted": True}
        assert sorted(entry.name for entry in (models / "tiny").iterdir()) == ["2", aliases.FILE]
        assert http.delete(f"{path}/1").status_code == 404
        assert http.delete(f"{path}/1x").status_code == 404
        assert error(http.post("/v1/models/tiny/rollback"))[0] == 409


def test_a_version_is_verified_without_being_served(models: Path) -> None:
    with serving(models, watch_s=0) as server, client(server) as http:
        found = http.post("/v1/models/tiny/verify", json={"version": 1})
        assert found.json() == {"name": "tiny", "version": 1, "provider": "cpu", "verified": True}
        assert ask(http, "tiny@1").status_code == 404
        (models / "tiny/1/golden.npz").write_bytes(b"")
        status, message = error(http.post("/v1/models/tiny/verify", json={"version": 1}))
        assert (status, "golden.npz" in message) == (409, True)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"version": 3}, 404, "version"),
        ({"version": 1, "alias": "2"}, 400, "alias"),
        ({"version": 1, "alias": "../x"}, 400, "alias"),
        ({"version": 1, "alias": "previous"}, 400, "alias"),
        ({"version": 1, "share": 5}, 422, "share"),
        ({"version": 1, "alias": "canary", "share": 101}, 422, "share"),
        ({"version": 1, "alias": "canary", "share": -1}, 422, "share"),
        ({"version": "1"}, 400, "version"),
        ({}, 400, "version"),
        ({"version": 1, "aliass": "x"}, 400, None),
    ],
)
def test_a_promotion_that_cannot_be_changes_nothing(
    http: httpx.Client, body: dict[str, object], status: int, field: str | None
) -> None:
    answer = http.post("/v1/models/tiny/promote", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].get("field") == field
    assert not (edit.TINY.parent / aliases.FILE).exists()


@pytest.mark.parametrize("name", ["..%2Ftiny", "%2e%2e", "a.b", "nobody"])
def test_no_name_of_a_request_becomes_a_path(http: httpx.Client, name: str) -> None:
    for method, path in (
        ("POST", f"/v1/models/{name}/promote"),
        ("POST", f"/v1/models/{name}/rollback"),
        ("POST", f"/v1/models/{name}/verify"),
        ("DELETE", f"/v1/models/{name}/versions/1"),
        ("POST", f"/v2/repository/models/{name}/load"),
        ("POST", f"/v2/repository/models/{name}/unload"),
    ):
        answer = http.request(method, path, json={"version": 1})
        assert answer.status_code in (400, 404), (path, answer.text)
    assert [entry.name for entry in edit.TINY.parent.iterdir()] == ["1"]


def test_loading_and_unloading_is_remembered(models: Path) -> None:
    with serving(models, watch_s=0) as server, client(server) as http:
        assert http.post("/v2/repository/models/tiny/unload", json={}).status_code == 200
        assert ask(http).status_code == 404
        assert http.post("/v2/repository/index").json() == []
        assert http.get("/health/ready").status_code == 503
    with serving(models, watch_s=0) as server, client(server) as http:
        assert ask(http).status_code == 404
        edit.times(models, 3.0, version=3)
        assert http.post("/v2/repository/models/tiny/load", json={}).status_code == 200
        assert answering(http) == 3
        edit.times(models, 4.0, version=4)
        assert http.post("/v2/repository/models/tiny/load", json={}).status_code == 200
        assert answering(http) == 4
        index = http.post("/v2/repository/index").json()
        assert [(one["version"], one["state"]) for one in index] == [("3", "READY"), ("4", "READY")]


def test_a_model_whose_folder_goes_is_dropped_but_never_the_last_one(models: Path) -> None:
    edit.copy(models, "pond")
    with serving(models, watch_s=0.05) as server, client(server) as http:
        assert ask(http, "pond").status_code == 200
        shutil.rmtree(models / "pond")
        assert eventually(lambda: ask(http, "pond").status_code == 404)
        shutil.rmtree(models / "tiny")
        assert eventually(lambda: "is lost" in server.log)
        assert answering(http) == 2
