"""Adapter in: HTTP."""
