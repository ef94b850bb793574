"""What the tests of the Open Inference Protocol share: requests to `tiny`, and its own answers."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contract import artifact
from service.contract.placement import History, place
from service.runtime import Runtime
from tests.artifacts import edit

RUNTIME = Runtime(artifact.read(edit.TINY))
SIGNATURE = edit.forecaster(edit.TINY).signature
INFER = "/v2/models/tiny/infer"
HEADER = "Inference-Header-Content-Length"
DATATYPES = {"float32": "FP32", "int64": "INT64"}

Tensors = dict[str, NDArray[Any]]
Body = dict[str, Any]


def rows(*lengths: int, padded: int = 0, seed: int = 7) -> Tensors:
    """Good tensors: rows of so many steps with some missing values."""
    random = np.random.default_rng(seed)
    context = np.full((len(lengths), max(*lengths, padded)), np.nan, np.float32)
    for row, n in zip(context, lengths, strict=True):
        values = random.normal(20, 5, n)
        values[: n - 1][random.random(n - 1) < 0.2] = np.nan
        row[:n] = values
    return {"context": context, "lengths": np.array(lengths, np.int64)}


def own_answer(tensors: Tensors) -> NDArray[np.float32]:
    """What the runtime itself says, one row at a time: [B, H, Q]."""
    answers = []
    for row, n in zip(tensors["context"], tensors["lengths"].tolist(), strict=True):
        (block,) = place([History(row[:n])], SIGNATURE)
        answers.append(RUNTIME.run(*block.inputs))
    return np.concatenate(answers)


def described(name: str, values: NDArray[Any]) -> Body:
    """An input without its data."""
    datatype = DATATYPES[values.dtype.name]
    return {"name": name, "datatype": datatype, "shape": [*values.shape]}


def numbers(values: NDArray[Any]) -> list[Any]:
    """Flat, with null for NaN."""
    return [None if value != value else value for value in values.ravel().tolist()]


def json_body(tensors: Tensors, **fields: object) -> Body:
    """A request in JSON alone."""
    inputs = [described(name, v) | {"data": numbers(v)} for name, v in tensors.items()]
    return {"inputs": inputs} | fields


def binary_body(tensors: Tensors, **fields: object) -> tuple[bytes, dict[str, str]]:
    """A request with its data behind the JSON; content and headers."""
    inputs = [
        described(name, values) | {"parameters": {"binary_data_size": values.nbytes}}
        for name, values in tensors.items()
    ]
    head = json.dumps({"inputs": inputs} | fields).encode()
    return head + b"".join(v.tobytes() for v in tensors.values()), {HEADER: str(len(head))}


def read_json(answer: Any) -> NDArray[np.float32]:
    """The quantiles of an answer in JSON."""
    (output,) = answer["outputs"]
    return np.array(output["data"], np.float64).astype(np.float32).reshape(output["shape"])


def read_binary(content: bytes, length: str) -> NDArray[np.float32]:
    """The quantiles of an answer that are behind its JSON."""
    (output,) = json.loads(content[: int(length)])["outputs"]
    raw = content[int(length) :]
    assert output["parameters"] == {"binary_data_size": len(raw)}
    assert "data" not in output
    return np.frombuffer(raw, "<f4").reshape(output["shape"])
