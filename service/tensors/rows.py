"""The named tensors of a request -> rows for the engine, once for every dialect of tensors."""

from collections.abc import Callable

import numpy as np

from service.contract.forecast import ForecastSignature
from service.contract.metadata import Array, Block, Inputs, Signature
from service.errors import Unservable
from service.tensors.form import Tensors, agree_form
from service.tensors.series import series_blocks


class TensorRows:
    """Rows of one shape; their tensors are copied when a batch takes them."""

    __slots__ = ("_inputs", "places", "shape")

    def __init__(self, block: Block, padded: int) -> None:
        self._inputs = block.inputs
        self.places = block.rows  # among the rows of the request
        self.shape = padded

    def __len__(self) -> int:
        return len(self.places)

    def write(self, start: int, stop: int, memory: Inputs, at: int) -> None:
        """Write some of them as the rows at.. of a batch."""
        for mine, theirs in zip(self._inputs, memory, strict=True):
            theirs[at : at + stop - start] = mine[start:stop]


def tensor_rows(
    tensors: Tensors,
    signature: Signature,
    check_rows: Callable[[int], None] = lambda _: None,
) -> list[TensorRows]:
    """The rows of a request, those of a series by bucket.

    Args:
        tensors: exactly `signature.inputs`.
        check_rows: called with their number before any row is looked at; whatever it raises is
            raised.

    Raises:
        Malformed: see `agree_form` and `series_blocks`; the field is the tensor.
        Unservable: a row that this model cannot answer; the message names the tensor and the row.
    """
    arrays = agree_form(tensors, signature)
    check_rows(len(arrays[0]))
    if isinstance(signature, ForecastSignature):
        blocks = series_blocks(arrays, signature)
    else:
        blocks = [_plain_block(tuple(arrays), signature)]
    return [TensorRows(block, signature.extent(block.inputs[0].shape)[1]) for block in blocks]


def _plain_block(arrays: Inputs, signature: Signature) -> Block:
    """All rows, of a model without steps: every number finite, and what the signature asks."""
    for spec, array in zip(signature.inputs, arrays, strict=True):
        wrong = _first_not_finite(array)
        if wrong is not None:
            message = f"row {wrong} of {spec.name} holds NaN or infinity; send finite numbers"
            raise Unservable(message, spec.name)
    try:
        signature.check(arrays)
    except ValueError as error:
        raise Unservable(str(error), signature.inputs[0].name) from error
    return Block(np.arange(len(arrays[0])), arrays)


def _first_not_finite(array: Array) -> int | None:
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    return None if finite.all() else int(np.flatnonzero(~finite)[0])
