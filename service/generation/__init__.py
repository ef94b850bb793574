"""Texts, one token at a time: sequences of many callers share the steps of a model."""
