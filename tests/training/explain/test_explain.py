"""`gatecast explain` over a model of every task: its pictures, its figures and its refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from matplotlib import image

from service.contract import artifact
from service.contract.artifact import Artifact
from service.contract.forecast import ForecastMetadata
from tests.artifacts import edit, ledger
from tests.training.explain import models
from training.explain import series
from training.explain.cli import explain as command
from training.explain.explain import explain, question
from training.explain.gates import Gates, gates
from training.explain.graph import Layer
from training.explain.question import CannotExplain, Floats
from training.explain.trace import ask, trace
from training.gru import reference_gru

OVER_TIME = ["forced.png", "gates.png", "gradients.png", "memory.png"]
SENTENCE = "a bad cab faded"


@pytest.fixture
def tiny(artifacts: Path) -> Artifact:
    return artifact.read(artifacts / "tiny/1")


@pytest.fixture
def speaker(tmp_path: Path) -> Artifact:
    return artifact.read(models.write_speaker(tmp_path / "models"))


@pytest.fixture
def appraiser(tmp_path: Path) -> Artifact:
    return artifact.read(models.write_appraiser(tmp_path / "models"))


def table(folder: Path, steps: int = 40, value: Callable[[int], str] = str) -> str:
    """A series of four-hourly steps, as `tiny` wants them."""
    start = np.datetime64("2024-01-01T00:00")
    lines = [f"{start + np.timedelta64(4 * k, 'h')},{value(k % 6 + 10)}" for k in range(steps)]
    path = folder / "series.csv"
    path.write_text("\n".join(["timestamp,target", *lines]))
    return str(path)


def check(folder: Path, names: list[str]) -> None:
    """All pictures are whole, 960 x 540, not blank, and small enough for a document."""
    assert sorted(path.name for path in folder.iterdir()) == names
    for path in folder.iterdir():
        pixels = image.imread(path)
        assert pixels.shape[:2] == (540, 960)
        assert len(np.unique(pixels[..., 0])) > 10
        assert path.stat().st_size < 60_000


def test_a_forecaster_is_explained_by_its_last_golden_row(tiny: Artifact, tmp_path: Path) -> None:
    said: list[str] = []
    written = explain(tiny, None, tmp_path / "new/folder", said.append)
    check(tmp_path / "new/folder", OVER_TIME)
    assert sorted(path.name for path in written) == OVER_TIME
    assert said[0].startswith("GRU of 8 units, reset_after, over 24 steps")
    assert "mean of the median forecast, the last golden row:" in said
    assert sum(line.endswith("as trained") for line in said) == 1


def test_a_forecast_of_a_table_is_judged_by_its_last_horizon(
    tiny: Artifact, tmp_path: Path
) -> None:
    asked = question(tiny, table(tmp_path))
    assert asked.actual is not None
    np.testing.assert_array_equal(asked.actual, [14.0, 15.0, 10.0, 11.0, 12.0, 13.0])
    answers = ask(onnx.load_from_string(tiny.model), asked)
    median = answers[0]["quantiles"][0, :, 4].astype(np.float64)
    assert asked.judge(answers) == pytest.approx(np.abs(median - asked.actual).mean())
    assert asked.shown(answers)[-1] == 13.0  # the last one before the horizon
    explain(tiny, table(tmp_path), tmp_path / "out", lambda _: None)
    check(tmp_path / "out", OVER_TIME)


def test_missing_values_of_a_series_are_no_obstacle(tiny: Artifact, tmp_path: Path) -> None:
    source = table(tmp_path, value=lambda v: "" if v == 12 else str(v))
    asked = question(tiny, source)
    assert np.isfinite(asked.judge(ask(onnx.load_from_string(tiny.model), asked)))
    explain(tiny, source, tmp_path / "out", lambda _: None)
    check(tmp_path / "out", OVER_TIME)


def test_the_same_question_gives_the_same_bytes(tiny: Artifact, tmp_path: Path) -> None:
    for name in ("one", "two"):
        explain(tiny, None, tmp_path / name, lambda _: None)
    for name in OVER_TIME:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_padding_is_no_step_of_an_explanation(tiny: Artifact, tmp_path: Path) -> None:
    asked = question(tiny, table(tmp_path, 6 + 9))
    assert asked.runs[0]["context"].shape == (1, 12)
    _, (found,) = trace(onnx.load_from_string(tiny.model), asked)
    assert found.gates.z.shape == (9, 8)


def test_a_sentence_is_one_recurrence_over_all_layers(speaker: Artifact, tmp_path: Path) -> None:
    asked = question(speaker, SENTENCE)
    answers, traces = trace(onnx.load_from_string(speaker.model), asked)
    x = np.eye(7)[[" abcdef".index(c) for c in SENTENCE]]
    for one, before in zip(traces, (True, False), strict=True):
        weights = [one.layer.w_ih, one.layer.w_hh, one.layer.b_ih, one.layer.b_hh]
        states, _ = reference_gru(x[None], np.array([len(x)]), weights, one.layer.convention)
        np.testing.assert_allclose(one.gates.h, states[0], atol=1e-6)
        assert (one.layer.convention.linear_before_reset == 0) is before
        x = states[0]
    probabilities = np.exp([answer["logits"][0] for answer in answers])
    probabilities /= probabilities.sum(1, keepdims=True)
    of_next = [row[" abcdef".index(c)] for row, c in zip(probabilities, SENTENCE[1:], strict=False)]
    expected = np.exp(-np.log(of_next).mean())
    assert asked.judge(answers) == pytest.approx(expected, rel=1e-5)
    explain(speaker, SENTENCE, tmp_path / "out", lambda _: None)
    names = [f"{name}-{k}.png" for name in ("gates", "gradients", "memory") for k in (1, 2)]
    check(tmp_path / "out", ["forced.png", *names])


def test_a_long_sentence_is_drawn_without_its_letters(speaker: Artifact, tmp_path: Path) -> None:
    explain(speaker, "abc " * 60, tmp_path / "out", lambda _: None)
    assert (tmp_path / "out/gates-1.png").exists()


def test_a_regression_has_one_step_and_so_no_memory(appraiser: Artifact, tmp_path: Path) -> None:
    said: list[str] = []
    explain(appraiser, None, tmp_path / "out", said.append)
    check(tmp_path / "out", ["forced.png", "gates.png"])
    assert any("no memory" in line for line in said)
    assert "predicted price, the first golden row:" in said


def test_columns_of_a_row_are_taken_by_name_and_its_target_judges(
    appraiser: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("price,age,area,rooms\n3.5,2,0.5,-1\n9,9,9,9\n")
    asked = question(appraiser, str(path))
    np.testing.assert_array_equal(asked.runs[0]["features"], [[0.5, -1.0, 2.0]])
    answers = ask(onnx.load_from_string(appraiser.model), asked)
    assert asked.judge(answers) == pytest.approx(abs(float(answers[0]["prediction"][0]) - 3.5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("area,rooms,price\n1,2,3\n", "lacks the columns age"),
        ("area,rooms,age\n", "no row"),
        ("area,rooms,age\n1,many,3\n", "rooms of row 1 is 'many'"),
        ("area,rooms,age\n1,2,nan\n", "age of row 1 is 'nan'"),
        ("area,rooms,age\n1e99,2,3\n", "area of row 1 is '1e99'"),
        ("area,rooms,age,price\n1,2,3,dear\n", "price of row 1 is 'dear'"),
    ],
)
def test_a_row_that_cannot_be_asked_is_refused_by_its_column(
    appraiser: Artifact, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        question(appraiser, str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "came 0: --input"),
        ("a", "2 to 1000 characters, came 1"),
        ("ab" * 501, "came 1002"),
        ("abxa", "'x', character 3 of --input, is not in the model's vocabulary of 7"),
    ],
)
def test_a_sentence_that_cannot_be_asked_is_refused(
    speaker: Artifact, text: str | None, said: str
) -> None:
    with pytest.raises(CannotExplain, match=said):
        question(speaker, text)


@pytest.mark.parametrize("steps", [3, 6, 7])
def test_a_series_that_is_too_short_is_refused_with_its_length(
    tiny: Artifact, tmp_path: Path, steps: int
) -> None:
    with pytest.raises(CannotExplain, match=f"has {steps} steps.*give a longer series"):
        question(tiny, table(tmp_path, steps))


def test_a_series_without_known_values_to_compare_with_is_refused(
    tiny: Artifact, tmp_path: Path
) -> None:
    path = Path(table(tmp_path, 20))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-6] + [line.partition(",")[0] + "," for line in lines[-6:]]))
    with pytest.raises(CannotExplain, match="no observed target in its last 6 steps"):
        question(tiny, str(path))


def test_a_series_of_which_nothing_is_seen_is_refused(tiny: Artifact, tmp_path: Path) -> None:
    path = Path(table(tmp_path, 20))
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([lines[0], *(row.partition(",")[0] + "," for row in lines[1:15]), *lines[15:]])
    )
    with pytest.raises(CannotExplain, match="observed ones among them"):
        question(tiny, str(path))


def test_a_worked_example_of_another_frequency_is_refused(tiny: Artifact) -> None:
    with pytest.raises(CannotExplain, match="freq MS .* freq 4h"):
        question(tiny, "airline")


def test_the_patch_of_a_model_is_known_to_its_pictures_and_its_figures(
    tiny: Artifact, tmp_path: Path
) -> None:
    assert isinstance(tiny.metadata, ForecastMetadata)
    training = tiny.metadata.training.model_copy(update={"network": {"patch": 3}})
    metadata = tiny.metadata.model_copy(update={"training": training})
    assert series.question(tiny, metadata, None).patch == 3
    said: list[str] = []
    explain(replace(tiny, metadata=metadata), None, tmp_path / "out", said.append)
    assert "steps of 3 values each; states" in said[0]


def test_weights_that_do_not_give_the_states_explain_nothing(
    tiny: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(x: Floats, start: Floats, layer: Layer) -> Gates:
        found = gates(x, start, layer)
        return found._replace(h=found.h + 0.01)

    monkeypatch.setattr("training.explain.trace.gates", moved)
    with pytest.raises(CannotExplain, match="differ from the graph's by 0.01"):
        trace(onnx.load_from_string(tiny.model), question(tiny, None))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_command_says_where_the_pictures_are(artifacts: Path, tmp_path: Path) -> None:
    found = run("tiny@1", "--models", artifacts, "--output", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert found.output.endswith(f"Pictures: {tmp_path / 'out'}\n")
    check(tmp_path / "out", OVER_TIME)


def test_models_that_are_not_there_are_refused_with_those_that_are(artifacts: Path) -> None:
    assert "no model 'nobody'" in run("nobody", "--models", artifacts).output
    assert "there: tiny" in run("nobody", "--models", artifacts).output
    assert "versions [1], not '7'" in run("tiny@7", "--models", artifacts).output
    assert "there: none" in run("tiny", "--models", artifacts / "nowhere").output


def test_a_model_without_a_gru_is_refused_in_one_line(tmp_path: Path) -> None:
    ledger.write(tmp_path)
    found = run("ledger", "--models", tmp_path, "--output", tmp_path / "out")
    assert found.exit_code == 1
    assert "no GRU node" in found.output
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (edit.copy(tmp_path) / "model.onnx").write_bytes(b"other")
    found = run("tiny", "--models", tmp_path)
    assert found.exit_code == 1
    assert "the file is damaged or was replaced" in found.output


def test_a_folder_that_cannot_be_written_is_refused_by_name(
    artifacts: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    found = run("tiny", "--models", artifacts, "--output", tmp_path / "file/out")
    assert found.exit_code == 1
    assert f"--output {tmp_path / 'file/out'}" in found.output


def test_a_table_that_is_not_there_is_refused(artifacts: Path, tmp_path: Path) -> None:
    found = run("tiny", "--models", artifacts, "--input", tmp_path / "none.csv")
    assert found.exit_code == 1
    assert "no such file" in found.output
