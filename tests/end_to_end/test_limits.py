"""The limits of a request that are settings, each through every door it concerns."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.conftest import ARTIFACTS
from tests.end_to_end.rpc_client import channel, infer, message, tensors
from tests.end_to_end.server import ServerProcess, client, serving

STEPS, DEPTH = 30, 20


@pytest.fixture(scope="module")
def limited() -> Iterator[ServerProcess]:
    settings = {"max_context_steps": STEPS, "max_json_depth": DEPTH}
    with serving(ARTIFACTS, grpc_port=0, **settings) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture
def http(limited: ServerProcess) -> Iterator[httpx.Client]:
    with client(limited) as opened:
        yield opened


def bodies(steps: int) -> dict[str, dict[str, Any]]:
    """A request in each dialect with one series of so many steps."""
    values = [float(value) for value in range(steps)]
    start = "2024-01-01"
    shapes = (("context", "FP32", [1, steps], values), ("lengths", "INT64", [1], [steps]))
    names = ("name", "datatype", "shape", "data")
    native = {"item_id": "a", "start": start, "target": values}
    kserve = {"type": "univariate_time_series", "name": "a", "series": values, "frequency": "4h"}
    return {
        "/v1/forecast": {"model": "tiny", "series": [native]},
        "/v1/forecast/bulk": {"model": "tiny", "y": values, "sizes": [steps], "start": [start]},
        "/v1/timeseries/forecast": {
            "model": "tiny",
            "inputs": [kserve | {"start_timestamp": start}],
            "options": {"horizon": 2},
        },
        "/v2/models/tiny/infer": {"inputs": [dict(zip(names, one, strict=True)) for one in shapes]},
        "/v2/forecast": {
            "model": "tiny",
            "freq": "4h",
            "h": 2,
            "series": {"y": values, "sizes": [steps]},
        },
    }


@pytest.mark.parametrize("path", bodies(1))
def test_a_series_of_the_most_steps_is_served_and_a_longer_one_is_not(
    http: httpx.Client, path: str
) -> None:
    served = http.post(path, json=bodies(STEPS)[path])
    assert served.status_code == 200, served.text
    refused = http.post(path, json=bodies(STEPS + 1)[path])
    assert refused.status_code == 413
    assert f"has {STEPS + 1} steps, the limit is {STEPS}" in refused.text


def test_a_longer_series_is_refused_over_grpc(limited: ServerProcess) -> None:
    with channel(limited) as opened:
        assert infer(opened)(message(tensors(2, STEPS)), timeout=60).model_name == "tiny"
        with pytest.raises(grpc.RpcError) as caught:
            infer(opened)(message(tensors(2, STEPS + 1)), timeout=60)
    assert f"the limit is {STEPS}" in str(caught.value)


@pytest.mark.parametrize("path", [*bodies(1), "/v1/generate", "/v1/regress"])
def test_a_body_that_is_too_deep_is_refused_before_it_is_parsed(
    http: httpx.Client, path: str
) -> None:
    deep = b'{"extra":' * DEPTH + b"[1]" + b"}" * DEPTH
    answer = http.post(path, content=deep)
    assert answer.status_code == 400
    assert f"nested {DEPTH + 1} deep, the limit is {DEPTH}" in answer.text
    allowed = http.post(path, content=deep.replace(b'{"extra":[1]}', b"[1]"))
    assert "deep" not in allowed.text


def test_tensors_in_bytes_are_not_taken_for_json(http: httpx.Client) -> None:
    whole = bodies(STEPS)["/v2/models/tiny/infer"]
    brackets = np.frombuffer(b"A[[[" * STEPS, "<f4")
    whole["inputs"][0] |= {"parameters": {"binary_data_size": brackets.nbytes}}
    del whole["inputs"][0]["data"]
    head = httpx.Request("POST", "http://x", json=whole).content
    headers = {"inference-header-content-length": str(len(head))}
    answer = http.post("/v2/models/tiny/infer", content=head + brackets.tobytes(), headers=headers)
    assert answer.status_code == 200, answer.text
