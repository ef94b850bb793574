"""The short way in C: whoever takes it is told byte for byte what the handler says."""

import http.client as http_client
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.express import BUILT
from tests.artifacts import dated, edit, toy
from tests.end_to_end.openinference import INFER, json_body, rows
from tests.end_to_end.server import ServerProcess, client, serving

NATIVE = "/v1/forecast"
LONG_WAY = {"content-encoding": "identity"}  # which the short way leaves to the handler
TOLD_ANEW = {"date", "server-timing", "x-request-id"}  # by every answer

Body = dict[str, Any]

pytestmark = pytest.mark.skipif(not BUILT, reason="no compiler at installation")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of models without anything, with a calendar, and with all there is."""
    models = tmp_path_factory.mktemp("models")
    edit.copy(models)
    dated.write(models)
    toy.write(models)
    with serving(models, max_batch_rows=8) as running:
        yield running


@pytest.fixture(scope="module")
def http(asked: ServerProcess) -> Iterator[httpx.Client]:
    with client(asked) as opened:
        yield opened


def whole(http: httpx.Client, path: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
    """An answer to a request that comes in one piece and whose head came before."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    sent = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=60) as opened:
        for _ in range(2):
            opened.sendall(sent)
            answer = http_client.HTTPResponse(opened, method="POST")
            answer.begin()
            body = answer.read()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=body)


def same(http: httpx.Client, path: str, content: bytes, **headers: str) -> httpx.Response:
    """The answer of the short way, which must be the handler's, however the request comes."""
    headers = {"accept-encoding": "identity"} | headers
    handlers = http.post(path, content=content, headers=headers | LONG_WAY)
    in_two_pieces = http.post(path, content=content, headers=headers)
    for answer in (in_two_pieces, whole(http, path, content, headers)):
        assert answer.status_code == handlers.status_code
        assert answer.content == handlers.content
        told, expected = dict(answer.headers), dict(handlers.headers)
        assert told.keys() == expected.keys()
        assert all(told[name] == expected[name] for name in told.keys() - TOLD_ANEW)
    return in_two_pieces


def native(targets: list[Any], model: str = "tiny", **fields: object) -> Body:
    series = [
        {"item_id": f"é{at}", "start": "2024-01-01T04:00Z", "target": target}
        for at, target in enumerate(targets)
    ]
    return {"model": model, "series": series, **fields}


def text(body: object, **layout: Any) -> bytes:
    return json.dumps(body, **layout).encode()


VALUES = st.one_of(st.floats(-1e9, 1e9, width=32), st.integers(-(10**20), 10**20), st.none())
TARGETS = st.lists(st.lists(VALUES, max_size=40), min_size=1, max_size=20)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "horizon": st.one_of(st.none(), st.integers(0, 8)),
        "quantile_levels": st.one_of(
            st.none(), st.lists(st.sampled_from([0.1, 0.5, 0.9, 0.25]), max_size=4)
        ),
    },
)
LAYOUTS = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(targets=TARGETS, fields=FIELDS, layout=LAYOUTS, model=st.sampled_from(["tiny", "dated"]))
def test_a_forecast_is_the_handlers(
    http: httpx.Client, targets: list[Any], fields: Body, layout: Any, model: str
) -> None:
    same(http, NATIVE, text(native(targets, model, **fields), **layout))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    seed=st.integers(0, 2**32),
    identifier=st.one_of(st.none(), st.text(max_size=5)),
    layout=LAYOUTS,
)
def test_an_inference_is_the_handlers(
    http: httpx.Client, lengths: list[int], seed: int, identifier: str | None, layout: Any
) -> None:
    body = json_body(rows(*lengths, seed=seed), id=identifier)
    assert same(http, INFER, text(body, **layout)).status_code == 200


BODIES: list[tuple[str, Body]] = [
    (NATIVE, native([[1.5, None, 3], [4] * 30], horizon=2, quantile_levels=[0.9, 0.1])),
    (INFER, json_body(rows(5, 24), id="a")),
]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    which=st.integers(0, 1),
    at=st.integers(0, 2000),
    out=st.integers(0, 3),
    put=st.binary(max_size=3),
)
def test_whatever_is_wrong_is_told_in_the_handlers_words(
    http: httpx.Client, which: int, at: int, out: int, put: bytes
) -> None:
    path, body = BODIES[which]
    content = text(body)
    at %= len(content)
    same(http, path, content[:at] + put + content[at + out :])


