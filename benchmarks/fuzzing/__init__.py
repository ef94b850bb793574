"""Inputs that nobody would send, for every dialect that takes bytes."""
