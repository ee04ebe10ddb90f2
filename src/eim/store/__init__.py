"""SQL, one module a table family. Functions take a connection, so the service owns the transaction."""

from typing import TypeAlias

from asyncpg import Connection, Record
from asyncpg.pool import PoolConnectionProxy
from asyncpg.prepared_stmt import PreparedStatement

Db: TypeAlias = "Connection[Record] | PoolConnectionProxy[Record]"
Prepared: TypeAlias = "PreparedStatement[Record]"
