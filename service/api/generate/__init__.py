"""Texts, whole or while they are written."""
