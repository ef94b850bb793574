"""Who may do what: a real service with a file of keys, and every door it has."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from click.testing import CliRunner, Result
from nixtla import NixtlaClient

from service.access.cli import keys as keys_command
from service.api.guard import SCOPES
from service.api.rpc.gate import SCOPES as RPC_SCOPES
from service.api.rpc.proto import health_pb2, inference_pb2
from service.app import DIALECTS, create_app
from service.settings import Settings
from tests.conftest import ARTIFACTS
from tests.end_to_end.processes import eventually, two_workers
from tests.end_to_end.rpc_client import channel, infer, message
from tests.end_to_end.server import ServerProcess, client, serving
from tests.end_to_end.test_connection import send
from tests.end_to_end.test_startup import REQUEST, counted, gatecast, refusal

OPEN = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
OPEN_CALLS = {"ServerLive", "ServerReady", "Check", "Watch"}
STRANGERS = [
    {},
    {"authorization": "Bearer gc_000000000000_" + "0" * 64},
    {"authorization": "Basic YTpi"},
    {"x-api-key": "gc"},
]


def run(*arguments: str, path: Path) -> Result:
    return CliRunner().invoke(keys_command, [*arguments, "--file", str(path)])


def make(path: Path, name: str, *scopes: str, **limits: float) -> str:
    options = [text for scope in scopes for text in ("--scope", scope)]
    options += [text for key, value in limits.items() for text in (f"--{key}", str(value))]
    made = run("create", name, *options, path=path)
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Keys:
    """A file with a key of each scope."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.jsonl"
        self.infer = make(self.path, "app")
        self.metrics = make(self.path, "prometheus", "metrics")
        self.admin = make(self.path, "root", "admin")
        self.all = make(self.path, "all", "infer", "metrics", "admin")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def guarded(keys: Keys) -> Iterator[ServerProcess]:
    with serving(ARTIFACTS, "--keys", str(keys.path), grpc_port=0) as running:
        yield running


@pytest.fixture
def http(guarded: ServerProcess) -> Iterator[httpx.Client]:
    with client(guarded) as opened:
        yield opened


def documented() -> set[tuple[str, str]]:
    paths: dict[str, dict[str, Any]] = create_app(Settings()).app.openapi()["paths"]
    return {(method.upper(), path) for path, ways in paths.items() for method in ways}


def doors() -> list[tuple[str, str]]:
    """Every method and path that there is, also those that no document shows, and some that are
    not there at all."""
    table = {(route.method, route.path) for dialect in DIALECTS for route in dialect.routes}
    pages = {("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/docs/assets/swagger-ui.css")}
    nowhere = {("GET", "/"), ("GET", "/nowhere"), ("GET", "/v2/nowhere"), ("PUT", "/v1/forecast")}
    return sorted(table | documented() | pages | nowhere)


@pytest.mark.parametrize(("method", "path"), doors())
def test_no_door_opens_without_a_key_but_live_and_ready(
    http: httpx.Client, method: str, path: str
) -> None:
    for headers in STRANGERS:
        answer = http.request(method, re.sub(r"\{\w+\}", "tiny", path), headers=headers)
        if path in OPEN:
            assert answer.status_code == (200 if method == "GET" else 405)
            assert "tiny" not in answer.text
        else:
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == 'Bearer realm="gatecast"'
            assert answer.headers["content-type"] == "application/json"


def test_only_what_is_named_is_open() -> None:
    table = {route.path for one in DIALECTS for route in one.routes if route.scope is None}
    assert table | {path for path, scope in SCOPES.items() if scope is None} == OPEN


