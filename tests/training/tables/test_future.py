"""Tables to forecast: the roles of a model, and the steps that it is asked about."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.contract.forecast import Category, Covariates, ForecastSignature
from tests.training.tables.test_features import shops, with_cell
from training.data import InvalidTable, load_for

COVARIATES = Covariates(
    past=("visits",),
    known=("price", "promo"),
    static=("size",),
    categories=(Category(name="region", values=("east", "north")),),
)
AHEAD = shops(steps=8).with_columns(
    target=pl.when(pl.int_range(pl.len()).over("item_id") < 5).then("target"),
    visits=pl.when(pl.int_range(pl.len()).over("item_id") < 5).then("visits"),
)


def signature(covariates: Covariates = COVARIATES, freq: str = "D") -> ForecastSignature:
    return ForecastSignature(
        freq=freq,
        seasonality=1,
        context_length=4,
        minimum_context=1,
        horizon=3,
        quantile_levels=(0.5,),
        covariates=covariates,
    )


Write = Callable[[pl.DataFrame], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a table to a file."""

    def to_file(frame: pl.DataFrame) -> Path:
        frame.write_parquet(tmp_path / "next.parquet")
        return tmp_path / "next.parquet"

    return to_file


def refusal(path: Path, asked: ForecastSignature) -> str:
    with pytest.raises(InvalidTable) as caught:
        load_for(path, asked)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_the_last_steps_of_every_item_are_the_horizon(write: Write) -> None:
    panel = load_for(write(AHEAD), signature())
    assert panel.covariates == COVARIATES
    for item, series in enumerate(panel.series):
        np.testing.assert_array_equal(series.target, 100.0 * item + np.arange(5))
        np.testing.assert_array_equal(series.past[:, 0], 1000.0 * item + np.arange(5))
        np.testing.assert_array_equal(series.known[:, 0], 0.5 * item + np.arange(8))
        assert series.static.tolist() == [10.0 * item]
    codes = [panel.covariates.codes(series.categories) for series in panel.series]
    assert codes == [(2,), (0,), (0,)]  # north, south which is unknown to the model, missing


def test_one_item_and_columns_that_never_change_can_be_forecast(write: Write) -> None:
    frame = AHEAD.filter(item_id="shop-1").with_columns(price=1.0, promo=True)
    assert len(load_for(write(frame), signature()).series) == 1


def test_without_known_covariates_every_row_is_history(write: Write) -> None:
    frame = AHEAD.select("item_id", "timestamp", "target", "size")
    panel = load_for(write(frame), signature(Covariates(static=("size",))))
    assert [len(series.target) for series in panel.series] == [8, 8, 8]
    assert np.isnan(panel.series[0].target[5:]).all()


def test_a_target_in_the_horizon_names_its_row_and_what_to_append(write: Write) -> None:
    message = refusal(write(shops(steps=8)), signature())
    assert "item 'shop-0', row 6: target is 5 in the last 3 steps of the item" in message
    assert "append 3 rows with price, promo and an empty target" in message


@pytest.mark.parametrize("column", ["price", "promo"])
def test_a_known_covariate_missing_over_the_horizon_names_its_row(
    write: Write, column: str
) -> None:
    message = refusal(write(with_cell(AHEAD, 15, column, None)), signature())
    assert f"item 'shop-1', row 15: {column} is missing at 2024-03-07T00:00:00" in message
    assert f"{column} must be known over the horizon, the last 3 steps: fill it in" in message


def test_a_known_covariate_missing_before_the_horizon_is_missing(write: Write) -> None:
    panel = load_for(write(with_cell(AHEAD, 12, "price", None)), signature())
    assert np.isnan(panel.series[1].known[:, 0]).tolist() == [False] * 3 + [True] + [False] * 4


def test_a_row_missing_in_the_horizon_is_named_by_its_time(write: Write) -> None:
    frame = AHEAD.with_row_index().filter(pl.col("index") != 14).drop("index")
    message = refusal(write(frame), signature())
    assert "item 'shop-1' has no row for 2024-03-07T00:00:00; price must be known" in message


def test_an_item_without_history_is_named(write: Write) -> None:
    frame = AHEAD.with_row_index().filter(~pl.col("index").is_between(8, 12)).drop("index")
    frame = with_cell(frame, 9, "target", 1.0)
    message = refusal(write(frame), signature())
    assert "item 'shop-1' has 3 steps; the last 3 of every item are its horizon" in message
    assert "add the history" in message


def test_a_column_that_the_model_wants_or_does_not_know_is_named(write: Write) -> None:
    message = refusal(write(AHEAD.drop("promo")), signature())
    assert "column promo, which the model was trained with as --known, is missing" in message
    message = refusal(write(AHEAD.with_columns(colour=pl.lit("red"))), signature())
    assert "column colour was not there in training" in message


def test_a_static_feature_that_changes_is_refused_here_too(write: Write) -> None:
    message = refusal(write(with_cell(AHEAD, 12, "size", 4.0)), signature())
    assert "item 'shop-1', row 12: size is 4.0, but 10.0 in row 9" in message
    assert "--past" not in message


def test_a_table_of_a_coarser_frequency_is_refused(write: Write) -> None:
    plain = shops(steps=8).select("item_id", "timestamp", "target")
    message = refusal(write(plain), signature(Covariates(), "h"))
    assert (
        "item 'shop-0', row 2: comes 24 steps of h after row 1, and no two rows are nearer"
        in message
    )
    assert "resample the table or use another model" in message
    assert len(load_for(write(plain), signature(Covariates())).series) == 3


def test_a_table_of_single_rows_or_pairs_has_no_frequency_to_disagree(write: Write) -> None:
    plain = shops(steps=2).select("item_id", "timestamp", "target")
    panel = load_for(write(plain[::2]), signature(Covariates(), "h"))
    assert [len(series.target) for series in panel.series] == [1, 1, 1]
    panel = load_for(write(plain), signature(Covariates(), "h"))  # or two, with a gap between
    assert [len(series.target) for series in panel.series] == [25, 25, 25]


def test_a_table_of_another_grid_is_refused(write: Write) -> None:
    plain = shops(steps=8).select("item_id", "timestamp", "target")
    assert "row 2: 2024-03-02T00:00:00 " in refusal(write(plain), signature(Covariates(), "W"))
