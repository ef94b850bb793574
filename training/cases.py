"""The rows that parity is proven on: families of series that broke somebody's export once.

Every length, missing values, constants, magnitudes, ragged batches, and real series. Where the
model wants covariates, categories or timestamps, every row has some of its own.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from service.contract import grid
from service.contract.forecast import ForecastSignature
from service.contract.frequency import DAY, Frequency
from service.contract.grid import Moments
from service.contract.metadata import Inputs
from service.contract.placement import History, stack
from training.network import GRUForecaster

Rows = Sequence[History]
PROVEN = 64  # real series that take part
MAGNITUDES = tuple(10.0**exponent for exponent in range(-6, 10))
# Where calendars go wrong: leap days, the century without one, the end of a year and of negative
# time.
LANDMARKS = np.array(
    ["1952-02-29", "1970-01-01", "1999-12-31T23:59:59", "2000-02-29", "2096-02-29", "2100-03-01"],
    "datetime64[s]",
)


def families(signature: ForecastSignature, histories: Rows) -> dict[str, Inputs]:
    """The rows of each family; the same for the same signature and data.

    Args:
        histories: real series of the training data, each at least one step.
    """
    width = signature.paddings[-1]
    return {
        name: stack(rows, signature, width) for name, rows in cases(signature, histories).items()
    }


def cases(signature: ForecastSignature, histories: Rows) -> Mapping[str, Rows]:
    """The rows of each case; the same for the same signature and data."""
    random = np.random.default_rng(1)
    made_up = {
        name: [_dressed(target, signature, histories[:PROVEN], random) for target in targets]
        for name, targets in _targets(signature).items()
    }
    return {**made_up, "training data": histories[:PROVEN]}


def torch_answer(
    network: GRUForecaster, inputs: Inputs
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Torch's quantiles [B, H, Q] and each row's scale [B] in data units."""
    tensors = [torch.from_numpy(array) for array in inputs]
    network.eval()
    with torch.no_grad():
        scaled = network.rescale(*tensors[:2])
        quantiles = network(*tensors)
    return quantiles.numpy(), (scaled.magnitude * scaled.scale).flatten().numpy()


def _targets(signature: ForecastSignature) -> Mapping[str, list[NDArray[np.float64]]]:
    length = signature.context_length
    random = np.random.default_rng(0)

    def walk(steps: int) -> NDArray[np.float64]:
        """A random walk with a season, around a level."""
        season = np.sin(2 * np.pi * np.arange(steps) / max(2, signature.seasonality))
        row: NDArray[np.float64] = 100 + np.cumsum(random.normal(size=steps)) + 5 * season
        return row

    def holed(steps: int) -> NDArray[np.float64]:
        """A walk of which a random share is missing, but not all."""
        row = walk(steps)
        row[random.random(steps) < random.uniform(0, 0.95)] = np.nan
        row[random.integers(steps)] = 100.0
        return row

    every_length = np.unique(np.linspace(1, length, min(length, 64)).astype(int))
    return {
        "every length": [walk(int(steps)) for steps in every_length],
        "missing values": [holed(length) for _ in range(64)],
        "constants": [np.full(length, c) for c in (0.0, 1.0, -3.5, 1e-6, 1e9)]
        + [np.zeros(1), np.full(1, 42.0)],
        "magnitudes": [walk(length) * factor for factor in MAGNITUDES for _ in range(3)],
        "ragged batch": [holed(int(random.integers(1, length + 1))) for _ in range(128)],
    }


def _dressed(
    target: NDArray[np.float64],
    signature: ForecastSignature,
    histories: Rows,
    random: np.random.Generator,
) -> History:
    """The target with whatever else the signature declares, made up after the real histories."""
    declared, steps = signature.covariates, len(target)
    span = steps + signature.horizon
    counts = np.array([len(category.values) for category in declared.categories], np.int64)
    return History(
        target=target,
        timestamps=_timestamps(steps, signature, random) if signature.calendar else None,
        past=_like([h.past for h in histories], (steps, len(declared.past)), random),
        known=_like([h.known for h in histories], (span, len(declared.known)), random),
        static=_like([h.static for h in histories], (len(declared.static),), random),
        categories=random.integers(0, counts, endpoint=True),  # 0 is unknown
    )


def _like(
    real: Sequence[NDArray[np.floating] | None], shape: tuple[int, ...], random: np.random.Generator
) -> NDArray[np.float64]:
    """Covariates [..., F] like the real ones, some of them far out, with gaps, or all missing."""
    count = shape[-1]
    if not count:
        return np.empty(shape)
    pool = np.concatenate(
        [np.reshape(values, (-1, count)) for values in real if values is not None]
    )
    drawn, other = pool[random.integers(len(pool), size=(2, *shape)), np.arange(count)]
    numbers: NDArray[np.float64] = drawn + random.choice([0, 0, 0, 30], count) * (drawn - other)
    gaps = random.choice([0.0, 0.0, 0.3, 1.0], count)
    numbers[random.random(shape) < gaps] = np.nan
    return numbers


def _timestamps(
    steps: int, signature: ForecastSignature, random: np.random.Generator
) -> NDArray[np.int64]:
    """Seconds of the steps around a forecast origin: a landmark, or any moment of 1950 to 2100."""
    frequency = Frequency.parse(signature.freq)
    span, size = steps + signature.horizon, frequency.count * grid.SIZES[frequency.unit]
    anywhere = np.datetime64("1950-01-01", "s") + random.integers(150 * 365 * DAY)
    origin = anywhere if random.random() < 0.5 else random.choice(LANDMARKS)
    number = grid.number(frequency.unit, np.array([origin], "datetime64[us]")) - steps * size
    earliest, latest = grid.CALENDAR[frequency.unit]
    start = grid.place(frequency.unit, np.clip(number, earliest, latest - (span - 1) * size))
    moments: Moments = frequency.timestamps(start, 0, span)[0]
    return moments.astype("datetime64[s]").astype(np.int64)
