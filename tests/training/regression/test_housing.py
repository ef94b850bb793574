"""The housing recipe reads the form that its source has, from a made-up file, without a network."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pooch
import pytest

from training.recipes import diabetes, housing
from training.tables.source import InvalidTable


def arrays() -> tuple[Any, Any]:
    """x and y of the form of the download."""
    random = np.random.default_rng(0)
    return random.normal(size=(60, 13)), random.normal(22, 9, 60)


def write(path: Path, x: Any, y: Any) -> Path:
    np.savez(path, x=x, y=y)
    return path


def test_the_arrays_become_columns_without_b(tmp_path: Path) -> None:
    x, y = arrays()
    table = housing.load(write(tmp_path / "housing.npz", x, y))
    assert "b" not in table.names
    assert table.target == "medv"
    kept = [name for name in housing.FEATURES if name != "b"]
    assert list(table.names) == kept
    np.testing.assert_array_equal(table.features, np.delete(x, housing.FEATURES.index("b"), 1))
    np.testing.assert_array_equal(table.targets, y)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_the_same_numbers_is_the_same_table(
    kind: str, upper: bool, tmp_path: Path
) -> None:
    x, y = arrays()
    columns = {"medv": y, **dict(zip(housing.FEATURES, x.T, strict=True))}  # another order
    frame = pl.DataFrame({name.upper() if upper else name: v for name, v in columns.items()})
    path = tmp_path / f"boston.{kind}"
    frame.write_csv(path) if kind == "csv" else frame.write_parquet(path)
    expected = housing.load(write(tmp_path / "housing.npz", x, y))
    assert housing.load(path).fingerprint == expected.fingerprint


def test_the_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def retrieve(url: str, known_hash: str, path: Path) -> str:
        asked.append((url, known_hash))
        return str(write(tmp_path / "kept.npz", *arrays()))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert housing.load().rows == 60
    assert asked == [(housing.URL, f"sha256:{housing.SHA256}")]
    assert len(bytes.fromhex(housing.SHA256)) == 32


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("SHA256 hash does not match")])
def test_a_failed_download_names_the_way_without_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def retrieve(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(InvalidTable, match=f"cannot be had: {error}; .* with --data"):
        housing.load()


def test_other_files_are_refused(tmp_path: Path) -> None:
    x, y = arrays()
    with pytest.raises(InvalidTable, match=r"x is \(60, 12\) and y \(60,\), expected 13 numbers"):
        housing.load(write(tmp_path / "narrow.npz", x[:, 1:], y))
    (tmp_path / "page.npz").write_text("<html>")
    np.savez(tmp_path / "other.npz", a=x)
    for name in ("page", "other", "missing"):
        with pytest.raises(InvalidTable, match="cannot be read as arrays x and y"):
            housing.load(tmp_path / f"{name}.npz")


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({name: [1.0] for name in housing.FEATURES}).write_csv(tmp_path / "t.csv")
    with pytest.raises(InvalidTable, match="there is no column 'medv'; the table needs crim, zn"):
        housing.load(tmp_path / "t.csv")


def test_the_bundled_data_are_as_measured() -> None:
    table = diabetes.load()
    assert (table.rows, len(table.names), table.target) == (442, 10, "progression")
    age = table.features[:, table.names.index("age")]
    assert (age.min(), age.max()) == (19, 79)
    assert (table.targets.min(), table.targets.max()) == (25, 346)
