"""What recording costs: `python -m benchmarks.quality [DATABASE]`.

On the event loop, per forecast, with the queue kept short; in the thread that writes, rows in a
second; and how long it takes to read scores of many points.
"""

import sys
import time
import timeit
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from service.contract.forecast import ForecastMetadata
from service.contract.timestamp import read_timestamp
from service.forecasting.inquiry import Series
from service.quality.actual import Actual
from service.quality.address import database_url
from service.quality.given import Given, digest, given
from service.quality.joining import write_actuals, write_forecasts
from service.quality.recorder import BATCH, Recorder
from service.quality.scores import read_scores
from service.quality.store import Store
from service.repository.intake import Intake

ARTIFACTS = Path("tests/artifacts")
STEPS = 200  # of a history
ROWS = 20_480


def main(address: str) -> None:
    """Print the figures."""
    model = Intake(ARTIFACTS, "cpu").load().get_for(ForecastMetadata, "tiny")
    metadata = model.metadata
    store = Store(database_url(address))
    for rows in (1, 32):
        print(f"event loop, {rows} series: {_loop(store, metadata, rows):.2f} us per forecast")
    seconds = _written(store, metadata)
    print(f"thread, nothing else running: {ROWS / seconds:.0f} forecasts written in a second")
    posted, seconds = _posted(store, metadata)
    print(f"actuals: {posted / seconds:.0f} in a second, each meets one step")
    began = time.perf_counter()
    with store.reading() as connection:
        found = read_scores(connection)
    points = sum(one.points for one in found.values())
    print(f"scores of {points} points read in {time.perf_counter() - began:.3f} s")


def _series(item_id: str) -> Series:
    values = np.random.default_rng(1).normal(size=STEPS)
    return Series(item_id, read_timestamp("2024-01-01"), None, values)


def _given(metadata: ForecastMetadata, rows: int, first: int = 0) -> Given:
    signature = metadata.signature
    shape = (rows, signature.horizon, len(signature.quantile_levels))
    many = [_series(f"item-{first + at}") for at in range(rows)]
    return given(metadata, many, np.zeros(shape, np.float32))


def _loop(store: Store, metadata: ForecastMetadata, rows: int) -> float:
    """Microseconds of one `offer`, for each of its series; the lowest of some runs."""
    recorder = Recorder(store)
    many = [_series(str(at)) for at in range(rows)]
    shape = (rows, metadata.signature.horizon, len(metadata.signature.quantile_levels))
    answer = np.zeros(shape, np.float32)
    times = 500

    def run() -> None:
        recorder._rows_out, recorder._bytes_out = recorder._rows_in, recorder._bytes_in
        recorder._queue = deque()
        for _ in range(times):
            recorder.offer(metadata, many, answer)

    return min(timeit.repeat(run, number=1, repeat=20)) / times / rows * 1e6


def _written(store: Store, metadata: ForecastMetadata) -> float:
    began = time.perf_counter()
    for first in range(0, ROWS, BATCH):
        batch = [_given(metadata, 32, first + at) for at in range(0, BATCH, 32)]
        rows = [row for row in digest(batch, 100.0, time.time()) if row is not None]
        with store.writing() as connection:
            write_forecasts(store, connection, rows, time.time())
    return time.perf_counter() - began


def _posted(store: Store, metadata: ForecastMetadata) -> tuple[int, float]:
    one = next(row for row in digest([_given(metadata, 1)], 100.0, 0.0) if row is not None)
    moments = np.frombuffer(one.columns["moments"], np.int64).tolist()
    began = time.perf_counter()
    for first in range(0, ROWS, 5000):
        items = [f"item-{at}" for at in range(first, min(first + 5000, ROWS))]
        for moment in moments:
            with store.writing() as connection:
                actuals = [Actual(item_id, moment, 1.0) for item_id in items]
                write_actuals(store, connection, actuals, time.time())
    return ROWS * len(moments), time.perf_counter() - began


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/quality.db")
