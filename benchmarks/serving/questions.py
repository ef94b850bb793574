"""What the clients ask: the same random walks in every dialect, and what an answer must hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.load import LoadFailed, Question
from service.contract.forecast import ForecastSignature

VARIETY = 16  # different bodies, asked in rotation
START = "2024-01-01T00:00:00"

Rows = NDArray[np.float32]  # [k, C]


@dataclass(frozen=True)
class Dialect:
    """One way to ask over HTTP."""

    name: str
    write: Callable[[str, Rows], Question]
    count: Callable[[dict[str, str], bytes], int]  # forecast numbers of an answer


class NotAnswered(LoadFailed):
    """The server does not speak this dialect, or not fully."""


def walks(signature: ForecastSignature, rows: int, seed: int) -> Rows:
    """Random walks with two decimals [k, C]: as many digits as people send."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(rows, signature.context_length))
    return (100 + steps.cumsum(1)).round(2).astype(np.float32)


def native(model: str, rows: Rows) -> Question:
    """`POST /v1/forecast`."""
    series = [
        {"item_id": str(at), "start": START, "target": target}
        for at, target in enumerate(_decimals(rows))
    ]
    return Question("/v1/forecast", _json({"model": model, "series": series}))


def open_inference(model: str, rows: Rows) -> Question:
    """The Open Inference Protocol in JSON."""
    values = [value for row in _decimals(rows) for value in row]
    lengths = [rows.shape[1]] * len(rows)
    tensors = [
        {"name": "context", "shape": [*rows.shape], "datatype": "FP32", "data": values},
        {"name": "lengths", "shape": [len(rows)], "datatype": "INT64", "data": lengths},
    ]
    return Question(f"/v2/models/{model}/infer", _json({"inputs": tensors}))


def binary(model: str, rows: Rows) -> Question:
    """The Open Inference Protocol with binary tensors both ways."""
    tensors = _tensors(rows)
    inputs = [
        {
            "name": name,
            "shape": [*values.shape],
            "datatype": datatype,
            "parameters": {"binary_data_size": values.nbytes},
        }
        for name, datatype, values in tensors
    ]
    head = _json({"inputs": inputs, "parameters": {"binary_data_output": True}})
    body = head + b"".join(values.tobytes() for _, _, values in tensors)
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Question(f"/v2/models/{model}/infer", body, headers)


def grpc_message(model: str, rows: Rows) -> bytes:
    """An `inference.ModelInferRequest` with raw contents, in protobuf's encoding."""
    tensors = _tensors(rows)
    message = _field(1, model.encode())
    for name, datatype, values in tensors:
        shape = b"".join(map(_varint, values.shape))
        tensor = _field(1, name.encode()) + _field(2, datatype.encode()) + _field(3, shape)
        message += _field(5, tensor)
    return message + b"".join(_field(7, values.tobytes()) for _, _, values in tensors)


def _count_native(_headers: dict[str, str], body: bytes) -> int:
    answer = json.loads(body)
    return sum(len(q) for series in answer["series"] for q in series["quantiles"].values())


def _count_open_inference(_headers: dict[str, str], body: bytes) -> int:
    (output,) = json.loads(body)["outputs"]
    return int(np.size(output["data"]))


def _count_binary(headers: dict[str, str], body: bytes) -> int:
    head = int(headers["inference-header-content-length"])
    return len(body[head:]) // 4


NATIVE = Dialect("native JSON", native, _count_native)
OPEN_INFERENCE = Dialect("Open Inference JSON", open_inference, _count_open_inference)
BINARY = Dialect("Open Inference binary", binary, _count_binary)


def _tensors(rows: Rows) -> list[tuple[str, str, NDArray[Any]]]:
    lengths = np.full(len(rows), rows.shape[1], np.int64)
    return [("context", "FP32", rows), ("lengths", "INT64", lengths)]


def _decimals(rows: Rows) -> list[list[float]]:
    """float64 of two decimals: 101.37 and not 101.37000274658203."""
    values: list[list[float]] = rows.astype(np.float64).round(2).tolist()
    return values


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    digits = []
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
