"""Diabetes: how far the disease went in a year, from ten numbers of each of 442 patients.

Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression (2004). scikit-learn ships the
numbers, so the example needs no network; they are taken as measured, not as standardised there.
The noise is large: an R2 of one half is all that anything gets out of it.
"""

import polars as pl

from training.regression.table import Table, from_frame

TARGET = "progression"


def load() -> Table:
    """442 rows, 10 features."""
    from sklearn.datasets import load_diabetes

    bundled = load_diabetes(scaled=False)
    columns = {name: bundled.data[:, at] for at, name in enumerate(bundled.feature_names)}
    return from_frame(pl.DataFrame({**columns, TARGET: bundled.target}), "diabetes", TARGET)
