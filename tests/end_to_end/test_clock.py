"""The wall clock jumps by hours while requests are on their way: no limit and no change notices."""

import json
import shutil
import socket
import struct
import subprocess
import time
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.artifacts import edit
from tests.end_to_end.processes import address, eventually
from tests.end_to_end.rpc_client import channel, infer, message
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_keys import bearer, make, run
from tests.end_to_end.test_startup import REQUEST

HOUR = 3600
JUMPS = (400 * 24 * HOUR, -7 * HOUR)  # forward, then far back
BODY = json.dumps(REQUEST).encode()


class Clock:
    """The wall clock of the processes that are started with it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shift, library = folder / "shift", folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self._shift.write_bytes(bytes(8))
        monkeypatch.setenv("CLOCK_SHIFT", str(self._shift))
        monkeypatch.setenv("LD_PRELOAD", str(library))

    def jump(self, to: int) -> None:
        """Show so many seconds more than it is."""
        with self._shift.open("r+b") as file:  # in its place, where it is mapped
            file.write(struct.pack("q", to))


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    if shutil.which("cc") is None:
        pytest.skip("no compiler to make a clock with")
    return Clock(tmp_path, monkeypatch)


def test_requests_on_their_way_are_answered_and_changes_are_followed(
    clock: Clock, tmp_path: Path
) -> None:
    models, keys = tmp_path / "models", tmp_path / "keys.jsonl"
    edit.times(models, 1.0, version=1)
    key, slow = make(keys, "app"), make(keys, "slow", rate=0.001, burst=2)
    settings = {"keys": keys, "watch_s": 0.05, "grpc_port": 0, "workers": 2}
    with (
        serving(models, **settings) as server,  # type: ignore[arg-type]
        client(server, headers=bearer(key)) as http,
        client(server, headers=bearer(slow)) as often,
        channel(server) as opened,
    ):
        said = [often.post("/v1/forecast", json=REQUEST).status_code for _ in range(3)]
        assert said == [200, 200, 429]
        expected = http.post("/v1/forecast", json=REQUEST)
        for version, to in enumerate(JUMPS, 2):
            with ExitStack() as waiting:
                begun = [waiting.enter_context(half_a_request(server, key)) for _ in range(4)]
                clock.jump(to)
                assert eventually(lambda to=to: shows(http, to))  # type: ignore[misc]
                assert [status_of_the_rest(one) for one in begun] == [b"200"] * 4
            assert http.post("/v1/forecast", json=REQUEST).json() == expected.json()
            timely = {"gatecast-timeout-ms": "20000"}
            assert http.post("/v1/forecast", json=REQUEST, headers=timely).status_code == 200
            asked = infer(opened)(message(), metadata=[("x-api-key", key)], timeout=60)
            assert asked.model_name == "tiny"
            too_often = often.post("/v1/forecast", json=REQUEST)
            assert too_often.status_code == 429
            assert 0 < int(too_often.headers["retry-after"]) <= 1000
            short = make(keys, f"short-{version}")  # a key and a version come, and the key goes
            assert eventually(lambda short=short: is_let_in(http, short))  # type: ignore[misc]
            assert run("revoke", f"short-{version}", path=keys).exit_code == 0
            assert eventually(lambda short=short: not is_let_in(http, short))  # type: ignore[misc]
            edit.times(models / ".new", 1.0, version).rename(models / "tiny" / str(version))
            assert eventually(lambda version=version: answering(http) == version)  # type: ignore[misc]
            expected = http.post("/v1/forecast", json=REQUEST)
        assert "Traceback" not in server.log
        assert "does not answer" not in server.log
        server.terminate()
        assert server.wait() == 0


def half_a_request(server: ServerProcess, key: str) -> socket.socket:
    one = socket.create_connection(address(server), timeout=60)
    head = f"POST /v1/forecast HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n"
    one.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(BODY) + BODY[:10])
    return one


def status_of_the_rest(one: socket.socket) -> bytes:
    one.sendall(BODY[10:])
    return one.recv(65536)[9:12]


def shows(http: httpx.Client, shift: int) -> bool:
    """Whether the service's clock is so many seconds ahead."""
    date = parsedate_to_datetime(http.get("/health/live").headers["date"])
    return abs(date.timestamp() - time.time() - shift) < HOUR


def is_let_in(http: httpx.Client, key: str) -> bool:
    return http.get("/v1/models", headers=bearer(key)).status_code == 200


def answering(http: httpx.Client) -> int:
    version: int = http.post("/v1/forecast", json=REQUEST).json()["version"]
    return version