def test_every_path_of_fastapi_says_what_a_key_must_be_for() -> None:
    of_dialects = {route.path for one in DIALECTS for route in one.routes}
    own = {path for _, path in documented()} - of_dialects
    assert own == {*SCOPES}


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_of_its_scope_opens_a_door_and_another_names_what_it_lacks(
    http: httpx.Client, keys: Keys, header: str
) -> None:
    def ask(method: str, path: str, key: str, **more: Any) -> httpx.Response:
        value = f"Bearer {key}" if header == "authorization" else key
        return http.request(method, path, headers={header: value}, **more)

    asked: list[tuple[str, str, str, int, dict[str, Any]]] = [
        ("POST", "/v1/forecast", "infer", 200, {"json": REQUEST}),
        ("GET", "/v1/models", "infer", 200, {}),
        ("GET", "/v1/models/tiny", "infer", 200, {}),
        ("GET", "/v2/models/tiny", "infer", 200, {}),
        ("GET", "/metrics", "metrics", 200, {}),
        ("GET", "/v2/models/stats", "metrics", 200, {}),
        ("POST", "/v2/repository/models/tiny/load", "admin", 200, {}),
    ]
    for method, path, scope, status, more in asked:
        for name in ("infer", "metrics", "admin"):
            answer = ask(method, path, getattr(keys, name), **more)
            if name == scope:
                assert answer.status_code == status, path
            else:
                assert answer.status_code == 403, path
                assert f"has not the scope {scope}" in answer.text
        assert ask(method, path, keys.all, **more).status_code == status
    for path in ("/docs", "/openapi.json", "/v2", "/validate_api_key"):
        assert ask("GET", path, keys.metrics).status_code == 200
    assert ask("GET", "/nowhere", keys.metrics).status_code == 404


def test_each_dialect_refuses_in_its_own_words(http: httpx.Client, keys: Keys) -> None:
    for headers, status, kind in (
        ({}, 401, "unauthenticated"),
        (bearer(keys.admin), 403, "forbidden"),
    ):
        native = http.post("/v1/forecast", headers=headers)
        assert native.json()["error"]["type"] == kind
        assert isinstance(http.get("/v2/models/tiny", headers=headers).json()["error"], str)
        timegpt = http.post("/v2/forecast", headers=headers)
        assert timegpt.json()["type"] == kind
        assert timegpt.json()["detail"]
        kserve = http.post("/v1/timeseries/forecast", headers=headers).json()["error"]
        assert (kserve["code"], kserve["type"]) == (str(status), kind)


def test_a_stranger_is_refused_before_a_byte_of_the_body_and_before_the_model_is_looked_for(
    http: httpx.Client, guarded: ServerProcess
) -> None:
    head = b"POST /v2/models/nobody/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n"
    answer = send(guarded, head + b"expect: 100-continue\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")


def test_ready_names_the_models_to_those_with_a_key(http: httpx.Client, keys: Keys) -> None:
    assert http.get("/health/ready").json() == {"status": "ready"}
    named = http.get("/health/ready", headers=bearer(keys.metrics)).json()
    assert named["models"] == ["tiny"]


def test_refusals_are_counted(http: httpx.Client, keys: Keys) -> None:
    def count(reason: str) -> float:
        http.headers = httpx.Headers(bearer(keys.metrics))
        return counted(http, f'gatecast_refused_total{{reason="{reason}"}}')

    before = count("unauthenticated"), count("forbidden")
    http.post("/v1/forecast")
    http.headers = httpx.Headers({})
    http.post("/v1/forecast")
    http.get("/metrics")
    assert (count("unauthenticated"), count("forbidden")) == (before[0] + 2, before[1] + 1)


def test_timegpts_client_validates_its_key(guarded: ServerProcess, keys: Keys) -> None:
    assert NixtlaClient(api_key=keys.infer, base_url=guarded.url).validate_api_key()
    assert not NixtlaClient(api_key=keys.infer[:-1] + "x", base_url=guarded.url).validate_api_key()


