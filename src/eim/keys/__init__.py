"""Adapter: who signs, and what the TLS port shows."""
