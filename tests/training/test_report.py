"""The pictures exist, have their size, hold nothing that changes, and survive odd series."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from service.contract.frequency import Frequency
from training import report
from training.data import Panel, Series
from training.evaluate import Backtest, backtest
from training.fit import LossCurve
from training.histories import Cutoff
from training.origins import Origins

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WIDE = (0.025, *LEVELS, 0.975)
NAMES = ["calibration.png", "forecast.png", "horizon.png", "loss.png", "worst.png"]
CURVE = LossCurve((50, 100, 150), (0.9, 0.5, 0.4), (0.8, 0.55, 0.6), 100)
NAN = float("nan")


def run(count: int = 1, horizon: int = 4, levels: Sequence[float] = LEVELS) -> Backtest:
    """A backtest of `count` noisy waves."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2020-01-01", "us")
    wave = 10 + 3 * np.sin(np.arange(40) * np.pi / 2)
    series = (Series(f"item {k}", start, wave + rng.normal(size=40)) for k in range(count))

    def fan(cutoffs: Sequence[Cutoff]) -> NDArray[np.float64]:
        middle = np.stack([series.target[at - horizon : at] for series, at in cutoffs])
        return middle[..., None] + 4 * (np.array(levels) - 0.5)

    return backtest(Panel(tuple(series), Frequency.parse("D")), Origins(horizon), 4, levels, fan)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check(folder: Path) -> None:
    """All pictures are whole, 960 x 540, and not blank."""
    assert names(folder) == NAMES
    for path in folder.iterdir():
        pixels = image.imread(path)
        assert pixels.shape == (540, 960, 4)
        assert len(np.unique(pixels[..., 0])) > 10


def chunks(data: bytes) -> list[str]:
    """Names of the chunks of a PNG."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append(data[at + 4 : at + 8].decode())
        at += length + 12
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an ordinary training's pictures."""
    folder = tmp_path_factory.mktemp("plain") / "new" / "report"
    report.write(folder, CURVE, run())
    return folder


def test_a_training_of_one_series_makes_all_pictures(plain: Path) -> None:
    check(plain)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_any_number_of_series_makes_all_pictures(tmp_path: Path, count: int) -> None:
    report.write(tmp_path, CURVE, run(count))
    check(tmp_path)


def test_gaps_in_histories_and_actuals_are_drawn_around(tmp_path: Path) -> None:
    found = run(3)
    for series, gap in enumerate([slice(-6, None), slice(5, 30), slice(None)]):
        found.histories[series][gap] = NAN
    found.actual[1, 2] = found.actual[2] = NAN
    report.write(tmp_path, CURVE, found)
    check(tmp_path)


def test_series_that_never_change_have_no_worst(tmp_path: Path) -> None:
    report.write(tmp_path, CURVE, replace(run(2), seasonal_errors=np.zeros(2)))
    assert names(tmp_path) == NAMES


def test_nothing_observed_at_all_leaves_pictures_without_errors(tmp_path: Path) -> None:
    found = run(1)
    report.write(tmp_path, CURVE, replace(found, actual=np.full_like(found.actual, NAN)))
    check(tmp_path)


@pytest.mark.parametrize(
    "curve",
    [
        LossCurve((50, 100), (0.9, 0.5), (), 100),
        LossCurve((10,), (0.9,), (), 10),
        LossCurve((10,), (0.9,), (0.8,), 10),
    ],
)
def test_a_short_curve_or_one_without_validation_is_drawn(tmp_path: Path, curve: LossCurve) -> None:
    report.write(tmp_path, curve, run())
    check(tmp_path)


@pytest.mark.parametrize("levels", [LEVELS, WIDE, (0.05, 0.5, 0.95), (0.5,)])
def test_a_horizon_of_one_step_and_few_levels_are_drawn(
    tmp_path: Path, levels: tuple[float, ...]
) -> None:
    report.write(tmp_path, CURVE, run(2, 1, levels))
    check(tmp_path)


@pytest.mark.parametrize(
    "item_ids",
    [("long " * 100,), ("", "$x_1", r"\frac{", "売上", "two\nlines", "long " * 100)],
    ids=["alone", "of several"],
)
def test_any_item_id_can_be_a_title(tmp_path: Path, item_ids: tuple[str, ...]) -> None:
    assert len(item_ids) <= report.MOST  # each is drawn
    report.write(tmp_path, CURVE, replace(run(len(item_ids)), item_ids=item_ids))
    check(tmp_path)


def test_extra_levels_make_a_wider_fan(tmp_path: Path) -> None:
    assert report._bands(LEVELS) == [(0, 8), (2, 6)]
    assert report._bands(WIDE) == [(0, 10), (1, 9), (3, 7)]
    assert report._bands((0.05, 0.5, 0.95)) == [(0, 2)]
    report.write(tmp_path, CURVE, run(3, levels=WIDE))
    check(tmp_path)


def test_no_picture_has_a_line_for_each_of_many_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def count(figure: Figure, palette: Any) -> None:
        drawn.append(sum(len(axes.lines) for axes in figure.axes))
        draw(figure, palette)

    found = run(1)
    many = 5_000
    wide = replace(
        found,
        item_ids=tuple(map(str, range(many))),
        cutoffs=found.cutoffs * many,
        histories=found.histories * many,
        actual=found.actual.repeat(many, 0),
        seasonal_errors=found.seasonal_errors.repeat(many),
        forecasts={name: made.repeat(many, 0) for name, made in found.forecasts.items()},
    )
    draw = Figure.draw
    monkeypatch.setattr(Figure, "draw", count)
    report.write(tmp_path, CURVE, wide)
    assert len(drawn) >= len(NAMES)
    assert max(drawn) <= 30


def test_pictures_hold_neither_dates_nor_versions(plain: Path) -> None:
    for path in plain.iterdir():
        assert set(chunks(path.read_bytes())) == {"IHDR", "PLTE", "IDAT", "IEND"}


def test_the_same_training_gives_the_same_bytes_whatever_ones_own_settings(
    plain: Path, tmp_path: Path
) -> None:
    with mpl.rc_context({"figure.facecolor": "black", "savefig.dpi": 30, "font.size": 20}):
        before = dict(mpl.rcParams)
        report.write(tmp_path, CURVE, run())
        assert dict(mpl.rcParams) == before
    for name in NAMES:
        assert (plain / name).read_bytes() == (tmp_path / name).read_bytes()


def better(found: Backtest) -> Backtest:
    return replace(found, forecasts=found.forecasts | {"GRU": found.forecasts["GRU"] + 5})


def later(found: Backtest) -> Backtest:
    return replace(found, actual=found.actual + 5)


@pytest.mark.parametrize("change", [better, later])
def test_another_outcome_makes_another_picture(
    plain: Path, tmp_path: Path, change: Callable[[Backtest], Backtest]
) -> None:
    report.write(tmp_path, replace(CURVE, best_step=150), change(run()))
    for name in NAMES:
        assert (plain / name).read_bytes() != (tmp_path / name).read_bytes()