WRONG: dict[str, Callable[[Body], object]] = {
    "no such model": lambda body: body.update(model="nobody"),
    "no model's name": lambda body: body.update(model="a/b"),
    "a version": lambda body: body.update(model="tiny@1"),
    "no such version": lambda body: body.update(model="tiny@7"),
    "an alias": lambda body: body.update(model="tiny@live"),
    "another task's fields": lambda body: body.update(rows=[]),
    "no series": lambda body: body.update(series=[]),
    "the same item twice": lambda body: body["series"][1].update(item_id="é0"),
    "a long item": lambda body: body["series"][0].update(item_id="é" * 257),
    "its own freq": lambda body: body["series"][0].update(freq="4h"),
    "the same freq otherwise": lambda body: body["series"][0].update(freq="240min"),
    "another freq": lambda body: body["series"][0].update(freq="D"),
    "no day": lambda body: body["series"][0].update(start="2024-02-30"),
    "an offset": lambda body: body["series"][0].update(start="2024-01-01T00:00+02:00"),
    "a start off the grid": lambda body: body["series"][0].update(start="2024-01-01T00:00:00.5"),
    "the end of time": lambda body: body["series"][0].update(start="2261-12-31"),
    "nothing observed": lambda body: body["series"][0].update(target=[None, None]),
    "nothing at all": lambda body: body["series"][0].update(target=[]),
    "too large a value": lambda body: body["series"][0].update(target=[1e37]),
    "an old one too large": lambda body: body["series"][0].update(target=[1e37] + [1] * 30),
    "covariates": lambda body: body["series"][0].update(known_covariates={"a": [1.0]}),
    "none": lambda body: body["series"][0].update(known_covariates={}),
    "a level twice": lambda body: body.update(quantile_levels=[0.5, 0.5]),
    "no level": lambda body: body.update(quantile_levels=[]),
    "too far": lambda body: body.update(horizon=7),
    "a fraction of a step": lambda body: body.update(horizon=1.5),
    "a whole number of steps": lambda body: body.update(horizon=2.0),
    "covariates wanted": lambda body: body.update(model="toy"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_is_unusual_is_answered_as_by_the_handler(
    http: httpx.Client, change: Callable[[Body], object]
) -> None:
    body = native([[1.5, None, 3], [4] * 30])
    change(body)
    same(http, NATIVE, text(body))


TENSORS: dict[str, Callable[[Body], object]] = {
    "another tensor": lambda body: body["inputs"][0].update(name="other"),
    "another datatype": lambda body: body["inputs"][0].update(datatype="FP64"),
    "another shape": lambda body: body["inputs"][0].update(shape=[5, 3]),
    "a column of lengths": lambda body: body["inputs"][1].update(shape=[2, 1]),
    "a third axis": lambda body: body["inputs"][0].update(shape=[2, 24, 1]),
    "a length too long": lambda body: body["inputs"][1].update(data=[5, 25]),
    "no length": lambda body: body["inputs"][1].update(data=[0, 24]),
    "half a length": lambda body: body["inputs"][1].update(data=[5, 23.5]),
    "a missing length": lambda body: body["inputs"][1].update(data=[5, None]),
    "nested data": lambda body: body["inputs"][1].update(data=[[5], [24]]),
    "one tensor": lambda body: body["inputs"].pop(),
    "a tensor twice": lambda body: body["inputs"].append(body["inputs"][0]),
    "lengths first": lambda body: body["inputs"].reverse(),
    "parameters": lambda body: body.update(parameters={"timeout": 10_000_000}),
    "binary outputs": lambda body: body.update(parameters={"binary_data_output": True}),
    "outputs": lambda body: body.update(outputs=[{"name": "quantiles"}]),
    "an identifier in an escape": lambda body: body.update(id='"'),
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_tensors_that_are_unusual_are_answered_as_by_the_handler(
    http: httpx.Client, change: Callable[[Body], object]
) -> None:
    body = json_body(rows(5, 24))
    change(body)
    same(http, INFER, text(body))


@pytest.mark.parametrize(
    "headers",
    [
        {"accept-encoding": "gzip"},
        {"accept-encoding": "identity"},
        {"gatecast-timeout-ms": "60000"},
        {"gatecast-timeout-ms": "soon"},
        {"x-request-id": "mine"},
        {"inference-header-content-length": "7"},
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 20])
def test_a_header_means_the_same(http: httpx.Client, headers: dict[str, str], count: int) -> None:
    same(http, NATIVE, text(native([[1.0, 2.5]] * count)), **headers)
    same(http, INFER, text(json_body(rows(*[9] * count))), **headers)


@pytest.mark.parametrize("path", ["/v2/models/dated/infer", "/v2/models/tiny/versions/1/infer"])
@pytest.mark.parametrize("version", ["", "/versions/x"])
def test_a_path_means_the_same(http: httpx.Client, path: str, version: str) -> None:
    same(http, path.replace("/infer", f"{version}/infer"), text(json_body(rows(5))))


def test_a_request_is_counted_once_whichever_way_it_takes(http: httpx.Client) -> None:
    content = text(native([[1.0, 2.0, 3.0]] * 3))
    counted = r'gatecast_series_total\{model="tiny"\} ([0-9]+)'

    def count() -> int:
        found = re.search(counted, http.get("/metrics").text)
        assert found
        return int(found[1])

    before = count()
    same(http, NATIVE, content)
    assert count() == before + 3 * 4  # as often as `same` asks


def test_a_trained_calendar_is_told_the_moments_of_the_series(http: httpx.Client) -> None:
    """The graph adds the hours since 1970 of each step ahead to the newest value."""
    answer = same(http, NATIVE, text(native([[1.0, 2.0], [5.0] * 30], "dated"))).json()
    begin = int(np.datetime64("2024-01-01T04", "h").astype(int))
    first, second = (series["median"] for series in answer["series"])
    assert first == [2 + begin + step for step in (2, 3, 4)]
    assert second == [5 + begin + step for step in (30, 31, 32)]


def test_the_newest_steps_count_and_others_are_let_go(http: httpx.Client, tmp_path: Path) -> None:
    old, newest = [1e9] * 100, [float(n % 7) for n in range(24)]
    long = same(http, NATIVE, text(native([old + newest]))).json()["series"][0]["quantiles"]
    short = same(http, NATIVE, text(native([newest]))).json()["series"][0]["quantiles"]
    assert long == short


def test_without_a_compiler_the_handlers_answer_the_same(
    asked: ServerProcess, http: httpx.Client, tmp_path: Path
) -> None:
    command = tmp_path / "gatecast"
    hidden = "import sys; sys.modules['service.express._express'] = None"
    command.write_text(f"#!{sys.executable}\n{hidden}\nfrom service.cli import main\nmain()\n")
    command.chmod(0o755)
    bodies = [(path, text(body)) for path, body in BODIES]
    with serving(asked.models, gatecast=str(command)) as plain, client(plain) as other:
        for path, content in bodies:
            assert other.post(path, content=content).content == same(http, path, content).content
