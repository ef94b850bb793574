"""The task `regression`: a table of numbers -> a network that predicts one of its columns."""
