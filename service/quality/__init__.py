"""Forecasts watched in life: what was forecast, what happened, and how good that was."""
