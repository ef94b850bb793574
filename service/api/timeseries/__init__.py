"""KServe's time series API: named inputs, a point forecast and quantiles of each."""
