"""Adapters out: what we call."""
