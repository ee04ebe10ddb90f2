import asyncpg
import pytest

from eim.domain.ids import DEFAULT_TENANT
from eim.errors import BadConfiguration, DatabaseUnavailable
from eim.store import glances, handouts, leases
from eim.store.connect import DbRole, acquire, group_role, open_pool, transaction
from tests.database import Database

_LOCKED_S = "SELECT setting::int / 1000.0 FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"


@pytest.mark.parametrize("role", [DbRole.DEVICE, DbRole.OPERATOR, DbRole.WORKER])
async def test_a_connection_acts_as_its_role_whoever_logs_in(database: Database, role: DbRole) -> None:
    for dsn in (database.dsn(role), database.superuser_dsn):
        pool = await open_pool(dsn, role, database.schema, size=1)
        async with acquire(pool) as db:
            assert await db.fetchval("SELECT current_user") == group_role(role)
        await pool.close()


async def test_a_worker_that_freezes_locks_nothing_for_longer_than_its_lease(database: Database) -> None:
    async with acquire(database.pool(DbRole.WORKER)) as db:
        assert await db.fetchval(_LOCKED_S) == leases.TERM.total_seconds()


async def test_a_login_that_is_no_member_of_the_role_is_refused(database: Database) -> None:
    with pytest.raises(BadConfiguration, match="refuses the worker role"):
        await open_pool(database.dsn(DbRole.DEVICE), DbRole.WORKER, database.schema)


async def test_a_wrong_password_is_a_matter_of_configuration_and_is_not_repeated(database: Database) -> None:
    login, place = database.dsn(DbRole.DEVICE).split("@")
    with pytest.raises(BadConfiguration) as raised:
        await open_pool(f"{login}-secret@{place}", DbRole.DEVICE, database.schema)
    assert "-secret" not in str(raised.value)


async def test_a_database_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        await open_pool("postgresql://eim:hidden@127.0.0.1:1/eim", DbRole.DEVICE)
    assert "hidden" not in str(raised.value)


async def test_a_connection_lost_in_use_is_unavailable_and_the_next_one_works(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)

    async def lose_it() -> None:
        async with transaction(pool) as db:
            await _end(database, await db.fetchval("SELECT pg_backend_pid()"))
            await db.fetchval("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await lose_it()
    async with transaction(pool) as db:
        assert await db.fetchval("SELECT 1") == 1


async def test_a_connection_lost_while_idle_is_not_noticed(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    async with acquire(pool) as db:
        victim = await db.fetchval("SELECT pg_backend_pid()")
    await _end(database, victim)
    async with acquire(pool) as db:
        assert await db.fetchval("SELECT 1") == 1


async def _end(database: Database, backend: int) -> None:
    connection = await asyncpg.connect(database.superuser_dsn)
    await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", backend)
    await connection.close()


async def test_an_error_of_ours_stays_what_it_is(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with transaction(database.pool(DbRole.WORKER)) as db:
            await db.execute("SELECT * FROM nowhere")
    with pytest.raises(asyncpg.InterfaceError):
        async with transaction(database.pool(DbRole.WORKER)) as db:
            await db.fetchval("SELECT $1::integer")


async def test_an_exception_takes_the_transaction_back(database: Database) -> None:
    async def fail() -> None:
        async with transaction(database.owner()) as db:
            await db.execute("DELETE FROM leases")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await database.owner().fetchval("SELECT count(*) FROM leases") == 1024


async def test_a_full_pool_is_unavailable_not_a_wait_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eim.store.connect._CONNECT_TIMEOUT_S", 0.05)
    pool = await open_pool(database.dsn(DbRole.WORKER), DbRole.WORKER, database.schema, size=1)
    try:
        async with acquire(pool):
            with pytest.raises(DatabaseUnavailable, match="in time"):
                async with acquire(pool):
                    pass
    finally:
        await pool.close()


async def test_the_tenant_is_set_for_one_transaction_only(database: Database) -> None:
    pool = await open_pool(database.dsn(DbRole.OPERATOR), DbRole.OPERATOR, database.schema, size=1)
    async with transaction(pool, DEFAULT_TENANT) as db:
        assert await db.fetchval("SELECT current_setting('eim.tenant', true)") == "1"
    async with transaction(pool) as db:
        assert not await db.fetchval("SELECT current_setting('eim.tenant', true)")
    await pool.close()


async def test_json_goes_in_and_comes_out_as_plain_values(database: Database) -> None:
    value = {"text": "ü", "list": [1, None, {"deep": True}]}
    async with acquire(database.pool(DbRole.WORKER)) as db:
        assert await db.fetchval("SELECT $1::jsonb", value) == value
        assert await db.fetchval("SELECT array_agg(u) FROM unnest($1::jsonb[]) AS u", [value, {}]) == [value, {}]
        assert await db.fetchval("SELECT $1::jsonb ->> 'text'", value) == "ü"
        assert await db.fetchval("SELECT $1::jsonb IS NULL", None) is True


async def test_whoever_only_prepared_keeps_no_migration_waiting(database: Database) -> None:
    """A lane of a device process prepares when it starts, and may have nothing to ask for days."""
    async with acquire(database.pool(DbRole.DEVICE)) as db, acquire(database.pool(DbRole.DEVICE)) as other:
        await glances.prepare(db, 300)
        await handouts.prepare(other)
        async with database.owner().acquire() as owner, owner.transaction():
            await owner.execute("SET LOCAL lock_timeout = '2s'")
            await owner.execute("LOCK TABLE euiccs, operations, requests, packages, mailbox IN ACCESS EXCLUSIVE MODE")
