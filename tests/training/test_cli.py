"""The training commands as a user types them: what they write, and how they refuse."""

import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.contract.forecast import Category, Covariates
from tests.artifacts import edit
from tests.conftest import ARTIFACTS
from tests.end_to_end.server import client, serving
from training import forecast, output


def gatecast(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def table(folder: Path, name: str = "sales.csv", items: int = 2, steps: int = 40) -> Path:
    """A small daily table with a gap, written to a file."""
    random = np.random.default_rng(0)
    rows = [
        {
            "item_id": f"shop-{item}",
            "timestamp": (datetime(2024, 1, 1) + timedelta(days=step)).date().isoformat(),
            "target": 10 * item + step % 7 + float(random.normal()),
        }
        for item in range(items)
        for step in range(steps)
        if step != 11
    ]
    frame = pl.DataFrame(rows)
    path = folder / name
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.with_columns(pl.col("timestamp").str.to_date()).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A models folder with one model, trained from a CSV by the command, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = gatecast("train", table(folder), "--horizon", 3, "--models", folder / "models")
    assert done.exit_code == 0, done.output
    return folder / "models", done.output


def test_training_prints_the_backtest_the_verdict_and_the_parity(
    trained: tuple[Path, str],
) -> None:
    models, output = trained
    for word in ("SeasonalNaive", "AutoETS", "AutoTheta", "MASE", "sMAPE", "WQL", "Parity holds"):
        assert word in output
    assert "best baseline" in output
    assert f"Published {models / 'sales' / '1'}" in output


def test_a_version_holds_the_model_its_metadata_golden_answers_and_pictures(
    trained: tuple[Path, str],
) -> None:
    folder = trained[0] / "sales/1"
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx",
        "metadata.json",
        "golden.npz",
        "report",
    }
    assert {path.name for path in (folder / "report").iterdir()} == {
        "loss.png",
        "forecast.png",
        "calibration.png",
        "horizon.png",
        "worst.png",
    }
    metadata = edit.forecaster(folder)
    assert metadata.task == "forecast"
    assert metadata.signature.freq == "D"
    assert metadata.training.observations == 2 * 39
    assert metadata.parity["cpu"].rows >= 200
    assert metadata.parity["cpu"].share <= 1
    assert set(metadata.evaluation.scores) == {"GRU", "SeasonalNaive", "AutoETS", "AutoTheta"}
    assert str(trained[0]) not in (folder / "metadata.json").read_text()


