"""One file per wire dialect, each a translation to and from `forecaster`; no arithmetic."""
