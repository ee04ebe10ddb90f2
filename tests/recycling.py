"""A test's database, made as if new for the next one: much cheaper than a copy of the template.

Only what a test can't have changed but by rows is used again. When the catalogs differ from before (a trigger, a right,
an index, statistics), when it wrote a lot, or when anything at all goes wrong, the database is dropped instead.
"""

import io
from collections.abc import Mapping
from typing import Final

import asyncpg
import msgspec

from eim.store.connect import DEFAULT_SCHEMA

_MOST: Final = 2_000_000  # octets that are worth deleting rather than dropping
_LEAVE: Final = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# A row of a catalog that was written again has another xmin; who takes one away changes the count.
_CATALOGS: Final = """
    SELECT array_agg(line ORDER BY line) FROM (
        SELECT format('class %s %s', count(*), sum(xmin::text::bigint * oid::bigint)) AS line
          FROM pg_class WHERE oid >= 16384
        UNION ALL SELECT format('column %s %s', count(*), sum(xmin::text::bigint * attrelid::bigint * (attnum + 100)))
          FROM pg_attribute WHERE attrelid >= 16384
        UNION ALL SELECT format('constraint %s %s', count(*), sum(xmin::text::bigint)) FROM pg_constraint
        UNION ALL SELECT format('trigger %s %s', count(*), sum(xmin::text::bigint)) FROM pg_trigger
        UNION ALL SELECT format('policy %s %s', count(*), sum(xmin::text::bigint)) FROM pg_policy
        UNION ALL SELECT format('function %s %s', count(*), sum(xmin::text::bigint)) FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT format('schema %s %s', count(*), sum(xmin::text::bigint)) FROM pg_namespace
        UNION ALL SELECT format('statistics %s', count(*)) FROM pg_statistic WHERE starelid >= 16384
        UNION ALL SELECT format('setting %s %s', count(*), sum(xmin::text::bigint)) FROM pg_db_role_setting
        UNION ALL SELECT format('database %s', xmin) FROM pg_database WHERE datname = current_database()
    ) lines
"""
_WRITTEN: Final = """
    SELECT c.relname, pg_relation_size(c.oid) AS octets
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0
"""
_COUNTED: Final = """
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
      FROM pg_sequences WHERE schemaname = $1 AND last_value IS NOT NULL
"""
# As if nobody had ever counted its rows, for the planner.
_UNCOUNTED: Final = """
    SELECT pg_restore_relation_stats('schemaname', $1::text, 'relname', name, 'relpages', 0, 'reltuples', (-1)::real)
      FROM unnest($2::text[]) AS name
"""


class New(msgspec.Struct, frozen=True):
    """What a new database holds: the rows of each table, and its catalogs."""

    rows: Mapping[str, bytes]  # as COPY writes them
    catalogs: tuple[str, ...]


async def look(dsn: str) -> New:
    """What is in a database that nobody has used yet."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = {}
        for name, _ in await connection.fetch(_WRITTEN, DEFAULT_SCHEMA):
            copied = io.BytesIO()
            await connection.copy_from_table(name, schema_name=DEFAULT_SCHEMA, output=copied, format="binary")
            rows[name] = copied.getvalue()
        return New(rows, await _catalogs(connection))
    finally:
        await connection.close()


async def renew(dsn: str, new: New) -> New | None:
    """Make the database what `new` says again, for a superuser; None: drop it."""
    try:
        connection = await asyncpg.connect(dsn)
        try:
            return await _renewed(connection, new)
        finally:
            await connection.close()
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return None


async def _renewed(connection: "asyncpg.Connection[asyncpg.Record]", new: New) -> New | None:
    await connection.execute(_LEAVE)
    written = await connection.fetch(_WRITTEN, DEFAULT_SCHEMA)
    if sum(row["octets"] for row in written) > _MOST or await _catalogs(connection) != new.catalogs:
        return None
    names = [row["relname"] for row in written]
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")  # no foreign key is asked
        await connection.execute(";".join(f'DELETE FROM "{DEFAULT_SCHEMA}"."{name}"' for name in names))
        await connection.execute(_COUNTED, DEFAULT_SCHEMA)
    await connection.execute("VACUUM " + ", ".join(f'"{DEFAULT_SCHEMA}"."{name}"' for name in names))
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for name, rows in new.rows.items():
            source = io.BytesIO(rows)
            await connection.copy_to_table(name, schema_name=DEFAULT_SCHEMA, source=source, format="binary")
        await connection.execute(_UNCOUNTED, DEFAULT_SCHEMA, [name for name in names if name not in new.rows])
    return New(new.rows, await _catalogs(connection))


async def _catalogs(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[str, ...]:
    return tuple(await connection.fetchval(_CATALOGS))
