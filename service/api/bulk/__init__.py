"""Many series in one body: packed end to end, as JSON, Arrow or Parquet."""
