"""Tables written piece by piece: whole at the end, or as if nothing had been written."""

from pathlib import Path

import polars as pl
import pytest

from training import output
from training.output import Output

FRAMES = [
    pl.DataFrame(
        {"item_id": [f"i{k}"] * 3, "timestamp": ["2024-03-01"] * 3, "0.5": [float(k), 0.25, 1e-7]}
    ).with_columns(pl.col("timestamp").str.to_datetime(), pl.col("0.5").cast(pl.Float32))
    for k in range(5)
]


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, try_parse_dates=True, schema_overrides={"0.5": pl.Float32})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("rows", [1, 4, 6, 1000])
def test_pieces_become_one_file_in_their_order(
    suffix: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "ROWS", rows)
    path = tmp_path / f"out.{suffix}"
    with Output(path) as file:
        for frame in FRAMES:
            file.add(frame)
    assert file.rows == 15
    assert read(path).equals(pl.concat(FRAMES))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_error_leaves_what_was_there(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "ROWS", 1)
    path = tmp_path / f"out.{suffix}"
    path.write_text("before")

    def fail() -> None:
        with Output(path) as file:
            file.add(FRAMES[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with Output(path) as file:
        file.add(FRAMES[0])
        assert not path.exists()
    assert path.exists()


def test_a_folder_that_is_not_there_is_said_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no"), Output(tmp_path / "no" / "out.csv"):
        raise AssertionError
