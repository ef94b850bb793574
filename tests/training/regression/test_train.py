"""The whole story on bundled data: trained, judged, proven, published, and run by the command."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from matplotlib import image

from service.contract import artifact
from service.contract.regression import RegressionMetadata
from service.runtime import Runtime
from tests.training.regression.tables import made_up
from training.recipes import diabetes
from training.regression import cli
from training.regression.config import FitConfig
from training.regression.evaluate import BOOSTING, MODEL, RIDGE
from training.regression.train import split, train
from training.tables.source import InvalidTable

QUICK = FitConfig(steps=1000)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version trained on the diabetes data."""
    models = tmp_path_factory.mktemp("models")
    return train(diabetes.load(), QUICK, "diabetes", models, say=lambda _: None)


def test_it_predicts_diabetes_better_than_trees_and_no_worse_than_a_line(published: Path) -> None:
    metadata = artifact.read(published).metadata
    assert isinstance(metadata, RegressionMetadata)
    scores = metadata.evaluation.scores
    assert scores[MODEL].rmse < scores[BOOSTING].rmse
    assert scores[MODEL].rmse < 1.03 * scores[RIDGE].rmse
    assert scores[MODEL].r2 > 0.3


def test_the_metadata_say_what_it_is_made_of(published: Path) -> None:
    metadata = artifact.read(published).metadata
    assert isinstance(metadata, RegressionMetadata)
    training, judged = split(diabetes.load(), 0.2, 0)
    assert metadata.signature.features == training.names
    assert metadata.signature.target == "progression"
    assert (metadata.training.observations, metadata.evaluation.rows) == (354, 88)
    assert metadata.training.data_fingerprint == training.fingerprint
    assert metadata.training.network == {
        "features": 10,
        "members": 8,
        "hidden": 16,
        "convention": "reset_after",
    }
    assert metadata.parity["cpu"].share <= 1
    assert judged.rows == 88


def test_the_published_model_earns_the_published_scores(published: Path) -> None:
    found = artifact.read(published)
    assert isinstance(found.metadata, RegressionMetadata)
    _, judged = split(diabetes.load(), 0.2, 0)
    answers = Runtime(found).run(judged.features.astype(np.float32))
    rmse = np.sqrt(((answers - judged.targets) ** 2).mean())
    assert rmse == pytest.approx(found.metadata.evaluation.scores[MODEL].rmse, rel=1e-5)


def test_the_report_shows_the_loss_and_the_predictions(published: Path) -> None:
    report = published / artifact.REPORT
    assert sorted(path.name for path in report.iterdir()) == ["loss.png", "prediction.png"]
    for path in report.iterdir():
        pixels = image.imread(path)
        assert pixels.shape == (540, 960, 4)
        assert len(np.unique(pixels[..., 0])) > 10
        assert b"Software" not in path.read_bytes()


def test_no_row_is_on_both_sides_and_none_is_lost() -> None:
    table = made_up(101)
    training, judged = split(table, 0.25, 3)
    assert (training.rows, judged.rows) == (76, 25)
    rows = np.concatenate([training.features, judged.features])
    np.testing.assert_array_equal(np.sort(rows, 0), np.sort(table.features, 0))
    assert len(np.unique(rows, axis=0)) == 101
    again, _ = split(table, 0.25, 3)
    other, _ = split(table, 0.25, 4)
    np.testing.assert_array_equal(again.features, training.features)
    assert not np.array_equal(other.features, training.features)


def test_a_part_whose_target_never_differs_is_refused() -> None:
    table = made_up(40)
    table.targets[:] = 0
    table.targets[0] = 1
    with pytest.raises(InvalidTable, match="made up: y is 0 in all 4 rows of a part of the table"):
        split(table, 0.1, 0)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.train, [str(word) for word in words])


def test_the_command_trains_a_table_and_says_how_good_it_is(tmp_path: Path) -> None:
    table = made_up(60)
    columns = dict(zip(table.names, table.features.T, strict=True))
    frame = pl.DataFrame({**columns, "y": table.targets, "note": "some text"})
    frame.write_csv(tmp_path / "curve.csv")
    models = tmp_path / "models"
    result = run(tmp_path / "curve.csv", "--target", "y", "--drop", "note", "--models", models)
    assert result.exit_code == 0, result.output
    assert "60 rows, 3 features, target y" in result.output
    for words in ("R2   RMSE", RIDGE, BOOSTING, "On 12 held-out rows, the GRU", "Parity holds"):
        assert words in result.output
    assert f"Published {models / 'curve/1'}" in result.output
    assert artifact.read(models / "curve/1").metadata.task == "regression"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "--target is needed for nowhere.csv: the column to predict"),
        (["nowhere.csv", "--target", "y"], "nowhere.csv: there is no such file"),
        (["diabetes", "--target", "age"], "diabetes knows its own columns"),
        (["diabetes", "--drop", "age"], "diabetes knows its own columns"),
        (["diabetes", "--data", "x.csv"], "--data is for housing only"),
        (["housing", "--data", "x.csv"], "x.csv: there is no such file"),
        (["diabetes", "--name", "../up"], "is not a model name"),
        (["diabetes", "--held-out", "0.9"], "is not in the range"),
    ],
)
def test_a_wrong_question_gets_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    result = run(*words, "--models", tmp_path)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())
