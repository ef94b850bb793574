"""Files, folders and frames in pieces: the same rows whatever the cut, each with its place."""

from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import InvalidTable, from_frame, load
from training.tables import source
from training.tables.source import Places, pieces


def table(item: str, *targets: float | None) -> pl.DataFrame:
    days = pd.date_range("2024-03-01", periods=len(targets))
    return pl.DataFrame({"item_id": item, "timestamp": list(days), "target": targets})


def folder(path: Path, **files: pl.DataFrame) -> Path:
    path.mkdir()
    for name, frame in files.items():
        frame.write_parquet(path / f"{name}.parquet")
    return path


texts = st.text(st.sampled_from('a,"\n;é '), min_size=1, max_size=6)


@given(rows=st.lists(st.tuples(texts, texts), min_size=1), block=st.integers(1, 40))
def test_a_csv_file_cut_anywhere_has_the_same_rows(
    rows: list[tuple[str, str]], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = pl.DataFrame(rows, ["one", "two"], orient="row")
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    frame.write_csv(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "BLOCK", block)
        found = list(pieces(path))
    assert pl.concat([piece.frame for piece in found]).equals(pl.read_csv(path, infer_schema=False))
    firsts = [sum(before.frame.height for before in found[:k]) + 1 for k in range(len(found))]
    assert [piece.first for piece in found] == firsts


@pytest.mark.parametrize("block", [1, 20, 30, 60, 1000])
def test_blank_and_short_lines_may_begin_a_block(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BLOCK", block)
    path = tmp_path / "sales.csv"
    path.write_bytes(
        b"\r\nitem_id,timestamp,target\r\na,2024-03-01,1\r\n\r\n\r\na,2024-03-02\r\na,2024-03-03,x"
    )
    with pytest.raises(InvalidTable, match=r"sales\.csv: item 'a', row 5: target is 'x'"):
        load(path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_in_pieces_is_the_panel_it_was(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pl.concat([table("b", 1, None, 3, 4), table("a", 5, 6, 7)]).gather(
        [4, 0, 1, 5, 2, 6, 3]
    )
    path = tmp_path / f"sales.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    whole = load(path)
    monkeypatch.setattr(source, "PIECE", 2)
    monkeypatch.setattr(source, "BLOCK", 100)
    assert len(list(pieces(path))) > 2
    assert load(path).fingerprint == from_frame(frame).fingerprint == whole.fingerprint
    assert [series.item_id for series in whole.series] == ["a", "b"]


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    one, two = table("a", 1, 2, 3, 4), table("b", 5, 6, 7)
    path = folder(tmp_path / "sales", part2=two, part10=one)  # in order of name, so part10 first
    (path / "_SUCCESS").touch()
    assert load(path).fingerprint == from_frame(pl.concat([one, two])).fingerprint
    assert load(folder(tmp_path / "x.parquet", a=one)).fingerprint == from_frame(one).fingerprint


def test_an_item_may_go_on_in_the_next_file(tmp_path: Path) -> None:
    whole = table("a", 1, 2, 3, 4)
    path = folder(
        tmp_path / "sales", a=whole[:2], b=whole[2:].select("target", "item_id", "timestamp")
    )
    assert load(path).fingerprint == from_frame(whole).fingerprint


def test_a_cell_of_a_folder_is_named_by_file_and_row(tmp_path: Path) -> None:
    good, bad = table("a", 1, 2, 3), table("b", 1.0, float("inf"))
    path = folder(tmp_path / "sales", a=good, b=bad)
    with pytest.raises(InvalidTable, match=r"sales: b\.parquet: item 'b', row 2: target is inf"):
        load(path)


def test_rows_of_two_files_are_named_by_file_and_row(tmp_path: Path) -> None:
    path = folder(tmp_path / "sales", a=table("a", 1, 2, 3), b=table("a", 1))
    with pytest.raises(InvalidTable, match=r"in a\.parquet, row 1 and b\.parquet, row 1; keep one"):
        load(path)


def test_files_of_different_columns_are_refused(tmp_path: Path) -> None:
    other = table("b", 1).rename({"target": "y"})
    path = folder(tmp_path / "sales", a=table("a", 1), b=other)
    with pytest.raises(
        InvalidTable, match=r"b\.parquet has the columns .*y, a\.parquet has .*target"
    ):
        load(path)


def test_a_folder_without_parquet_or_with_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "sales")
    with pytest.raises(InvalidTable, match="there is no .parquet file in this folder"):
        load(path)
    (path / "a.parquet").write_text("no parquet")
    with pytest.raises(InvalidTable, match=r"a\.parquet: cannot be read as parquet"):
        load(path)


@pytest.mark.parametrize("kind", ["object", "string", "category", "Int64"])
def test_a_pandas_frame_is_the_polars_one(kind: str) -> None:
    expected = pl.concat([table("1", 1, None, 3, 4), table("2", 5, 6, 7)])
    frame = pd.DataFrame(expected.to_dict(as_series=False)).astype({"item_id": kind})
    assert from_frame(frame).fingerprint == from_frame(expected).fingerprint


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(InvalidTable, match="table: list is not a frame; give a DataFrame"):
        from_frame([1, 2])


def test_places_count_from_one_in_each_file() -> None:
    places = Places()
    for file, before in (("a", 0), ("b", 3), ("c", 3), ("d", 10)):
        places.begin(file, before)
    shown = [places.of(row) for row in (1, 3, 4, 10, 11)]
    assert shown == ["a, row 1", "a, row 3", "c, row 1", "c, row 7", "d, row 1"]
