"""What the options of a training change, through the command line."""

from pathlib import Path

import polars as pl
import torch

from tests.training.test_cli import gatecast, table


def test_a_level_that_is_asked_for_is_forecast_beside_the_usual_ones(tmp_path: Path) -> None:
    output = tmp_path / "forecasts.parquet"
    done = gatecast(
        "backtest", table(tmp_path), "--horizon", 3, "--budget", "1s", "--level", 0.975,
        "--output", output,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    frame = pl.read_parquet(output)
    assert frame.columns[-2:] == ["0.9", "0.975"]
    assert (frame["0.975"] >= frame["0.9"]).all()


def test_a_level_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    done = gatecast("train", table(tmp_path), "--horizon", 3, "--level", 1)
    assert done.exit_code == 2
    assert "--level" in done.output
    assert "0<x<1" in done.output


def test_a_device_that_is_not_there_is_refused_before_anything_is_published(
    tmp_path: Path,
) -> None:
    missing = torch.cuda.device_count() + 1
    done = gatecast(
        "train", table(tmp_path), "--horizon", 3, "--device", "cuda", "--devices", missing,
        "--models", tmp_path / "models",
    )  # fmt: skip
    assert done.exit_code == 1
    assert f"{missing} CUDA devices were asked for" in done.output
    assert "--device cpu" in done.output
    assert not list(tmp_path.glob("models/sales/[0-9]*"))


def test_a_role_for_a_column_that_says_nothing_is_refused(tmp_path: Path) -> None:
    frame = pl.read_csv(table(tmp_path), try_parse_dates=True)
    steps = pl.int_range(pl.len()).over("item_id")
    frame = frame.with_columns(
        price=(steps % 5).cast(pl.Float64), region=pl.col("item_id").str.head(4)
    )
    path = tmp_path / "covered.parquet"
    frame.write_parquet(path)
    done = gatecast("train", path, "--horizon", 3, "--known", "price", "--category", "region")
    assert done.exit_code == 1
    assert "column region is 'shop' in every row" in done.output
    assert "--category region" in done.output
