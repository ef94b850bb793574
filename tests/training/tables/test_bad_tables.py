"""Bad tables as a user meets them: one line from the command, with the place and the remedy."""

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from service.cli import main
from tests.conftest import ARTIFACTS

COVARIATES = ("--known", "price", "--static", "size", "--category", "region")


def run(*arguments: object) -> str:
    """What a refused command says, all of it on one line."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code != 0
    assert "Traceback" not in done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    return line


def item(name: str, steps: int = 40, freq: str = "4h") -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=steps, freq=freq)
    return pd.DataFrame({"item_id": name, "timestamp": times, "target": np.arange(steps) % 6 + 1.0})


def wide() -> pd.DataFrame:
    """Items a and b, 40 rows each."""
    table = pd.concat([item("a"), item("b")], ignore_index=True)
    return table.assign(
        price=np.arange(80.0), size=[1.0] * 40 + [2.0] * 40, region=["north"] * 40 + ["south"] * 40
    )


def with_cell(row: int, column: str, value: object) -> pd.DataFrame:
    table = wide().astype({column: object})
    table.loc[row - 1, column] = value
    return table


def october() -> pd.DataFrame:
    times = pd.date_range("2024-10-20", periods=300, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    return item("a", 300).assign(timestamp=times.tz_localize(None))


def written(table: pd.DataFrame, folder: Path, suffix: str) -> Path:
    path = folder / f"sales.{suffix}"
    if suffix == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    return path


TIMES = {
    "mixed": (
        pd.concat([item("a"), item("b", freq="6h")]),
        "item 'a' has freq 4h, item 'b' has freq",
    ),
    "irregular": (
        item("a").assign(
            timestamp=lambda t: t.timestamp.where(t.index != 9, datetime(2024, 1, 2, 13))
        ),
        "item 'a', row 10: 2024-01-02T13:00:00 does not follow .* correct it, resample",
    ),
    "repeated": (
        pd.concat([item("a"), item("a")[39:]]),
        "item 'a' has the timestamp 2024-01-07T12:00:00 in row 40 and row 41; keep one of them",
    ),
    "unsorted": (item("a")[::-1], "item 'a', row 2: .* is before .* of row 1; sort the rows"),
    "october": (october(), "item 'a' .* in row 169 and row 170; .* convert the timestamps to UTC"),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("table", "message"), TIMES.values(), ids=TIMES)
def test_times_that_are_not_regular_are_refused(
    table: pd.DataFrame, message: str, suffix: str, tmp_path: Path
) -> None:
    path = written(table, tmp_path, suffix)
    assert re.search(message, run("train", path, "--horizon", 3, "--models", tmp_path))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York"])
def test_times_of_a_zone_are_refused(suffix: str, zone: str, tmp_path: Path) -> None:
    table = item("a").assign(timestamp=lambda t: t.timestamp.dt.tz_localize(zone))
    message = run("train", written(table, tmp_path, suffix), "--horizon", 3, "--models", tmp_path)
    assert "timestamp" in message
    assert re.search("convert (it|the column) to UTC", message)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (51, "target", "-inf", "item 'b', row 51: target is -inf, expected a finite number"),
        (51, "target", "2024-01-09", "item 'b', row 51: target is '2024-01-09'.* it is a date"),
        (51, "price", "inf", "item 'b', row 51: price is inf, expected a finite number"),
        (51, "price", "cheap", "item 'b', row 51: price is 'cheap', expected a number"),
        (51, "size", "3.5", "item 'b', row 51: size is 3.5, but 2.0 in row 41"),
        (51, "region", "west", "item 'b', row 51: region is 'west', but 'south' in row 41"),
        (51, "timestamp", "soon", "item 'b', row 51: timestamp: 'soon' is not an ISO 8601"),
        (51, "item_id", None, "row 51: item_id is missing; fill it in"),
    ],
)
@pytest.mark.parametrize("command", ["train", "backtest"])
def test_a_bad_cell_is_named_by_item_row_and_column(
    command: str, row: int, column: str, value: str | None, message: str, tmp_path: Path
) -> None:
    path = written(with_cell(row, column, value), tmp_path, "csv")
    assert re.search(message, run(command, path, "--horizon", 3, *COVARIATES))


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (wide(), (), "column price, size, region has no role; name it with --past"),
        (wide().drop(columns="price"), COVARIATES, "column price, of --known, is missing"),
        (wide().assign(price=3.0), COVARIATES, "price is 3 in every row.* leave out --known price"),
        (wide().assign(region="x"), COVARIATES, "region is 'x' in every row"),
        (item("a", 1), (), "no item has 3 timestamps, so freq cannot be inferred; give --freq"),
        (item("a", 1), ("--freq", "4h"), "item 'a' has 1 steps?; a horizon of 3 needs at least 7"),
        (
            pd.concat([item("a"), item("b", 1)]),
            (),
            "item 'b' has 1 steps?.*1 of 2 items are too short: drop them or shorten --horizon",
        ),
        (item("a").assign(target=None), (), "item 'a' has no observed target at all; drop it"),
        (item("a").assign(target=lambda t: t.timestamp), (), "target is .* it is a date"),
    ],
)
def test_a_table_that_cannot_be_learnt_from_is_refused(
    table: pd.DataFrame, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    path = written(table, tmp_path, "parquet")
    said = run("train", path, "--horizon", 3, *arguments, "--models", tmp_path / "models")
    assert re.search(message, said), said
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TIMES["repeated"][0], "row 40 and row 41"),
        (item("a", freq="D"), "row 2: comes 6 steps of 4h after row 1.* resample the table"),
        (item("a", freq="h"), "is not a whole number of steps of 4h"),
        (item("a").assign(price=1.0), "column price was not there in training"),
        (
            item("a").assign(target=[1.0] + [None] * 39),
            "'a' has no observed target in its newest 24",
        ),
        (item("a").assign(target=1e37), "'a' has a target beyond 1e\\+36 in its newest 24"),
        (item("a").assign(target=1e300), "'a' has a target beyond 1e\\+36 in its newest 24"),
        (
            item("a").assign(
                timestamp=pd.date_range("2261-12-25", periods=40, freq="4h", unit="us")
            ),
            "item 'a': steps 40 to 45 of 4h after .* leave the years 1678 to 2261",
        ),
    ],
)
def test_a_table_that_cannot_be_forecast_is_refused_and_writes_nothing(
    table: pd.DataFrame, message: str, tmp_path: Path
) -> None:
    path, output = written(table, tmp_path, "csv"), tmp_path / "next.csv"
    output.write_text("before")
    said = run("forecast", "tiny", path, "--output", output, "--models", ARTIFACTS)
    assert re.search(message, said), said
    assert output.read_text() == "before"
    assert {entry.name for entry in tmp_path.iterdir()} == {"sales.csv", "next.csv"}


def test_columns_of_a_worked_example_are_none(tmp_path: Path) -> None:
    assert "airline has no columns beside the target" in run("train", "airline", "--past", "x")
