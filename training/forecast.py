"""Offline forecasts: a table in, a table out, through the same forecaster, batcher and runtime.

Needs polars but not torch; every bit of an answer is the one that the service would send.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from service.batcher import Batcher
from service.contract.frequency import Frequency
from service.contract.timestamp import Timestamp
from service.cores import available_cores
from service.forecaster import Forecast, Forecaster, Inquiry, Series
from service.repository import LiveModel, Repository
from training.data import InvalidTable, Panel

CHUNK = 1024  # series in one inquiry; bounds what waits in memory
MAX_BATCH_ROWS = 32


def forecast(
    model: LiveModel, panel: Panel, progress: Callable[[int], None] = lambda _: None
) -> pl.DataFrame:
    """Forecast every series of the panel from its end.

    Args:
        progress: called with the number of series done since the last call.

    Returns:
        A long table: item_id, timestamp, and one column per quantile level named "0.1", ...

    Raises:
        InvalidTable: the panel has another frequency than the model.
        ServiceError: a series that the model cannot answer.
    """
    signature = model.metadata.signature
    if panel.frequency != Frequency.parse(signature.freq):
        raise InvalidTable(
            f"the table has freq {panel.frequency.alias}, the model was trained on "
            f"{signature.freq}; resample the table or use another model"
        )
    return asyncio.run(_forecast_all(model, panel, progress))


def write(frame: pl.DataFrame, output: Path) -> None:
    """Write CSV or Parquet by the suffix of `output`, which must be one of the two."""
    if output.suffix == ".csv":
        frame.write_csv(output)
    else:
        frame.write_parquet(output)


async def _forecast_all(
    model: LiveModel, panel: Panel, progress: Callable[[int], None]
) -> pl.DataFrame:
    batcher = Batcher(available_cores(), MAX_BATCH_ROWS, CHUNK)
    batcher.start()
    name = model.metadata.name
    forecaster = Forecaster(Repository({name: model}, {}), batcher)
    frames = []
    try:
        for inquiry in _inquiries(name, panel):
            frames.append(_frame(await forecaster.forecast(inquiry)))
            progress(len(inquiry.series))
    finally:
        await batcher.close()
    return pl.concat(frames)


def _inquiries(name: str, panel: Panel) -> Iterator[Inquiry]:
    for start in range(0, len(panel.series), CHUNK):
        series = [
            Series(s.item_id, Timestamp(s.start), None, s.target)
            for s in panel.series[start : start + CHUNK]
        ]
        yield Inquiry(name, None, series, None, None)


def _frame(answer: Forecast) -> pl.DataFrame:
    steps = answer.quantiles.shape[2]
    columns: dict[str, object] = {
        "item_id": np.repeat(answer.item_ids, steps),
        "timestamp": np.array(answer.timestamps, "datetime64[us]").ravel(),
    }
    for at, level in enumerate(answer.quantile_levels):
        columns[str(level)] = answer.quantiles[:, at].ravel()
    return pl.DataFrame(columns)
