"""A series gets the same bits in every dialect, in any batch, on any lane and worker."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import ARTIFACTS
from tests.end_to_end.rpc_client import inputs, triton_client
from tests.end_to_end.server import ServerProcess, client, serving

Array = NDArray[Any]
Target = list[float | None]  # of float32 values
Asking = Callable[[ServerProcess, list[Target]], Array]  # -> float32 [B, Q, H]

LEVELS = [f"0.{tenth}" for tenth in range(1, 10)]
START = "2024-01-01"
HORIZON = 6  # of tiny
STREAM = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module", params=[{"workers": 2}, {"workers": 1, "lanes": 3}], ids=str)
def asked(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server of `tiny` in all its dialects."""
    with serving(ARTIFACTS, grpc_port=0, max_batch_rows=8, **request.param) as running:
        yield running


def post(server: ServerProcess, path: str, body: object) -> Any:
    with client(server) as http:
        return _checked(http.post(path, json=body)).json()


def _checked(answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == 200, answer.text
    return answer


def native(server: ServerProcess, targets: list[Target]) -> Array:
    series = [
        {"item_id": str(at), "start": START, "target": target} for at, target in enumerate(targets)
    ]
    answer = post(server, "/v1/forecast", {"model": "tiny", "series": series})
    return np.array(
        [[one["quantiles"][level] for level in LEVELS] for one in answer["series"]], np.float32
    )


def packed(server: ServerProcess, targets: list[Target]) -> Array:
    body = {
        "model": "tiny",
        "y": [value for target in targets for value in target],
        "sizes": [len(target) for target in targets],
        "start": START,
    }
    answer = post(server, "/v1/forecast/bulk", body)
    flat = np.array([answer["quantiles"][level] for level in LEVELS], np.float32)
    return flat.reshape(len(LEVELS), len(targets), HORIZON).swapaxes(0, 1)


def arrow(server: ServerProcess, targets: list[Target]) -> Array:
    table = pa.table(
        {
            "item_id": [str(at) for at in range(len(targets))],
            "start": pa.array([np.datetime64(START, "us")] * len(targets)),
            "target": pa.array(targets, pa.list_(pa.float64())),
        }
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with client(server) as http:
        content = _checked(
            http.post(
                "/v1/forecast/bulk?model=tiny",
                content=sink.getvalue(),
                headers={"content-type": STREAM},
            )
        ).content
    answer = pa.ipc.open_stream(content).read_all()
    columns = [answer[level].to_numpy().astype(np.float32) for level in LEVELS]
    return np.stack(columns).reshape(len(LEVELS), len(targets), HORIZON).swapaxes(0, 1)


def _tensors(targets: list[Target]) -> dict[str, Array]:
    context = np.full((len(targets), max(map(len, targets))), np.nan, np.float32)
    for row, target in zip(context, targets, strict=True):
        row[: len(target)] = np.array(target, np.float32)
    return {"context": context, "lengths": np.array([len(t) for t in targets], np.int64)}


def open_inference(server: ServerProcess, targets: list[Target]) -> Array:
    named = _tensors(targets)
    datatypes = {"context": "FP32", "lengths": "INT64"}
    inputs = [
        {
            "name": name,
            "shape": [*values.shape],
            "datatype": datatypes[name],
            "parameters": {"binary_data_size": values.nbytes},
        }
        for name, values in named.items()
    ]
    head = json.dumps({"inputs": inputs}).encode()
    with client(server) as http:
        answer = _checked(
            http.post(
                "/v2/models/tiny/infer",
                content=head + b"".join(values.tobytes() for values in named.values()),
                headers={"inference-header-content-length": str(len(head))},
            )
        )
    (output,) = answer.json()["outputs"]
    return np.array(output["data"], np.float32).reshape(output["shape"]).swapaxes(1, 2)


def rpc(server: ServerProcess, targets: list[Target]) -> Array:
    with triton_client(server) as opened:
        answer: Array = opened.infer("tiny", inputs(_tensors(targets))).as_numpy("quantiles")
    return answer.swapaxes(1, 2)


def kserve(server: ServerProcess, targets: list[Target]) -> Array:
    inputs = [
        {
            "type": "univariate_time_series",
            "name": str(at),
            "series": target,
            "frequency": "4h",
            "start_timestamp": START,
        }
        for at, target in enumerate(targets)
    ]
    options = {"horizon": HORIZON, "quantiles": [float(level) for level in LEVELS]}
    body = {"model": "tiny", "inputs": inputs, "options": options}
    answer = post(server, "/v1/timeseries/forecast", body)
    contents = [output["content"][0]["quantiles"] for output in answer["outputs"]]
    return np.array([[one[level] for level in LEVELS] for one in contents], np.float32)


def timegpt(server: ServerProcess, targets: list[Target]) -> Array:
    body = {
        "series": {
            "y": [value for target in targets for value in target],
            "sizes": [len(target) for target in targets],
            "start_datetime": [START] * len(targets),
        },
        "model": "tiny",
        "h": HORIZON,
        "freq": "4h",
        "level": [80, 60, 40, 20],
    }
    answer = post(server, "/v2/forecast", body)
    bounds = {f"lo-{100 - 20 * k}": f"0.{k}" for k in range(1, 5)}
    bounds |= {f"hi-{20 * k - 100}": f"0.{k}" for k in range(6, 10)}
    found = {level: answer["intervals"][name] for name, level in bounds.items()}
    flat = np.array([(found | {"0.5": answer["mean"]})[level] for level in LEVELS], np.float32)
    return flat.reshape(len(LEVELS), len(targets), HORIZON).swapaxes(0, 1)


DIALECTS: list[Asking] = [native, packed, arrow, open_inference, rpc, kserve, timegpt]

VALUES = st.floats(-1e9, 1e9, width=32)
TARGETS = st.lists(
    st.lists(st.one_of(VALUES, st.none()), min_size=1, max_size=40).filter(
        lambda target: any(value is not None for value in target[-24:])
    ),
    min_size=1,
    max_size=20,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(targets=TARGETS)
def test_every_dialect_gives_the_bits_that_a_series_gets_alone(
    asked: ServerProcess, targets: list[Target]
) -> None:
    with ThreadPoolExecutor(8) as crowd:  # all at once: who shares a batch with whom is chance
        alone = [crowd.submit(native, asked, [target]) for target in targets]
        together = [crowd.submit(partial(ask, asked, targets)) for ask in DIALECTS]
        expected = np.concatenate([one.result() for one in alone])
        for ask, answer in zip(DIALECTS, together, strict=True):
            assert answer.result().tobytes() == expected.tobytes(), ask.__name__
