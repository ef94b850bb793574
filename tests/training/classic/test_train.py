"""The recipe end to end: one short training, what it says, publishes and draws, and how it serves.

Two epochs instead of 150 and five steps of our recipe: weights that are worth nothing, in the very
graph that is published.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from matplotlib import image
from numpy.typing import NDArray

from service.contract import artifact
from service.contract.forecast import CONTEXT, LENGTHS
from service.contract.metadata import Inputs
from service.runtime import Runtime
from tests.artifacts import edit
from tests.end_to_end.server import client, serving
from training.classic.protocol import Protocol
from training.classic.train import train
from training.config import FitConfig
from training.recipes import airline

TARGET = airline.load().series[0].target


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The published version, and what the training said."""
    models = tmp_path_factory.mktemp("models")
    said: list[str] = []
    protocol, fit_config = Protocol(epochs=2), FitConfig(seed=3, steps=5)
    folder = train(airline.load(), protocol, fit_config, "classic", models, say=said.append)
    return folder, "\n".join(said)


@pytest.fixture(scope="module")
def runtime(trained: tuple[Path, str]) -> Runtime:
    return Runtime(artifact.read(trained[0]))


def months(*rows: NDArray[np.float64]) -> Inputs:
    """Rows of twelve months as the runtime takes them."""
    return np.stack(rows).astype(np.float32), np.full(len(rows), 12)


def test_it_is_a_forecaster_of_twelve_months_from_twelve_without_quantiles(
    trained: tuple[Path, str],
) -> None:
    metadata = edit.forecaster(trained[0])
    signature = metadata.signature
    assert (signature.freq, signature.seasonality) == ("MS", 12)
    assert (signature.context_length, signature.minimum_context, signature.horizon) == (12, 12, 12)
    assert signature.quantile_levels == (0.5,)
    assert [spec.name for spec in metadata.inputs] == [CONTEXT, LENGTHS]
    assert metadata.training.seed == 3
    assert metadata.training.steps == 2 * 120
    told = metadata.training.network
    assert (told["hidden"], told["low"], told["high"]) == (100, 104.0, 559.0)  # 1949 to 1959


def test_the_graph_has_twelve_recurrences_that_share_their_weights(
    trained: tuple[Path, str],
) -> None:
    model = onnx.load(trained[0] / "model.onnx")
    weights = [tuple(node.input[1:4]) for node in model.graph.node if node.op_type == "GRU"]
    assert len(weights) == 12
    assert len(set(weights)) == 1


def test_its_error_is_that_of_the_served_model_on_the_last_twelve_months(
    trained: tuple[Path, str], runtime: Runtime
) -> None:
    served = runtime.run(*months(TARGET[-24:-12]))[0, :, 0]
    naive = np.abs(TARGET[12:-12] - TARGET[:-24]).mean()
    expected = np.abs(served - TARGET[-12:]).mean() / naive
    scores = edit.forecaster(trained[0]).evaluation.scores
    assert scores["GRU"].mase == pytest.approx(expected, rel=1e-5)
    assert (scores["GRU"].wql, scores["GRU"].coverage) == (None, None)
    assert list(scores) == ["GRU", "airline", "SeasonalNaive", "AutoETS", "AutoTheta"]
    assert scores["SeasonalNaive"].mase == pytest.approx(47.83 / 30.45, abs=1e-3)


def test_the_best_baseline_is_none_of_ours(trained: tuple[Path, str]) -> None:
    evaluation = edit.forecaster(trained[0]).evaluation
    assert evaluation.best_baseline == "AutoTheta"
    assert not evaluation.beats_baselines


def test_parity_is_proven_on_magnitudes_far_from_the_training_values(
    trained: tuple[Path, str],
) -> None:
    parity = edit.forecaster(trained[0]).parity["cpu"]
    assert {"magnitudes", "missing values", "every length"} <= {case.name for case in parity.cases}
    assert parity.share <= 1
    unit = artifact.read(trained[0]).golden.scale
    assert set(unit.tolist()) == {(559.0 - 104.0) / 2}


def test_a_row_has_the_same_bits_alone_and_at_any_place_of_any_batch(runtime: Runtime) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(300, 200, (33, 12))
    rows[random.random(rows.shape) < 0.2] = np.nan
    rows[5], rows[17] = 0.0, rows[17] * 1e9
    alone = np.concatenate([runtime.run(*months(row)) for row in rows])
    for count in range(1, 34):
        np.testing.assert_array_equal(runtime.run(*months(*rows[:count])), alone[:count])
        np.testing.assert_array_equal(runtime.run(*months(*rows[-count:])), alone[-count:])


def test_it_says_the_table_the_verdict_and_the_parity_and_draws_them(
    trained: tuple[Path, str],
) -> None:
    folder, said = trained
    for word in ("airline-classic", "AutoTheta", "does NOT beat", "The recipe airline", "Parity"):
        assert word in said
    assert {path.name for path in (folder / "report").iterdir()} == {"forecast.png", "scores.txt"}
    scores = (folder / "report/scores.txt").read_text()
    assert said.startswith(scores.replace("\n\n", "\n"))
    pixels = image.imread(folder / "report/forecast.png")
    assert pixels.shape == (720, 960, 4)
    assert len(np.unique(pixels[..., 0])) > 10


@pytest.fixture(scope="module")
def http(trained: tuple[Path, str]) -> Iterator[httpx.Client]:
    with serving(trained[0].parents[1]) as server, client(server) as opened:
        yield opened


def ask(http: httpx.Client, path: str, body: object) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_dialect_gives_the_runtimes_own_forecast(
    http: httpx.Client, runtime: Runtime
) -> None:
    known = TARGET[-24:-12].copy()
    known[4] = np.nan
    listed = [None if np.isnan(value) else value for value in known]
    native = {"item_id": "a", "start": "1959-01-01", "freq": "MS", "target": listed}
    tensors = [
        {"name": CONTEXT, "shape": [1, 12], "datatype": "FP32", "data": listed},
        {"name": LENGTHS, "shape": [1], "datatype": "INT64", "data": [12]},
    ]
    series = {"y": listed, "sizes": [12], "start_datetime": ["1959-01-01"]}
    (found,) = ask(http, "/v1/forecast", {"model": "classic", "series": [native]})["series"]
    (tensor,) = ask(http, "/v2/models/classic/infer", {"inputs": tensors})["outputs"]
    timegpt = {"model": "classic", "freq": "MS", "h": 12, "series": series}
    forecasts = {
        "native": found["quantiles"]["0.5"],
        "tensors": tensor["data"],
        "timegpt": ask(http, "/v2/forecast", timegpt)["mean"],
    }
    expected = runtime.run(*months(known)).ravel()
    for dialect, values in forecasts.items():
        np.testing.assert_array_equal(np.array(values, np.float32), expected, dialect)
    assert tensor["shape"] == [1, 12, 1]
    ahead = (found["timestamps"][0], found["timestamps"][-1])
    assert ahead == ("1960-01-01T00:00:00", "1960-12-01T00:00:00")


def test_eleven_months_are_too_few(http: httpx.Client) -> None:
    native = {"item_id": "a", "start": "1959-01-01", "freq": "MS", "target": [1.0] * 11}
    answer = http.post("/v1/forecast", json={"model": "classic", "series": [native]})
    assert answer.status_code == 422
    assert "12" in answer.text
