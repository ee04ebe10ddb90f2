"""ADAPTER: a Postgres of our own beside the process that uses it (docs/database.md)."""

from eim.postgres.embedded import Embedded

__all__ = ["Embedded"]
