"""Columns and cells of a table: every reading, and every refusal with its row and remedy."""

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.timestamp import InvalidTimestamp, read_timestamp
from training.tables.rows import Rows
from training.tables.source import pieces
from training.tables.table import InvalidTable, Roles, tidy

HEADER = "item_id,timestamp,target\n"


def csv(tmp_path: Path, text: str | bytes, name: str = "sales.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path) -> pl.DataFrame:
    return pl.concat([piece.frame for piece in pieces(path)])


def refusal_of(path: Path) -> str:
    with pytest.raises(InvalidTable) as caught:
        Rows.of(pieces(path), path.name)
    assert path.name in str(caught.value)
    return str(caught.value)


def refusal(**columns: object) -> str:
    with pytest.raises(InvalidTable) as caught:
        tidy(pl.DataFrame(columns), "table")
    return str(caught.value)


def tidied(path: Path) -> list[tuple[object, ...]]:
    frame = tidy(read(path), path.name)
    assert frame.columns == ["item_id", "timestamp", "target", "row"]
    texts = pl.col("timestamp").dt.to_string("%Y-%m-%dT%H:%M:%S%.f")
    return frame.with_columns(texts, pl.col("target").fill_nan(None)).rows()


@pytest.mark.parametrize("header", ["item_id,timestamp,target", "unique_id,ds,y"])
def test_both_namings_are_read(tmp_path: Path, header: str) -> None:
    path = csv(tmp_path, f"{header}\na,2024-03-01,1.5\n")
    assert tidied(path) == [("a", "2024-03-01T00:00:00", 1.5, 1)]


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    path = csv(tmp_path, "y,unique_id,ds\n1.5,a,2024-03-01\n")
    assert tidied(path) == [("a", "2024-03-01T00:00:00", 1.5, 1)]


@pytest.mark.parametrize(
    "text",
    ["Month,Passengers\n1949-01-01,112\n", "y,ds\n112,1949-01-01\n", "ds,y\n1949-01-01,112\n"],
)
def test_two_columns_are_one_series(tmp_path: Path, text: str) -> None:
    assert tidied(csv(tmp_path, text)) == [("series", "1949-01-01T00:00:00", 112.0, 1)]


def test_an_item_keeps_its_zeros_and_its_name_na(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + "007,2024-03-01,1\nNA,2024-03-01,1\n")
    assert [row[0] for row in tidied(path)] == ["007", "NA"]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt8, pl.String, pl.Categorical])
def test_item_ids_become_text(dtype: pl.DataType) -> None:
    ids = pl.Series(["1", "20"], dtype=pl.String)
    frame = pl.DataFrame({"unique_id": ids.cast(dtype), "ds": ["2024-03-01"] * 2, "y": [1, 2]})
    assert tidy(frame, "table")["item_id"].to_list() == ["1", "20"]


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "NA", "null", " "])
def test_missing_targets_are_nan(tmp_path: Path, missing: str) -> None:
    path = csv(tmp_path, HEADER + f"a,2024-03-01,{missing}\na,2024-03-02, 2e3 \n")
    frame = tidy(read(path), "table")
    assert frame["target"].is_nan().to_list() == [True, False]
    assert frame["target"][1] == 2000.0


def test_blank_lines_are_left_out_but_counted(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + "a,2024-03-01,1\n\na,2024-03-02,2\n\n")
    assert [row[3] for row in tidied(path)] == [1, 3]


DATES = r"(1[6-9]|2[0-3])[0-9]{2}-[01][0-9]-[0-3][0-9]"
TIMES = r"[T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,7})?)?"
OFFSETS = r"(Z|\+00:00|[+-]0[0-9]:?00)?"