def test_the_page_is_open_where_that_was_said(keys: Keys) -> None:
    flags = ("--keys", str(keys.path), "--open-docs")
    with serving(ARTIFACTS, *flags) as server, client(server) as http:
        for path in ("/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
            assert http.get(path).status_code == 200
        assert http.get("/v1/models").status_code == 401


def calls() -> list[tuple[str, Any, Any]]:
    """Every method of the two services, with the classes of its messages."""
    found: list[tuple[str, Any, Any]] = []
    for module in (inference_pb2, health_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                types = (method.input_type.name, method.output_type.name)
                request, answer = (getattr(module, name) for name in types)
                found.append((f"/{service.full_name}/{method.name}", request, answer))
    return found


def call(opened: Any, path: str, request: Any, answer: Any, key: str | None, **fields: str) -> Any:
    """The first answer; streams are asked in a stream."""
    metadata = [] if key is None else [("authorization", f"Bearer {key}")]
    kinds = {
        "request_serializer": request.SerializeToString,
        "response_deserializer": answer.FromString,
    }
    made = request(**fields)
    if path.endswith("ModelStreamInfer"):
        return next(
            opened.stream_stream(path, **kinds)(iter([made]), metadata=metadata, timeout=60)
        )
    if path.endswith("Watch"):
        return next(opened.unary_stream(path, **kinds)(made, metadata=metadata, timeout=60))
    return opened.unary_unary(path, **kinds)(made, metadata=metadata, timeout=60)


def code(error: Any) -> grpc.StatusCode:
    found: grpc.StatusCode = error.value.code()
    return found


@pytest.mark.parametrize(
    ("path", "request_type", "answer"), calls(), ids=lambda one: str(one)[-30:]
)
def test_no_call_is_answered_without_a_key_but_live_and_ready(
    guarded: ServerProcess, path: str, request_type: Any, answer: Any
) -> None:
    with channel(guarded) as opened:
        if path.rpartition("/")[2] in OPEN_CALLS:
            assert RPC_SCOPES[path] is None
            call(opened, path, request_type, answer, None)
            return
        assert path in RPC_SCOPES
        with pytest.raises(grpc.RpcError) as caught:
            call(opened, path, request_type, answer, None)
        assert code(caught) == grpc.StatusCode.UNAUTHENTICATED


def test_calls_ask_for_scopes_and_admit_good_keys(guarded: ServerProcess, keys: Keys) -> None:
    with channel(guarded) as opened:
        ask = infer(opened)
        answered = ask(message(), metadata=[("x-api-key", keys.infer)], timeout=60)
        assert answered.model_name == "tiny"
        with pytest.raises(grpc.RpcError) as caught:
            ask(message(), metadata=[("authorization", f"Bearer {keys.metrics}")], timeout=60)
        assert code(caught) == grpc.StatusCode.PERMISSION_DENIED
        assert "has not the scope infer" in str(caught.value)


def test_the_health_of_a_model_is_not_for_strangers(guarded: ServerProcess, keys: Keys) -> None:
    kinds = (health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)
    with channel(guarded) as opened:
        for name in ("Check", "Watch"):
            path = f"/grpc.health.v1.Health/{name}"
            with pytest.raises(grpc.RpcError) as caught:
                call(opened, path, *kinds, None, service="tiny")
            assert code(caught) == grpc.StatusCode.UNAUTHENTICATED
            assert call(opened, path, *kinds, keys.infer, service="tiny").status == 1


def test_a_key_that_asks_too_often_is_told_so_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    slow = make(path, "slow", rate=0.001, burst=2)
    with serving(ARTIFACTS, "--keys", str(path), grpc_port=0) as server, client(server) as http:
        answers = [http.get("/v1/models", headers=bearer(slow)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[-1].json()["error"]["type"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) > 100
        assert http.post("/v1/forecast", headers=bearer(slow)).status_code == 429
        with channel(server) as opened, pytest.raises(grpc.RpcError) as caught:
            infer(opened)(message(), metadata=[("x-api-key", slow)], timeout=60)
        assert code(caught) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_key_revoked_under_load_is_out_and_the_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    lost, kept = make(path, "lost"), make(path, "kept")
    said: dict[str, list[int]] = {lost: [], kept: []}
    stop = threading.Event()

    def ask(server: ServerProcess, key: str) -> None:
        with client(server, headers=bearer(key)) as http:
            while not stop.is_set():
                said[key].append(http.post("/v1/forecast", json=REQUEST).status_code)

    with two_workers(keys=path) as server:
        askers = [threading.Thread(target=ask, args=(server, key)) for key in said for _ in "ab"]
        for asker in askers:
            asker.start()
        try:
            assert eventually(lambda: min(map(len, said.values())) > 20)
            assert run("revoke", "lost", path=path).exit_code == 0
            assert eventually(lambda: said[lost][-20:] == [401] * 20)
            so_far = len(said[kept])
            assert eventually(lambda: len(said[kept]) > so_far + 20)
        finally:
            stop.set()
            for asker in askers:
                asker.join()
    assert set(said[kept]) == {200}
    assert set(said[lost]) == {200, 401}


def test_a_stream_ends_where_its_key_was_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    key = make(path, "lost")
    make(path, "kept")
    with serving(ARTIFACTS, "--keys", str(path), grpc_port=0) as server, channel(server) as opened:
        said: list[str] = []

        def questions() -> Iterator[Any]:
            yield message()
            while not said[-1:] or not said[-1]:
                yield message()

        converse = opened.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=inference_pb2.ModelStreamInferResponse.FromString,
        )
        for answer in converse(questions(), metadata=[("x-api-key", key)], timeout=120):
            said.append(answer.error_message)
            if len(said) == 3:
                assert run("revoke", "lost", path=path).exit_code == 0
    assert said[:3] == ["", "", ""]
    assert "the key is not valid" in said[-1]


def test_keys_are_listed_without_their_secrets_and_revoked_by_name_or_id(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    texts = [make(path, "one", rate=5), make(path, "two", "infer", "admin")]
    listed = run("list", path=path).stdout
    assert re.search(r"^[0-9a-f]{12}  one: infer; 5/s, 5 at once; made 20", listed, re.MULTILINE)
    assert "two: infer, admin; any rate" in listed
    assert not any(text.rpartition("_")[2] in listed + path.read_text() for text in texts)
    again = run("create", "one", path=path)
    assert again.exit_code == 1
    assert "has a key 'one'; revoke it" in again.output
    assert run("revoke", texts[1].split("_")[1], path=path).exit_code == 0
    assert "there: one" in run("revoke", "two", path=path).output
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["one"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "a b"), "name: "),
        (("create", "a", "--rate", "0"), "rate: "),
        (("create", "a", "--rate", "inf"), "rate: "),
        (("create", "a", "--burst", "3"), "--burst limits nothing without --rate"),
        (("create", "a", "--scope", "all"), "--scope"),
        (("revoke", "a"), "has no key 'a'; there: none"),
        (("list",), "make a key to begin it"),
    ],
)
def test_a_command_that_cannot_be_says_why(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = run(*arguments, path=tmp_path / "keys.jsonl")
    assert ended.exit_code > 0
    assert said in ended.output


def test_the_command_is_one_of_gatecasts(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    made = gatecast("keys", "create", "app", keys=path)
    assert made.stdout.startswith("gc_")
    assert gatecast("keys", "list", keys=path).stdout.split()[1] == "app:"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", ""])
def test_the_network_is_refused_without_keys(host: str) -> None:
    line = refusal("--host", host)
    assert "opens the service to the network" in line
    assert "gatecast keys create" in line
    assert "--no-auth" in line


def test_the_network_is_let_in_with_keys_or_where_that_was_said(keys: Keys) -> None:
    for flags in (("--no-auth",), ("--keys", str(keys.path))):
        ended = gatecast("serve", "--models", "no/such/folder", "--host", "0.0.0.0", *flags)
        assert "folder no/such/folder does not exist" in ended.stderr


def test_keys_that_are_none_are_refused_at_the_start(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "keys.jsonl"
    assert "there is no file" in refusal("--keys", str(path))
    path.write_text("")
    assert "has no key; gatecast keys create" in refusal("--keys", str(path))
    path.write_text("nothing")
    assert "line 1: " in refusal("--keys", str(path))
    both = refusal("--keys", str(keys.path), "--no-auth")
    assert both == "Error: --keys and --no-auth contradict each other; give one"
