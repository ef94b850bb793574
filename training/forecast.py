"""Offline forecasts: a panel in, tables of answers out as they come.

Needs polars but not torch. Series are placed by the same code as in the service and run by the same
runtime, so every bit of an answer is the one that the service would send. What a request needs
beside, its own checks, its event loop and its text, is left out: with a very small network that
saves a quarter of the processor time.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.contract.forecast import ForecastMetadata, ForecastSignature
from service.contract.frequency import OffCalendar
from service.contract.metadata import Block
from service.contract.placement import LARGEST_VALUE, place
from service.cores import available_cores
from service.repository.live import LiveModel
from training.data import InvalidTable, Panel, Series
from training.histories import at_cutoffs
from training.output import Output

CHUNK = 4096  # series placed at once; bounds what waits in memory
MAX_BATCH_ROWS = 32  # as the service has it by default

_Answer = Future[NDArray[np.float32]]


def forecast(model: LiveModel[ForecastMetadata], panel: Panel) -> Iterator[pl.DataFrame]:
    """Forecast every series of the panel from its end.

    Yields:
        A long table of some series at a time, in the order of the panel: item_id, timestamp, and
        one column per quantile level named "0.1", ...

    Raises:
        InvalidTable: a series that the model cannot answer.
        InferenceFailed: from the runtime.
    """
    signature = model.metadata.signature
    lanes = ThreadPoolExecutor(available_cores(), "lane")
    before: _Part | None = None
    try:
        for start in range(0, len(panel.series), CHUNK):
            part = _place(panel, panel.series[start : start + CHUNK], signature)
            part.answers = [_submit(lanes, model, block) for block in part.blocks]
            if before is not None:
                yield before.frame(signature)  # while the lanes have the next to do
            before = part
        if before is not None:
            yield before.frame(signature)
    finally:
        lanes.shutdown(cancel_futures=True)


def write(frame: pl.DataFrame, output: Path) -> None:
    """Write CSV or Parquet by the suffix of `output`, which must be one of the two."""
    with Output(output) as file:
        file.add(frame)


@dataclass
class _Part:
    """Some series of a panel on their way."""

    item_ids: list[str]  # [B]
    timestamps: NDArray[np.datetime64]  # [B, H]
    blocks: list[Block]
    answers: list[list[_Answer]] = field(default_factory=list)  # of each block, in order

    def frame(self, signature: ForecastSignature) -> pl.DataFrame:
        """Wait for the answers."""
        count, horizon = self.timestamps.shape
        quantiles = np.empty((len(signature.quantile_levels), count, horizon), np.float32)
        for block, answers in zip(self.blocks, self.answers, strict=True):
            answer = np.concatenate([answer.result() for answer in answers])  # [b, H, Q]
            quantiles[:, block.rows] = answer.transpose(2, 0, 1)
        columns: dict[str, object] = {
            "item_id": pl.Series(self.item_ids).gather(np.repeat(np.arange(count), horizon)),
            "timestamp": self.timestamps.ravel(),
        }
        for level, values in zip(signature.quantile_levels, quantiles, strict=True):
            columns[str(level)] = values.ravel()
        return pl.DataFrame(columns)


def _place(panel: Panel, some: Sequence[Series], signature: ForecastSignature) -> _Part:
    """Series that can be answered, placed, and the timestamps of their horizons."""
    ends = [(series, len(series.target)) for series in some]
    starts = np.array([series.start for series in some], "datetime64[us]")
    lengths = np.array([end for _, end in ends], np.int64)
    try:
        timestamps = panel.frequency.timestamps(starts, lengths, signature.horizon)
    except OffCalendar as error:
        raise InvalidTable(f"item {some[error.index].item_id!r}: {error}") from None
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        blocks = place(at_cutoffs(panel, ends, signature), signature)
    for block in blocks:
        largest = np.fmax.reduce(np.abs(block.inputs[0]), axis=1)  # NaN where nothing is observed
        refused = ~(largest <= LARGEST_VALUE)
        if refused.any():
            at = int(refused.argmax())
            raise _unanswerable(some[block.rows[at]], float(largest[at]), signature)
    return _Part([series.item_id for series in some], timestamps, blocks)


def _unanswerable(series: Series, largest: float, signature: ForecastSignature) -> InvalidTable:
    newest = f"its newest {min(len(series.target), signature.context_length)} steps"
    if np.isnan(largest):
        return InvalidTable(
            f"item {series.item_id!r} has no observed target in {newest}, and the model sees no "
            "more; drop the item, or fill some in"
        )
    return InvalidTable(
        f"item {series.item_id!r} has a target beyond {LARGEST_VALUE:g} in {newest}; correct or "
        "rescale it"
    )


def _submit(
    lanes: ThreadPoolExecutor, model: LiveModel[ForecastMetadata], block: Block
) -> list[_Answer]:
    starts = range(0, len(block.rows), MAX_BATCH_ROWS)
    return [
        lanes.submit(
            model.runtime.run, *(array[start : start + MAX_BATCH_ROWS] for array in block.inputs)
        )
        for start in starts
    ]
