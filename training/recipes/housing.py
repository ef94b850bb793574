"""Housing: the median value of homes, in thousands of dollars, in 506 parts of Boston in 1970.

Harrison and Rubinfeld, Hedonic Housing Prices and the Demand for Clean Air (1978). Of the 13
columns that the table is known with, 12 are used: `b` is a function of the share of Black
residents, put there on the assumption that people pay to live apart, and a model of prices must
not act on that.
"""

import zipfile
from pathlib import Path

import numpy as np
import polars as pl

from training.regression.table import Table, from_frame
from training.tables.source import InvalidTable, pieces

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/boston_housing.npz"
SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"

FEATURES = (
    "crim",  # crimes per head
    "zn",  # share of land for large lots, percent
    "indus",  # share of land for industry, percent
    "chas",  # 1 beside the river, else 0
    "nox",  # nitric oxides, parts per ten million
    "rm",  # mean number of rooms
    "age",  # share of homes from before 1940, percent
    "dis",  # distance to places of work, weighted
    "rad",  # access to highways, an index
    "tax",  # property tax, dollars per ten thousand
    "ptratio",  # pupils per teacher
    "b",  # 1000 (share of Black residents - 0.63)^2
    "lstat",  # share of the population of lower status, percent
)
TARGET = "medv"
LEFT_OUT = ("b",)


def load(data: Path | None = None) -> Table:
    """506 rows, 12 features: downloaded once, checked and kept, or from a file.

    Args:
        data: the same .npz, or a CSV or Parquet table with these columns, in any case.

    Raises:
        InvalidTable: a download that failed or is not the file that is meant, or another file.
    """
    path = data or _download()
    frame = _of_arrays(path) if path.suffix.lower() == ".npz" else _of_table(path)
    return from_frame(frame.select(*FEATURES, TARGET), str(path), TARGET, LEFT_OUT)


def _download() -> Path:
    import pooch

    try:
        found = pooch.retrieve(URL, f"sha256:{SHA256}", path=pooch.os_cache("gatecast"))
    except (OSError, ValueError) as error:  # of requests, which are OSErrors, or the checksum
        raise InvalidTable(
            f"housing: {URL} cannot be had: {error}; with a copy of the file or a table of the "
            "same columns, give its path with --data"
        ) from None
    return Path(found)


def _of_arrays(path: Path) -> pl.DataFrame:
    """x [N, 13] in the order of FEATURES, and y [N]."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidTable(
            f"{path}: cannot be read as arrays x and y: {error}; download {URL} again"
        ) from None
    if x.shape != (len(y), len(FEATURES)) or y.ndim != 1:
        raise InvalidTable(
            f"{path}: x is {x.shape} and y {y.shape}, expected {len(FEATURES)} numbers for each "
            f"of y; download {URL} again"
        )
    return pl.DataFrame({**dict(zip(FEATURES, x.T, strict=True)), TARGET: y})


def _of_table(path: Path) -> pl.DataFrame:
    frame = pl.concat([piece.frame for piece in pieces(path)])
    frame.columns = [name.lower() for name in frame.columns]
    if missing := [name for name in (*FEATURES, TARGET) if name not in frame.columns]:
        raise InvalidTable(
            f"{path}: there is no column {missing[0]!r}; the table needs {', '.join(FEATURES)} and "
            f"{TARGET}"
        )
    return frame
