"""The rolling backtest: every window forecast once, from its own past alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from service.cli import main
from service.contract.frequency import Frequency
from training import baselines, evaluate
from training.config import FitConfig, NetworkConfig
from training.data import Panel, Series
from training.origins import Origins
from training.rolling import frame, rolling

ORIGINS = Origins(horizon=3, windows=4, step=2)
NETWORK = NetworkConfig("6h", horizon=3, seasonality=4, context_length=12, hidden=6)
FIT = FitConfig(steps=20, batch_size=8, check_every=10)


def panel(steps: int = 40) -> Panel:
    random = np.random.default_rng(0)
    series = tuple(
        Series(
            f"i{n}",
            np.datetime64("2024-01-01", "us"),
            20 + 5 * np.sin(np.arange(steps) * np.pi / 2) + random.normal(size=steps),
        )
        for n in range(3)
    )
    return Panel(series, Frequency.parse("6h"))


def forecasts(data: Panel) -> pl.DataFrame:
    judged, _ = rolling(data, ORIGINS, 4, NETWORK, FIT)
    return frame(data, judged)


def test_every_window_of_every_item_is_forecast_with_its_own_timestamps() -> None:
    made = forecasts(panel())
    assert made.columns == ["item_id", "cutoff", "timestamp", *(f"0.{k}" for k in range(1, 10))]
    assert made.height == 3 * 4 * 3
    cutoffs = made.filter(pl.col("item_id") == "i0")["cutoff"].unique().sort().to_numpy()
    start, step = np.datetime64("2024-01-01", "us"), np.timedelta64(6, "h")
    np.testing.assert_array_equal(cutoffs, start + step * (np.array([31, 33, 35, 37]) - 1))
    ahead = (made["timestamp"] - made["cutoff"]).to_numpy() / step
    np.testing.assert_array_equal(ahead, np.tile([1, 2, 3], 12))


def test_a_window_does_not_depend_on_what_comes_after_its_cutoff() -> None:
    data = panel()
    first = pl.col("cutoff") == pl.col("cutoff").min()
    expected = forecasts(data).filter(first)
    changed = [np.concatenate([s.target[:31], np.full(9, 1e6)]) for s in data.series]
    series = tuple(replace(s, target=t) for s, t in zip(data.series, changed, strict=True))
    assert forecasts(Panel(series, data.frequency)).filter(first).equals(expected)


def test_the_scores_are_those_of_the_windows_together() -> None:
    data = panel()
    judged, _ = rolling(data, ORIGINS, 4, NETWORK, FIT)
    errors = np.array([evaluate.seasonal_error(history, 4) for history in judged.histories])
    median = frame(data, judged)["0.5"].to_numpy().reshape(12, 3)
    actual = np.array([s.target[at : at + 3] for s in data.series for at in (31, 33, 35, 37)])
    expected = (np.abs(median - actual) / errors[:, None]).mean()
    assert judged.scores["GRU"].mase == pytest.approx(expected, rel=1e-5)


def test_a_baseline_without_time_is_left_out_and_said_to_be() -> None:
    judged, _ = rolling(panel(), ORIGINS, 4, NETWORK, FIT, baseline_limit_s=-1)
    assert list(judged.scores) == ["GRU", "SeasonalNaive"]
    assert judged.best_baseline == "SeasonalNaive"
    assert "left out, not finished in the time allowed: AutoETS, AutoTheta" in judged.table()
    assert baselines.NAMES == ("SeasonalNaive", "AutoETS", "AutoTheta")


def test_the_command_writes_the_forecasts_the_pictures_and_the_verdict(tmp_path: Path) -> None:
    data = panel()
    stamps = [data.frequency.timestamps(s.start, 0, len(s.target)) for s in data.series]
    pl.DataFrame(
        {
            "item_id": np.repeat([s.item_id for s in data.series], 40),
            "timestamp": np.concatenate(stamps),
            "target": np.concatenate([s.target for s in data.series]),
        }
    ).write_parquet(tmp_path / "in.parquet")
    arguments = ["backtest", str(tmp_path / "in.parquet"), "--horizon", "3", "--windows", "2"]
    arguments += ["--budget", "1s", "--output", str(tmp_path / "out.parquet")]
    done = CliRunner().invoke(main, [*arguments, "--report", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    assert "best baseline" in done.output
    assert pl.read_parquet(tmp_path / "out.parquet").height == 3 * 2 * 3
    assert (tmp_path / "report/forecast.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--budget", "soon"], "write 90s, 10m or 1h"),
        (["--budget", "0s"], "write 90s, 10m or 1h"),
        (["--windows", "0"], "windows"),
        (["--windows", "20"], "needs at least"),
        (["--output", "x.txt"], ".csv or .parquet"),
    ],
)
def test_what_cannot_be_backtested_is_said_in_a_line(flags: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["backtest", "airline", *flags])
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output
