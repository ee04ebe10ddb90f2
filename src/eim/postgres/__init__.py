"""ADAPTER: a Postgres of our own beside the process that uses it (docs/database.md)."""

from eim.postgres.embedded import Embedded
from eim.postgres.running import cluster_of, delete, dsn_of_running, is_running
from eim.postgres.tools import dump, restore

__all__ = ["Embedded", "cluster_of", "delete", "dsn_of_running", "dump", "is_running", "restore"]
