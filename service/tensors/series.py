"""Rows of a forecaster's tensors: the newest `context_length` steps of each, by bucket.

Rows of a model that wants the target alone stay in their arrays all the way to a batch.

Shape letters: B rows, T steps, n valid steps of a row, H horizon steps.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from service.contract.buckets import bucket, buckets
from service.contract.forecast import CATEGORIES, KNOWN, PAST, STATIC, TIMESTAMPS, ForecastSignature
from service.contract.metadata import Array, Block
from service.contract.placement import History, place
from service.tensors.checks import Newest, agree_beside, agree_lengths, agree_targets


def series_blocks(arrays: Sequence[Array], signature: ForecastSignature) -> list[Block]:
    """The newest steps of each row without their padding, by bucket.

    Args:
        arrays: the tensors in the signature's order, agreed in form. NaN = missing. The horizon's
            steps of a row follow right behind its own n steps.

    Raises:
        Malformed: a length outside 1..T.
        Unservable: a row that this model cannot answer; the message names the tensor and the row.
    """
    context, lengths = arrays[:2]
    newest = agree_lengths(lengths.tolist(), context.shape[1], signature)
    agree_targets(newest, context)
    if len(arrays) == 2:
        return _blocks(newest, context, signature.context_length)
    beside = {spec.name: a for spec, a in zip(signature.inputs[2:], arrays[2:], strict=True)}
    agree_beside(newest, beside, signature)
    return place(_dressed(newest, context, beside, signature), signature)


def _blocks(newest: Newest, context: Array, context_length: int) -> list[Block]:
    """Rows of the target alone, without a step of Python for each of them."""
    if newest.alike:
        return [_block(newest, context, context_length)]
    kept, last = np.array(newest.kept), context.shape[1] - 1
    firsts = np.array(newest.lengths) - kept
    padding = buckets(context_length)[kept]
    blocks = []
    for padded in np.unique(padding).tolist():
        at = np.flatnonzero(padding == padded)
        steps = np.arange(padded)
        columns = np.minimum(firsts[at, np.newaxis] + steps, last)
        values = context[at[:, np.newaxis], columns]
        values[steps >= kept[at, np.newaxis]] = np.nan
        blocks.append(Block(at, (values, kept[at])))
    return blocks


def _block(newest: Newest, context: Array, context_length: int) -> Block:
    """Rows of one length; where that is a bucket's own, no value is copied."""
    values, rows, kept = newest.of(context), len(context), newest.kept[0]
    padded = bucket(kept, context_length)
    if kept < padded:
        values, seen = np.full((rows, padded), np.nan, np.float32), values
        values[:, :kept] = seen
    return Block(np.arange(rows), (values, np.full(rows, kept)))


def _dressed(
    newest: Newest, context: Array, beside: Mapping[str, Array], signature: ForecastSignature
) -> list[History]:
    """The histories of a model that wants more than the target."""
    past, known = beside.get(PAST), beside.get(KNOWN)
    moments, static, codes = beside.get(TIMESTAMPS), beside.get(STATIC), beside.get(CATEGORIES)
    found = []
    for row, (n, kept) in enumerate(zip(newest.lengths, newest.kept, strict=True)):
        steps, span = slice(n - kept, n), slice(n - kept, n + signature.horizon)
        found.append(
            History(
                target=context[row, steps],
                timestamps=None if moments is None else moments[row, span],
                past=None if past is None else past[row, steps],
                known=None if known is None else known[row, span],
                static=None if static is None else static[row],
                categories=None if codes is None else codes[row],
            )
        )
    return found
