"""From an inquiry to a forecast: agreed with the model, placed, run, selected."""
