import asyncio
import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from eim.errors import BadConfiguration, DatabaseUnavailable
from eim.store.connect import DEFAULT_SCHEMA, DbRole, session_settings
from eim.store.migrate import Migration, apply, load, migrate, statements
from tests.cluster import Cluster
from tests.database import Database, fresh

_NEWEST = load()[-1].version
# All that a migration makes, as text: relations, columns, indexes, constraints, rights, policies, functions.
_SHAPE = """
    WITH ours AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = $1)
    SELECT format('%s %s %s', c.relkind, c.relname, c.relacl) AS line
      FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
    UNION ALL SELECT format('%s.%s %s %s', c.relname, a.attname, a.atttypid::regtype, a.attacl)
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN ours ON ours.oid = c.relnamespace
     WHERE a.attnum > 0
    UNION ALL SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN ours ON ours.oid = k.connamespace
    UNION ALL SELECT format('%s %s %s %s', p.tablename, p.policyname, p.roles, p.qual)
      FROM pg_policies p JOIN ours ON ours.nspname = p.schemaname
    UNION ALL SELECT format('%s %s', f.proname, f.proacl) FROM pg_proc f JOIN ours ON ours.oid = f.pronamespace
    ORDER BY line
"""


@pytest.fixture
async def empty(postgres: Cluster) -> AsyncIterator[Database]:
    """A database without our schema."""
    async with fresh(postgres, template="template1") as made:
        yield made


async def _shape(database: Database) -> list[str]:
    return [row[0] for row in await database.owner().fetch(_SHAPE, DEFAULT_SCHEMA)]


async def test_migrating_again_changes_nothing(database: Database) -> None:
    before = await _shape(database)
    assert await migrate(database.dsn(DbRole.OWNER)) == _NEWEST
    assert await _shape(database) == before


async def test_two_that_start_at_once_both_find_a_whole_schema(empty: Database) -> None:
    dsn = empty.dsn(DbRole.OWNER)
    assert await asyncio.gather(*(migrate(dsn) for _ in range(3))) == [_NEWEST] * 3
    assert await empty.owner().fetchval("SELECT count(*) FROM schema_migrations") == len(load())


async def test_there_is_a_lease_for_every_bucket(database: Database) -> None:
    found = await database.owner().fetchrow("SELECT count(*), min(bucket), max(bucket) FROM leases")
    assert found is not None
    assert tuple(found) == (1024, 0, 1023)


async def test_the_schema_is_the_one_asked_for(empty: Database) -> None:
    await migrate(empty.dsn(DbRole.OWNER), 'a "Schema" of its own')
    found = await empty.owner().fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'mailbox'")
    assert [row["schemaname"] for row in found] == ['a "Schema" of its own']


async def _migrate_until(database: Database, statement: int) -> bool:
    """Migrate and die after the n-th statement; whether it came to the end before."""
    settings = session_settings(DbRole.OWNER, None)
    connection = await asyncpg.connect(database.dsn(DbRole.OWNER), server_settings=settings)
    count = itertools.count(1)

    def die(_query: object) -> None:
        if next(count) == statement:
            connection.terminate()

    connection.add_query_logger(die)
    try:
        await apply(connection, DEFAULT_SCHEMA, load())
    except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
        return False
    await connection.close()
    return True


async def _version(database: Database) -> int:
    if await database.owner().fetchval("SELECT to_regclass('schema_migrations')") is None:
        return 0
    return await database.owner().fetchval("SELECT coalesce(max(version), 0) FROM schema_migrations")  # type: ignore[no-any-return]


async def test_a_migration_killed_at_any_statement_is_completed_by_the_next_run(
    empty: Database, database: Database
) -> None:
    statement, version, kills = 1, 0, 0
    while not await _migrate_until(empty, statement):
        kills += 1
        reached = await _version(empty)
        statement, version = (1 if reached > version else statement + 1), reached
    assert kills > sum(len(statements(migration.sql)) for migration in load())
    assert await _shape(empty) == await _shape(database)


_QUEUED = frozenset({82, 83, 84, 96, 97})  # what came after 0095 to say what waits behind a head
_PACKAGE = """
    INSERT INTO packages (bucket, eid, number, operation, identity, speaks, sealed, gate, not_before, state)
    VALUES (7, '\\x01', $1, gen_random_uuid(), 1, '1.3', '\\xBF51', 1, now(), $2)
"""
_WAITS = "SELECT number, queued FROM packages ORDER BY number"


async def test_what_waits_is_known_of_packages_that_the_release_before_made_or_makes(empty: Database) -> None:
    settings = session_settings(DbRole.OWNER, None)
    connection = await asyncpg.connect(empty.dsn(DbRole.OWNER), server_settings=settings)
    before = [each for each in load() if each.version not in _QUEUED and each.version <= 95]
    await apply(connection, DEFAULT_SCHEMA, before)
    for number, state in enumerate(("ended", "dead", "head", "waiting"), 1):
        await connection.execute(_PACKAGE, number, state)
    await apply(connection, DEFAULT_SCHEMA, load())
    found = [tuple(row) for row in await connection.fetch(_WAITS)]
    assert found == [(1, False), (2, False), (3, False), (4, True)]
    await connection.execute(_PACKAGE, 5, "waiting")  # as that release goes on
    assert (await connection.fetch(_WAITS))[-1]["queued"]
    await connection.close()


async def test_an_edited_file_is_noticed(database: Database) -> None:
    first, *rest = load()
    edited = (Migration(first.version, first.name, first.sql + "\n-- a word more"), *rest)
    async with database.owner().acquire() as connection:
        with pytest.raises(BadConfiguration, match=r"0001_tables\.sql is not the one that was applied"):
            await apply(connection, DEFAULT_SCHEMA, edited)


async def test_a_schema_newer_than_the_program_is_refused(database: Database) -> None:
    await database.owner().execute("INSERT INTO schema_migrations VALUES (9999, 'tomorrow', '')")
    with pytest.raises(BadConfiguration, match="version 9999"):
        await migrate(database.dsn(DbRole.OWNER))


async def test_what_a_newer_release_has_added_by_expand_migrations_is_borne(database: Database) -> None:
    await database.owner().execute("INSERT INTO schema_migrations VALUES (9999, 'expand_tomorrow', '')")
    assert await migrate(database.dsn(DbRole.OWNER)) < 9999
    await database.owner().execute("INSERT INTO schema_migrations VALUES (10000, 'contract_tomorrow', '')")
    with pytest.raises(BadConfiguration, match="version 10000"):
        await migrate(database.dsn(DbRole.OWNER))


async def test_a_login_that_may_not_make_a_schema_is_told_so(empty: Database) -> None:
    with pytest.raises(BadConfiguration, match=r"lacks a right.*docs/database\.md"):
        await migrate(empty.dsn(DbRole.WORKER))


async def test_a_database_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate("postgresql://eim:secret@127.0.0.1:1/eim")


def test_a_statement_ends_where_sql_says() -> None:
    script = """
    -- a comment; with a semicolon
    INSERT INTO a VALUES ('one; two', 'it''s'); CREATE TABLE "b;c" (d integer); -- and more
    CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $body$ SELECT 1; SELECT '$x$'; $body$;
    SELECT 3 - 2
    """
    assert [statement.split("(")[0].strip() for statement in statements(script)] == [
        "INSERT INTO a VALUES",
        'CREATE TABLE "b;c"',
        "CREATE FUNCTION f",
        "SELECT 3 - 2",
    ]
