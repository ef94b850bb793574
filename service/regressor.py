"""One request for predictions as a story: find the model, order the columns, run.

Columns come by name, so none can stand in the place of another. From the tensor on, the way is that
of a request in tensors: the same lanes, limits and bits.

Shape letters: B rows, F features.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from service.contract.aliases import Which
from service.contract.regression import FEATURES, RegressionMetadata, RegressionSignature
from service.errors import Unservable
from service.inference import Inference, TensorAnswer, TensorInquiry

Row = Mapping[str, float]  # by column

LARGEST = float(np.finfo(np.float32).max)
_SHOWN = 2  # columns of one fault in one message


async def regress(
    inference: Inference,
    model: str,
    version: Which,
    rows: Sequence[Row],
    timeout_s: float | None,
    key: bytes | None = None,
) -> TensorAnswer:
    """Predict every row, in the order of the question.

    Args:
        version: None: the one that is live.
        timeout_s: from now; None: the service's default.
        key: for the canary, see `Repository.get`.

    Raises:
        NotFound: no such model or version is served.
        Unservable: the model is no regression, or see `feature_tensor`.
        TooLarge, Overloaded, DeadlineExceeded, Unavailable, InferenceFailed: see `Inference.run`.
    """
    found = inference.repository.get_for(RegressionMetadata, model, version, key)
    inference.check_rows(len(rows), "rows")
    tensors = {FEATURES: feature_tensor(rows, found.metadata.signature)}
    return await inference.infer(TensorInquiry(model, version, tensors, timeout_s), found)


def feature_tensor(rows: Sequence[Row], signature: RegressionSignature) -> NDArray[np.float32]:
    """[B, F] in the order of the signature.

    Args:
        rows: finite numbers.

    Raises:
        Unservable: no row, a missing or an unknown column, or a number beyond float32; the message
            names the row and the column.
    """
    if not rows:
        raise Unservable("rows is empty; send at least one row", "rows")
    names = signature.features
    expected = frozenset(names)
    for at, row in enumerate(rows):
        if row.keys() != expected:
            raise _wrong_columns(row, at, names)
    table = np.array(list(map(itemgetter(*names), rows)), np.float64)
    table = table.reshape(len(rows), len(names))  # also of one column
    if np.abs(table).max() > LARGEST:
        raise _too_large(table, names)
    return table.astype(np.float32)


def _wrong_columns(row: Row, at: int, names: Sequence[str]) -> Unservable:
    missing = [name for name in names if name not in row]
    unknown = [name for name in row if name not in names]
    faults = [f"missing column {name!r}" for name in missing[:_SHOWN]]
    faults += [f"unknown column {name!r}" for name in unknown[:_SHOWN]]
    message = f"rows[{at}]: {', '.join(faults)}; this model takes {', '.join(names)}"
    return Unservable(message, f"rows[{at}].{(missing or unknown)[0]}")


def _too_large(table: NDArray[np.float64], names: Sequence[str]) -> Unservable:
    at, column = np.argwhere(np.abs(table) > LARGEST)[0]
    field = f"rows[{at}].{names[column]}"
    message = f"{field} is {table[at, column]:g}, the largest magnitude is {LARGEST:g}"
    return Unservable(message, field)
