"""Offline half of Gatecast: data -> windows -> network -> fit -> evaluate -> export -> parity."""
