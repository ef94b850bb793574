"""A table from outside -> typed rows on regular steps, or an error that names the place."""