@given(st.from_regex(f"{DATES}({TIMES}{OFFSETS})?", fullmatch=True) | st.text(min_size=1))
def test_a_table_reads_the_timestamps_that_a_request_reads(text: str) -> None:
    frame = pl.DataFrame({"ds": [text], "y": [1.0]})
    try:
        expected = read_timestamp(text.strip()).value
    except InvalidTimestamp:
        with pytest.raises(InvalidTable, match="row 1"):
            tidy(frame, "table")
    else:
        assert tidy(frame, "table")["timestamp"].to_numpy()[0] == expected


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "there is no such file" in refusal_of(tmp_path / "sales.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "there is no such file" in refusal_of(tmp_path / "folder.csv")


@pytest.mark.parametrize("name", ["sales.xlsx", "sales", "sales.csv.gz"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    assert "must end in .csv or .parquet" in refusal_of(csv(tmp_path, HEADER, name))


def test_suffixes_may_be_upper_case(tmp_path: Path) -> None:
    assert len(tidied(csv(tmp_path, HEADER + "a,2024-03-01,1\n", "SALES.CSV"))) == 1


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "the file is empty; name the columns item_id" in refusal_of(csv(tmp_path, ""))


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    assert "no rows below the header; add" in refusal_of(csv(tmp_path, HEADER))
    assert "no rows below the header; add" in refusal_of(csv(tmp_path, HEADER + "\n\n"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (HEADER + "a,2024-03-01,1,2,3\n", "sales.csv"),
        (b"item_id,timestamp,target\n\xff\xfe,2024-03-01,1\n", "sales.csv"),
        (HEADER, "sales.parquet"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    tmp_path: Path, text: str | bytes, name: str
) -> None:
    assert f"cannot be read as {name[6:]}: " in refusal_of(csv(tmp_path, text, name))


@pytest.mark.parametrize(
    ("header", "missing", "found"),
    [
        ("item_id,timestamp,value", "column target is missing", "item_id, timestamp, value"),
        ("unique_id,ds", "column y is missing", "unique_id, ds"),
        (
            "item_id;timestamp;target",
            "column item_id, timestamp, target is missing",
            "item_id;time",
        ),
        ("a,b,c,d", "column item_id, timestamp, target is missing", "a, b, c, d"),
    ],
)
def test_a_missing_column_lists_what_was_found(
    tmp_path: Path, header: str, missing: str, found: str
) -> None:
    message = refusal_of(csv(tmp_path, f"{header}\n"))
    assert missing in message
    assert f"found {found}" in message
    assert "name the columns" in message


def test_a_column_without_a_role_is_refused(tmp_path: Path) -> None:
    message = refusal_of(csv(tmp_path, "item_id,timestamp,target,price,promo\n"))
    assert "column price, promo has no role; name it with --past" in message
    assert all(word in message for word in ("--known", "--static", "--category", "or drop it"))


WIDE = "price,item_id,promo,timestamp,size,target,region\n"
ROLES = Roles(past=("promo",), known=("price",), static=("size",), categories=("region",))


def test_columns_with_a_role_keep_their_names(tmp_path: Path) -> None:
    path = csv(tmp_path, WIDE + "1.5,a,True,2024-03-01,,7,north\n2,a,false,2024-03-02,3,NA,\n")
    frame = tidy(read(path), "table", ROLES)
    assert frame["price"].to_list() == [1.5, 2.0]
    assert frame["promo"].to_list() == [1.0, 0.0]
    assert frame["size"].is_nan().to_list() == [True, False]
    assert frame["region"].to_list() == ["north", None]
    assert frame["target"].is_nan().to_list() == [False, True]


def test_logical_values_are_one_and_zero_in_parquet_too() -> None:
    frame = pl.DataFrame({"ds": ["2024-03-01"] * 2, "y": [1, 2], "promo": [True, None]})
    assert tidy(frame, "table", Roles(past=("promo",)))["promo"].fill_nan(None).to_list() == [
        1,
        None,
    ]


def test_one_series_of_two_columns_may_have_covariates() -> None:
    frame = pl.DataFrame({"Month": ["2024-03-01"], "price": [1.0], "Passengers": [7]})
    assert tidy(frame, "table", Roles(known=("price",)))["target"].to_list() == [7.0]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (Roles(known=("prise",)), "column prise, of --known, is missing, found price, item_id"),
        (Roles(known=("prise",)), "add it to the table, or leave out --known prise"),
        (Roles(past=("price",), known=("price",)), "column price is named with --past and --known"),
        (Roles(past=("price", "price")), "column price is named with --past and --past"),
        (Roles(static=("target",)), "column target cannot be named with --static"),
        (Roles(categories=("region",), known=("price",)), "column promo, size has no role"),
        (Roles(known=("kind",), fixed=True), "column kind, which the model was trained with"),
        (Roles(known=("price",), fixed=True), "column promo, size, region was not there in train"),
        (Roles(known=("price",), fixed=True), "the model reads: price"),
    ],
)
def test_columns_and_roles_that_disagree_are_refused(roles: Roles, message: str) -> None:
    columns = WIDE.strip().split(",")
    with pytest.raises(InvalidTable, match=re.escape(message)):
        tidy(pl.DataFrame({name: ["1"] for name in columns}), "table", roles)


@pytest.mark.parametrize("name", ["", "__index_level_0__"])
def test_the_index_of_a_pandas_frame_is_recognised(name: str) -> None:
    columns = ("item_id", "timestamp", "target", name)
    with pytest.raises(InvalidTable, match="is the index of a pandas frame; write the file with"):
        tidy(pl.DataFrame({column: ["1"] for column in columns}), "table")


def test_a_missing_item_id_is_not_taken_for_a_missing_role() -> None:
    frame = pl.DataFrame({"shop": ["a"], "timestamp": ["2024-03-01"], "target": [1]})
    with pytest.raises(InvalidTable, match="column item_id is missing, found shop, timestamp"):
        tidy(frame, "table")


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        (Roles(past=("x",)), "item 'b', row 2: x is 'high', expected a number such as 12.5"),
        (Roles(past=("x",)), "or name the column with --category if it is text"),
        (Roles(categories=("x",)), None),
    ],
)
def test_text_is_a_category_and_no_number(roles: Roles, problem: str | None) -> None:
    frame = pl.DataFrame(
        {"unique_id": ["a", "b"], "ds": ["2024-03-01"] * 2, "y": [1, 2], "x": ["1", "high"]}
    )
    if problem is None:
        assert tidy(frame, "table", roles)["x"].to_list() == ["1", "high"]
        return
    with pytest.raises(InvalidTable, match=re.escape(problem)):
        tidy(frame, "table", roles)


@pytest.mark.parametrize("roles", [Roles(past=("x",)), Roles(known=("x",)), Roles(static=("x",))])
@pytest.mark.parametrize(("value", "shown"), [("inf", "inf"), ("-inf", "-inf"), ("2e36", "2e+36")])
def test_a_covariate_that_float32_cannot_hold_names_its_item_and_row(
    roles: Roles, value: str, shown: str
) -> None:
    days = ["2024-03-01", "2024-03-02"]
    texts = pl.DataFrame({"unique_id": "a", "ds": days, "y": [1, 2], "x": ["1", value]})
    for frame in (texts, texts.with_columns(pl.col("x").cast(pl.Float64))):
        with pytest.raises(InvalidTable, match=f"item 'a', row 2: x is {re.escape(shown)}"):
            tidy(frame, "table", roles)


@pytest.mark.parametrize("values", [[1.5], [True], ["2024-03-01"]])
def test_a_category_of_another_type_is_refused(values: list[object]) -> None:
    column = pl.Series(values).str.to_date() if isinstance(values[0], str) else pl.Series(values)
    frame = pl.DataFrame({"ds": ["2024-03-01"], "y": [1], "x": column})
    with pytest.raises(InvalidTable, match="x is .*, expected text or integers for a category"):
        tidy(frame, "table", Roles(categories=("x",)))


def test_a_target_that_is_a_date_by_mistake_is_told_so(tmp_path: Path) -> None:
    message = refusal_of(csv(tmp_path, HEADER + "a,2024-03-01,2024-03-01\n"))
    assert "item 'a', row 1: target is '2024-03-01'" in message
    assert "it is a date: check which column is the timestamp and which the target" in message
    days = pl.Series(["2024-03-01"]).str.to_date()
    message = refusal(ds=days, y=days)
    assert "target is Date, expected numbers; it is a date: check which" in message


@pytest.mark.parametrize("target", ["abc", "1,5", "1_000", "--", "12 EUR", "0x1F", "-"])
def test_a_target_that_is_no_number_names_its_row_and_value(tmp_path: Path, target: str) -> None:
    path = csv(tmp_path, HEADER + f'a,2024-03-01,1\na,2024-03-02,"{target}"\n')
    message = refusal_of(path)
    assert f"row 2: target is '{target}', expected a number" in message
    assert "leave it empty" in message


@pytest.mark.parametrize("target", ["inf", "-Infinity", "1e999"])
def test_an_infinite_target_names_its_row(tmp_path: Path, target: str) -> None:
    message = refusal_of(csv(tmp_path, HEADER + f"a,2024-03-01,1\na,2024-03-02,{target}\n"))
    assert "row 2: target is " in message
    assert "inf, expected a finite number; leave it empty" in message


@pytest.mark.parametrize(
    ("timestamp", "problem"),
    [
        ("03/01/2024", "is not an ISO 8601 date"),
        ("2024-02-30", "names a day that does not exist"),
        ("2024-03-01T00:00:00+01:00", "convert it to UTC"),
        ("", "timestamp is missing; fill it in"),
        ("  ", "timestamp is missing; fill it in"),
    ],
)
def test_a_timestamp_that_is_none_names_its_row(
    tmp_path: Path, timestamp: str, problem: str
) -> None:
    message = refusal_of(csv(tmp_path, HEADER + f"a,2024-03-01,1\na,{timestamp},2\n"))
    assert "row 2: timestamp" in message
    assert timestamp.strip() in message
    assert problem in message


@pytest.mark.parametrize("item_id", ["", '""'])
def test_a_missing_item_id_names_its_row(tmp_path: Path, item_id: str) -> None:
    path = csv(tmp_path, HEADER + f"a,2024-03-01,1\n{item_id},2024-03-01,2\n")
    assert "row 2: item_id is missing; fill it in" in refusal_of(path)


def test_columns_of_other_types_are_refused() -> None:
    moments = pl.Series(["2024-03-01"]).str.to_date()
    assert "target is Boolean, expected numbers" in refusal(ds=moments, y=[True])
    assert "timestamp is Int64, expected dates" in refusal(ds=[20240301], y=[1])
    assert "item_id is Float64, expected text" in refusal(unique_id=[1.0], ds=moments, y=[1])


def test_a_zone_other_than_utc_is_refused() -> None:
    moments = pl.Series(["2024-03-01"]).str.to_datetime().dt.replace_time_zone("Europe/Paris")
    message = refusal(ds=moments, y=[1])
    assert "zone Europe/Paris, expected UTC or no zone; convert" in message


@pytest.mark.parametrize("year", [1, 1677, 2262, 9999])
def test_years_that_nanoseconds_cannot_count_are_refused(year: int) -> None:
    moments = pl.Series([f"{year:04}-06-01"]).str.to_date()
    expected = f"row 1: timestamp is in the year {year}, outside the years 1678 to 2261"
    assert expected in refusal(ds=moments, y=[1])


@pytest.mark.parametrize("milliseconds", [2**50, 2**62, -(2**62)])
def test_a_unit_mistaken_by_a_writer_is_refused(milliseconds: int) -> None:
    moments = pl.Series([milliseconds]).cast(pl.Datetime("ms"))
    assert "row 1: timestamp is in the year" in refusal(ds=moments, y=[1])
