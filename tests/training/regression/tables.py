"""Made-up tables, small and the same every time."""

import numpy as np

from training.regression.table import Table


def made_up(rows: int = 200, noise: float = 0.1) -> Table:
    """Three features of different size, and a target that is no straight line of them."""
    random = np.random.default_rng(0)
    features = random.normal([0.0, 100.0, 2000.0], [1.0, 20.0, 10.0], (rows, 3))
    a, b, c = ((features - features.mean(0)) / features.std(0)).T
    targets = 50 + 5 * (a * b + np.abs(c) + noise * random.normal(size=rows))
    return Table(("a", "b", "c"), "y", features, targets, "made up")
