"""Tests of `gatecast doctor`."""
