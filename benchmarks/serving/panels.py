"""Bodies about thousands of series, and what their answers must hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from benchmarks.load import LoadFailed, Question
from benchmarks.serving.questions import START, walks
from service.contract.forecast import ForecastSignature

PATH = "/v1/forecast/bulk"
STREAM = "application/vnd.apache.arrow.stream"
DIGITS = 2  # bytes that a number of a JSON answer takes at least, with its comma


@dataclass(frozen=True)
class Form:
    """One way to write a panel."""

    name: str
    write: Callable[[str, ForecastSignature, int], Question]
    check: Callable[[bytes, ForecastSignature, int], None]
    least: Callable[[ForecastSignature, int], int]  # bytes of an answer about so many series


def _write_packed(model: str, signature: ForecastSignature, count: int) -> Question:
    """All values end to end, and how many each series has."""
    rows = walks(signature, count, seed=0)
    values = rows.astype(np.float64).round(2).ravel().tolist()
    sizes = [signature.context_length] * count
    body = json.dumps({"model": model, "start": START, "sizes": sizes, "y": values})
    return Question(PATH, body.encode(), {"content-type": "application/json"})


def _check_packed(body: bytes, signature: ForecastSignature, count: int) -> None:
    quantiles = json.loads(body)["quantiles"]
    sizes = [len(values) for values in quantiles.values()]
    wanted = [count * signature.horizon] * len(signature.quantile_levels)
    if sizes != wanted:
        raise LoadFailed(f"{PATH} answered {sizes} numbers by level, expected {wanted}")


def _least_packed(signature: ForecastSignature, count: int) -> int:
    return DIGITS * _numbers(signature, count)


def _numbers(signature: ForecastSignature, count: int) -> int:
    return count * signature.horizon * len(signature.quantile_levels)


def _write_arrow(model: str, signature: ForecastSignature, count: int) -> Question:
    """A row for each series: item_id, start, and the list of its values."""
    rows = walks(signature, count, seed=0)
    bounds = np.arange(0, rows.size + 1, signature.context_length, dtype=np.int32)
    columns = {
        "item_id": pa.array([str(at) for at in range(count)]),
        "start": pa.array(np.full(count, np.datetime64(START, "us"))),
        "target": pa.ListArray.from_arrays(pa.array(bounds), pa.array(rows.ravel())),
    }
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Question(f"{PATH}?model={model}", sink.getvalue().to_pybytes(), {"content-type": STREAM})


def _check_arrow(body: bytes, signature: ForecastSignature, count: int) -> None:
    table = pa.ipc.open_stream(body).read_all()
    columns = set(map(str, signature.quantile_levels))
    if table.num_rows != count * signature.horizon or not columns <= set(table.column_names):
        came = f"{table.num_rows} rows of {', '.join(table.column_names)}"
        raise LoadFailed(f"{PATH} answered {came}, expected {count * signature.horizon} rows")


def _least_arrow(signature: ForecastSignature, count: int) -> int:
    return 4 * _numbers(signature, count)


FORMS = (
    Form("packed JSON", _write_packed, _check_packed, _least_packed),
    Form("Arrow", _write_arrow, _check_arrow, _least_arrow),
)
