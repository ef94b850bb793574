"""Small networks of every shape, untrained but with no weight at rest, and their exported files."""

import tempfile
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.contract import grid
from service.contract.artifact import Artifact
from service.contract.forecast import Category, Covariates, ForecastSignature
from service.contract.frequency import Frequency
from service.contract.metadata import ModelFile, Parity
from service.contract.placement import History
from service.runtime import Runtime
from tests.artifacts import edit
from training import cases, export, parity
from training.config import NetworkConfig
from training.gru import Convention
from training.layers.calendar import Cycle
from training.network import GRUForecaster

CONFIG = NetworkConfig("D", horizon=4, seasonality=3, context_length=20, hidden=8)
EVERYTHING = replace(
    CONFIG,
    freq="h",
    patch=2,
    calendar=tuple(Cycle),
    covariates=Covariates(
        past=("price", "stock"),
        known=("promo",),
        static=("size",),
        categories=(
            Category(name="region", values=("north", "south")),
            Category(name="never filled in", values=()),
        ),
    ),
)
SHAPES = [  # of every kind, and as few as show them: each is exported once, for many tests
    CONFIG,
    replace(CONFIG, layers=2, patch=3, horizon=7, base_seasons=3, context_length=102),
    replace(CONFIG, convention=Convention.RESET_BEFORE, horizon=3, base_seasons=1, hidden=64),
    replace(CONFIG, seasonality=1, quantile_levels=(0.5,), signals=3),
    replace(CONFIG, horizon=1, base_seasons=2, calendar=(Cycle.DAY_OF_WEEK, Cycle.MONTH)),
    EVERYTHING,
    replace(EVERYTHING, patch=4, long_season=7, horizon=1, hidden=7, quantile_levels=(0.1, 0.5)),
]


def make(config: NetworkConfig = CONFIG) -> GRUForecaster:
    """A network in which every weight changes the answer."""
    torch.manual_seed(0)
    network = GRUForecaster(config).eval()
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.3)
    return network


def write_model(network: GRUForecaster, path: Path) -> ModelFile:
    """Export a forecaster with its own signature."""
    config = network.config
    return export.write_model(network, config.signature, [config.convention] * config.layers, path)


@cache
def exported(config: NetworkConfig) -> bytes:
    """The file of `make(config)`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_model(make(config), path)
        return path.read_bytes()


def histories(signature: ForecastSignature) -> list[History]:
    """Three made-up series with everything that a signature can declare."""
    random = np.random.default_rng(1)
    declared, frequency = signature.covariates, Frequency.parse(signature.freq)
    some_day = np.array(["2024-02-14"], "datetime64[us]")
    start = grid.place(frequency.unit, grid.number(frequency.unit, some_day))
    found = []
    for n in (50, 9, 20):
        span = n + signature.horizon
        moments = frequency.timestamps(start, 0, span)[0]
        target = 100 + random.normal(size=n).cumsum()
        timestamps = moments.astype("datetime64[s]").astype(np.int64)
        found.append(history(target, timestamps, declared, random))
    return found


def history(
    target: NDArray[np.float64],
    timestamps: NDArray[np.int64],
    declared: Covariates,
    random: np.random.Generator,
) -> History:
    """A series with random numbers for all that is declared, of the last of each category."""
    n, span = len(target), len(timestamps)
    return History(
        target=target,
        timestamps=timestamps,
        past=random.normal(size=(n, len(declared.past))),
        known=random.normal(size=(span, len(declared.known))),
        static=random.normal(size=len(declared.static)),
        categories=np.array([len(c.values) for c in declared.categories], np.int64),
    )


def families(signature: ForecastSignature) -> parity.Families:
    """The rows that parity is proven on, with the made-up series as the real ones."""
    return cases.families(signature, histories(signature))


def prove(network: GRUForecaster, runtime: Runtime) -> Parity:
    """The parity of a network and a runtime."""
    answer = partial(cases.torch_answer, network)
    return parity.check(answer, runtime, families(network.config.signature))


def opened(network: GRUForecaster) -> Runtime:
    """The exported network as the service opens it, with metadata borrowed from elsewhere."""
    signature, model = network.config.signature, exported(network.config)
    metadata = edit.forecaster(edit.TINY).model_copy(
        update={
            "signature": signature,
            "inputs": signature.inputs,
            "outputs": signature.outputs,
        }
    )
    answer = partial(cases.torch_answer, network)
    golden = parity.golden(answer, signature, families(signature))
    return Runtime(Artifact(Path(), metadata, model, golden))
