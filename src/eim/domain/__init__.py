"""Frozen values and pure functions: what the words of the house mean."""
