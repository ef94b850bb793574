"""A table becomes numbers, or the error says which cell of which row is wrong and what to do."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from training.regression.table import Table, from_frame, load
from training.tables.source import InvalidTable


def frame(rows: int = 50) -> pl.DataFrame:
    """Two features, an index of rows, and a target."""
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "size": random.normal(80, 20, rows),
            "rooms": random.integers(1, 6, rows),
            "at": np.arange(rows),
            "price": random.normal(300, 50, rows),
        }
    )


def refused(table: pl.DataFrame | str, tmp_path: Path, *drop: str, target: str = "price") -> str:
    """What is said about a CSV, without its path."""
    path = tmp_path / "homes.csv"
    path.write_text(table if isinstance(table, str) else table.write_csv())
    with pytest.raises(InvalidTable) as error:
        load(path, target, drop)
    assert str(path) in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


def with_cell(column: str, row: int, cell: str) -> pl.DataFrame:
    """The table with another text in one cell; rows from 1."""
    cells = frame()[column].cast(pl.String).to_list()
    cells[row - 1] = cell
    return frame().with_columns(pl.Series(column, cells))


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_every_form_of_a_file_gives_the_numbers_that_pandas_reads(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"homes.{kind}"
    if kind == "csv":
        frame().write_csv(path)
    elif kind == "parquet":
        frame().write_parquet(path)
    else:
        path.mkdir()
        frame()[:20].write_parquet(path / "a.parquet")
        frame()[20:].write_parquet(path / "b.parquet")
    frame().write_csv(tmp_path / "judge.csv")
    expected = pd.read_csv(tmp_path / "judge.csv", float_precision="round_trip")
    table = load(path, "price", ["at"])
    assert (table.names, table.target) == (("size", "rooms"), "price")
    np.testing.assert_array_equal(table.features, expected[["size", "rooms"]])
    np.testing.assert_array_equal(table.targets, expected["price"])


def test_the_order_of_features_is_that_of_the_columns() -> None:
    backwards = from_frame(frame().select("price", "at", "rooms", "size"), "homes", "price")
    assert backwards.names == ("at", "rooms", "size")


def test_true_and_false_are_one_and_zero_in_csv_and_parquet(tmp_path: Path) -> None:
    sunny = frame().with_columns(sunny=pl.col("at") % 3 == 0)
    sunny.write_csv(tmp_path / "homes.csv")
    for table in (load(tmp_path / "homes.csv", "price"), from_frame(sunny, "homes", "price")):
        np.testing.assert_array_equal(table.features[:, 3], np.arange(50) % 3 == 0)


def test_equal_numbers_have_one_fingerprint_and_others_another(tmp_path: Path) -> None:
    frame().write_csv(tmp_path / "homes.csv")
    known = from_frame(frame(), "homes", "price").fingerprint
    assert load(tmp_path / "homes.csv", "price").fingerprint == known
    others = (
        frame().with_columns(pl.col("size") * 1.5),
        frame().rename({"size": "area"}),
        frame().with_columns(pl.col("price") + 1),
        frame().reverse(),
    )
    assert known not in {from_frame(other, "homes", "price").fingerprint for other in others}


def test_some_rows_are_taken_in_the_order_asked_for() -> None:
    table = from_frame(frame(), "homes", "price")
    some = table.take(np.array([7, 3]))
    assert some.rows == 2
    np.testing.assert_array_equal(some.features, table.features[[7, 3]])
    np.testing.assert_array_equal(some.targets, table.targets[[7, 3]])


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN"])
def test_a_missing_number_is_shown_with_its_row(cell: str, tmp_path: Path) -> None:
    assert refused(with_cell("size", 8, cell), tmp_path) == (
        "row 8: size is missing; fill it in, remove the row, or leave the column out with "
        "--drop size"
    )


@pytest.mark.parametrize("cell", ["large", "1,5", "NA", "2024-05-01"])
def test_text_in_a_numeric_column_is_shown_with_its_row(cell: str, tmp_path: Path) -> None:
    assert refused(with_cell("rooms", 50, cell), tmp_path) == (
        f"row 50: rooms is {cell!r}, expected a number such as 12.5; fill it in or remove the row "
        "if it is missing, leave the column out with --drop rooms if it is text"
    )


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e40"])
def test_a_number_that_float32_cannot_hold_is_shown_with_its_row(cell: str, tmp_path: Path) -> None:
    message = refused(with_cell("size", 1, cell), tmp_path)
    assert message.startswith(f"row 1: size is {float(cell):g}, expected a number within 1e+36")


def test_a_missing_target_has_the_remedy_of_a_target(tmp_path: Path) -> None:
    message = refused(with_cell("price", 2, ""), tmp_path)
    assert message.startswith("row 2: price is missing")
    assert message.endswith("or name another column with --target")


def test_a_column_of_text_or_dates_of_parquet_is_refused() -> None:
    colours = frame().with_columns(colour=pl.lit("red"))
    with pytest.raises(InvalidTable, match="homes: row 1: colour is 'red', expected a number"):
        from_frame(colours, "homes", "price")
    dated = frame().with_columns(sold=pl.date(2024, 1, 1))
    with pytest.raises(InvalidTable, match="sold is Date, expected numbers; .* --drop sold"):
        from_frame(dated, "homes", "price")
    assert from_frame(dated, "homes", "price", ["sold"]).names == ("size", "rooms", "at")


def test_a_missing_cell_of_a_folder_is_named_with_its_file(tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "a.parquet")
    holed = frame().with_columns(size=pl.when(pl.col("at") != 4).then("size"))
    holed.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InvalidTable, match="b.parquet: row 5: size is missing"):
        load(tmp_path, "price")


@pytest.mark.parametrize("option", ["--target", "--drop"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    option: str, tmp_path: Path
) -> None:
    if option == "--target":
        message = refused(frame(), tmp_path, target="value")
    else:
        message = refused(frame(), tmp_path, "value")
    assert message == (
        f"there is no column 'value'; name one of size, rooms, at, price with {option}"
    )


def test_the_target_cannot_be_dropped(tmp_path: Path) -> None:
    assert refused(frame(), tmp_path, "price") == (
        "'price' is the target; it cannot be dropped as well"
    )


def test_a_table_without_a_feature_is_refused(tmp_path: Path) -> None:
    message = refused(frame(), tmp_path, "size", "rooms", "at")
    assert message.startswith("no column is left to predict price from")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    text = frame().write_csv().replace("rooms", "size", 1)
    assert refused(text, tmp_path).startswith("the column 'size' is there twice")


def test_a_column_without_a_name_is_refused(tmp_path: Path) -> None:
    frame().to_pandas().to_csv(tmp_path / "homes.csv")  # with its index
    text = (tmp_path / "homes.csv").read_text()
    assert refused(text, tmp_path).startswith("column 1 has no name; name it")


def test_a_target_that_never_differs_is_refused(tmp_path: Path) -> None:
    assert refused(frame().with_columns(price=pl.lit(0.1)), tmp_path).startswith(
        "the target price is 0.1 in every row"
    )


@pytest.mark.parametrize("rows", [0, 1, 39])
def test_too_few_rows_are_refused(rows: int, tmp_path: Path) -> None:
    assert refused(frame()[:rows], tmp_path) == (f"{rows} rows, expected at least 40; add rows")


def test_a_feature_that_never_differs_is_no_fault() -> None:
    assert from_frame(frame().with_columns(size=pl.lit(0.1)), "homes", "price").rows == 50


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_refused(text: str, tmp_path: Path) -> None:
    assert "the file is empty" in refused(text, tmp_path)


def test_numbers_that_float32_cannot_tell_apart_are_refused_with_the_remedy(
    tmp_path: Path,
) -> None:
    seconds = frame().with_columns(at=1_700_000_000 + pl.col("at"))
    message = refused(seconds, tmp_path)
    assert message.startswith("the numbers in at differ too little for float32")
    assert (
        "moves them by up to 49 where their standard deviation is 14; subtract 1.7e+09" in message
    )
    assert message.endswith("or leave the column out with --drop at")


def test_years_and_ids_keep_what_tells_their_rows_apart() -> None:
    offset = frame().with_columns(at=2000 + pl.col("at"), rooms=1_000_000 + pl.col("rooms"))
    assert isinstance(from_frame(offset, "homes", "price"), Table)
