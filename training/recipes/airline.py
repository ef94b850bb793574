"""Airline passengers: the monthly number of international ones in thousands, 1949 to 1960.

144 months from Box and Jenkins, Time Series Analysis: Forecasting and Control (1970). A trend, a
season that grows with it, and nothing else: a forecaster that cannot beat the seasonal naive
baseline here has something wrong with it. statsforecast ships the numbers, stamped with month ends;
here a month is known by its first day.
"""

import polars as pl

from training.data import Panel, from_frame


def load() -> Panel:
    """One series "airline" of 144 month starts (MS)."""
    from statsforecast.utils import AirPassengersDF  # takes seconds to import

    months = AirPassengersDF["ds"].to_numpy().astype("datetime64[M]").astype("datetime64[us]")
    passengers = AirPassengersDF["y"].to_numpy()
    table = pl.DataFrame({"item_id": "airline", "timestamp": months, "target": passengers})
    return from_frame(table, "MS", "airline")