def test_a_version_says_what_training_saw_of_the_targets(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    seen = edit.forecaster(trained[0] / "sales/1").training.seen
    frame = pl.read_csv(table(tmp_path), try_parse_dates=True).sort("item_id", "timestamp")
    scales, before = [], []
    for (_,), shop in frame.group_by("item_id"):
        regular = shop.upsample("timestamp", every="1d").slice(0, 37)  # not the last horizon
        before.append(regular["target"])
        scales.append(regular["target"].diff(7).abs().mean())
    assert seen is not None
    values = pl.concat(before)
    assert (seen.low, seen.high) == (values.min(), values.max())
    assert seen.log_scale == pytest.approx(np.log(np.array(scales, float)).mean(), rel=1e-12)


def test_the_same_data_from_parquet_gives_the_same_model_though_killed_in_the_middle(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    models, path = tmp_path / "models", table(tmp_path, "sales.parquet")
    command = ["train", str(path), "--horizon", "3", "--freq", "D", "--models", str(models)]
    program = str(Path(sys.executable).with_name("gatecast"))
    running = subprocess.Popen([program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stderr is not None
    seen = b""
    while not (models / ".checkpoints/sales.pt").exists():
        seen += (piece := running.stderr.read(64))  # progress: it blocks until there is more
        assert piece, seen.decode()
    running.kill()
    running.communicate()
    assert not (models / "sales").exists()
    done = gatecast(*command, "--resume")
    assert done.exit_code == 0, done.output
    one = (trained[0] / "sales/1/model.onnx").read_bytes()
    assert (models / "sales/1/model.onnx").read_bytes() == one
    assert not list((models / ".checkpoints").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such.csv", "--horizon", "3"], "no-such.csv.*no such file"),
        (["{table}"], "--horizon is needed"),
        (["{table}", "--horizon", "0"], "horizon.*0"),
        (["{table}", "--horizon", "30"], "item 'shop-0' has 40 steps.*at least 61.*shorten"),
        (["{table}", "--horizon", "3", "--freq", "moon"], "moon"),
        (["{table}", "--horizon", "3", "--freq", "MS"], "MS|month"),
        (["{table}", "--horizon", "3", "--name", "../up"], "not a model name"),
        (["{table}", "--horizon", "3", "--name", "sales\n"], "not a model name"),
        (["{table}", "--horizon", "3", "--seed", "-1"], "seed"),
        (["{table}", "--horizon", "3", "--resume"], "nothing to resume"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_line_and_nothing_is_published(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    path = str(table(tmp_path))
    given = [argument.replace("{table}", path) for argument in arguments]
    done = gatecast("train", *given, "--models", tmp_path / "models")
    assert done.exit_code != 0
    assert "Traceback" not in done.output
    assert re.search(message, done.output), done.output
    assert not list((tmp_path / "models").glob("*/*"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_offline_forecasts_are_those_of_the_service(
    suffix: str, http: httpx.Client, tmp_path: Path
) -> None:
    start = datetime(2024, 3, 1)
    targets = {f"i{n}": [float((n + 1) * (k % 5)) for k in range(4 + n)] for n in range(30)}
    frame = pl.DataFrame(
        [
            {"item_id": item, "timestamp": start + timedelta(hours=4 * k), "target": value}
            for item, target in targets.items()
            for k, value in enumerate(target)
        ]
    )
    path, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    done = gatecast("forecast", "tiny@1", path, "--output", output, "--models", ARTIFACTS)
    assert done.exit_code == 0, done.output
    got = pl.read_csv(output) if suffix == "csv" else pl.read_parquet(output)
    series = [
        {"item_id": item, "start": start.isoformat(), "target": target}
        for item, target in targets.items()
    ]
    answer = http.post("/v1/forecast", json={"model": "tiny", "series": series}).json()
    assert got.columns == ["item_id", "timestamp", *(f"0.{k}" for k in range(1, 10))]
    for one in answer["series"]:
        mine = got.filter(pl.col("item_id") == one["item_id"])
        for level, values in one["quantiles"].items():
            np.testing.assert_array_equal(
                mine[level].to_numpy().astype(np.float32), np.array(values, np.float32)
            )
        stamps = [str(stamp).replace(" ", "T")[:19] for stamp in mine["timestamp"].to_list()]
        assert stamps == one["timestamps"]


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A models folder with a model that wants covariates of every kind, and the table it is of.

    The last 3 days of each shop have promotions and no target.
    """
    folder = tmp_path_factory.mktemp("promoted")
    random = np.random.default_rng(0)
    steps = np.arange(40)
    shops = []
    for shop in range(6):
        promo = random.random(40) < 0.3
        target = 10 + shop + steps % 7 + 5 * promo + random.normal(scale=0.3, size=40)
        columns = {
            "item_id": f"shop-{shop}",
            "timestamp": [datetime(2024, 1, 1) + timedelta(days=int(step)) for step in steps],
            "target": [float(y) if step < 37 else None for step, y in enumerate(target)],
            "promo": promo,
            "visits": random.normal(size=40),
            "size": 1.5 * shop,
            "region": ["north", "south", None][shop % 3],
        }
        shops.append(pl.DataFrame(columns))
    path = folder / "shops.parquet"
    pl.concat(shops).write_parquet(path)
    roles = ("--known", "promo", "--past", "visits", "--static", "size", "--category", "region")
    options = ("--horizon", 3, "--budget", "2s", "--models", folder / "models")
    done = gatecast("train", path, *roles, *options)
    assert done.exit_code == 0, done.output
    return folder / "models", path


def test_a_model_of_covariates_declares_them_and_learns_from_the_past_alone(
    promoted: tuple[Path, Path],
) -> None:
    metadata = edit.forecaster(promoted[0] / "shops/1")
    assert metadata.signature.covariates == Covariates(
        past=("visits",),
        known=("promo",),
        static=("size",),
        categories=(Category(name="region", values=("north", "south")),),
    )
    assert metadata.training.observations == 6 * 37


def test_offline_forecasts_with_covariates_are_those_of_the_service(
    promoted: tuple[Path, Path], tmp_path: Path
) -> None:
    models, path = promoted
    done = gatecast("forecast", "shops", path, "--output", tmp_path / "o.csv", "--models", models)
    assert done.exit_code == 0, done.output
    got = pl.read_csv(tmp_path / "o.csv", try_parse_dates=True)
    series = [
        {
            "item_id": shop["item_id"][0],
            "start": "2024-01-01",
            "target": shop["target"][:37].to_list(),
            "known_covariates": {"promo": shop["promo"].cast(float).to_list()},
            "past_covariates": {"visits": shop["visits"][:37].to_list()},
            "static_features": {"size": shop["size"][0], "region": shop["region"][0]},
        }
        for shop in pl.read_parquet(path).partition_by("item_id", maintain_order=True)
    ]
    with serving(models) as server, client(server) as http:
        answered = http.post("/v1/forecast", json={"model": "shops", "series": series})
    assert answered.status_code == 200, answered.text
    for one in answered.json()["series"]:
        mine = got.filter(item_id=one["item_id"])
        for level, values in one["quantiles"].items():
            found = mine[level].to_numpy().astype(np.float32)
            np.testing.assert_array_equal(found, np.array(values, np.float32))
        stamps = mine["timestamp"].dt.to_string("%Y-%m-%dT%H:%M:%S").to_list()
        assert stamps == one["timestamps"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("target", "item 'shop-0', row 38: target is 1 in the last 3 steps.* append 3 rows with"),
        ("promo", "item 'shop-0', row 38: promo is missing at 2024-02-07T00:00:00; promo must be"),
    ],
)
def test_a_horizon_that_is_not_as_the_model_wants_it_is_refused(
    promoted: tuple[Path, Path], column: str, message: str, tmp_path: Path
) -> None:
    models, path = promoted
    frame = pl.read_parquet(path)
    value = 1.0 if column == "target" else None
    cell = pl.when(pl.int_range(pl.len()) == 37).then(value).otherwise(column)
    frame.with_columns(cell.alias(column)).write_parquet(tmp_path / "x.parquet")
    path = tmp_path / "x.parquet"
    done = gatecast("forecast", "shops", path, "--output", tmp_path / "o.csv", "--models", models)
    assert done.exit_code != 0
    assert re.search(message, done.output), done.output
    assert not (tmp_path / "o.csv").exists()


def test_a_folder_is_forecast_in_chunks_with_its_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks and pieces of a few series, the answers are those of one piece."""
    frame = pl.concat(
        pl.DataFrame(
            {
                "item_id": f"i{n}",
                "timestamp": [datetime(2024, 1, 1) + timedelta(hours=4 * k) for k in range(5 + n)],
                "target": [float((n + 1) * (k % 6)) for k in range(5 + n)],
            }
        )
        for n in range(50)
    )
    frame.write_parquet(tmp_path / "all.parquet")
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(0, len(frame), 400):
        frame[part : part + 400].write_parquet(folder / f"{part:05}.parquet")
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    done = gatecast(
        "forecast", "tiny", tmp_path / "all.parquet", "--output", whole, "--models", ARTIFACTS
    )
    assert re.search(r"50 series, 300 rows in .* s, \d+ series/s: .*whole\.parquet", done.output)
    monkeypatch.setattr(forecast, "CHUNK", 7)
    monkeypatch.setattr(output, "ROWS", 60)
    done = gatecast("forecast", "tiny", folder, "--output", parts, "--models", ARTIFACTS)
    assert done.exit_code == 0, done.output
    assert "50/50" in done.output
    assert pl.read_parquet(parts).equals(pl.read_parquet(whole))
    assert pl.read_parquet(whole)["item_id"].to_list() == [
        f"i{n}" for n in range(50) for _ in range(6)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope", "{table}", "--output", "o.csv"], "no model 'nope'.*tiny"),
        (["tiny@4", "{table}", "--output", "o.csv"], "versions.*1.*not '4'"),
        (["tiny", "{table}", "--output", "o.xlsx"], ".csv or .parquet"),
        (["tiny", "absent.csv", "--output", "o.csv"], "absent.csv"),
        (["tiny", "{table}", "--output", "{folder}/no/o.csv"], "no/o.csv|No such file"),
    ],
)
def test_what_cannot_be_forecast_is_said_in_a_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    path = str(table(tmp_path))
    given = [a.replace("{table}", path).replace("{folder}", str(tmp_path)) for a in arguments]
    done = gatecast("forecast", *given, "--models", ARTIFACTS)
    assert done.exit_code != 0
    assert re.search(message, done.output, re.DOTALL), done.output
    assert "Traceback" not in done.output
