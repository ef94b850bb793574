"""The worked examples end to end: trained, judged, published, and served as the README says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.artifacts import edit
from tests.end_to_end.server import client, serving
from training.config import FitConfig, NetworkConfig
from training.origins import Origins
from training.recipes import RECIPES
from training.train import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def airline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models folder of a training of the airline recipe."""
    recipe = RECIPES["airline"]
    panel = recipe.load()
    models = tmp_path_factory.mktemp("models")
    config = NetworkConfig.for_panel(panel, Origins(recipe.horizon))
    train(panel, config, FitConfig(), "airline", models, say=lambda _: None)
    return models


def test_the_airline_model_is_at_least_half_better_than_seasonal_naive(airline: Path) -> None:
    evaluation = edit.forecaster(airline / "airline/1").evaluation
    ours, naive = evaluation.scores["GRU"].mase, evaluation.scores["SeasonalNaive"].mase
    assert naive == pytest.approx(47.83 / 30.45, abs=1e-3)  # its error over its scale
    assert ours is not None
    assert naive is not None
    assert ours <= 0.5 * naive
    assert evaluation.beats_baselines


def test_the_first_screen_of_the_readme_shows_the_answer(airline: Path) -> None:
    (shown,) = re.findall(r"```json\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    expected = json.loads(shown)
    with serving(airline) as server, client(server) as http:
        answer = http.post("/v1/forecast", content=(ROOT / "docs/request.json").read_bytes())
    got = answer.json()
    (ours,), (theirs,) = got.pop("series"), expected.pop("series")
    assert got == expected
    assert ours["timestamps"] == theirs["timestamps"]
    assert ours["quantiles"].keys() == theirs["quantiles"].keys()
    for level, values in theirs["quantiles"].items():  # another processor rounds its own way
        np.testing.assert_allclose(ours["quantiles"][level], values, rtol=0.03)
