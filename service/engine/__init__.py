"""THE ENGINE: rows of many callers -> batches -> lanes. Knows nothing of HTTP or forecasting."""
