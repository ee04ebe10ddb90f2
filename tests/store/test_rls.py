import asyncpg
import pytest

from eim.domain.ids import DEFAULT_TENANT, TenantId
from eim.store.connect import DbRole, Pool, transaction
from tests.database import Database
from tests.store.rows import BUCKET, EID, OTHER_TENANT, fill

_WITH_TENANT = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
       AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant')
"""
_UNGUARDED = _WITH_TENANT + " AND NOT c.relrowsecurity"
_OF_AN_EUICC = {"packages", "requests"}  # no tenant of their own: their eUICC's counts
_GUARDED = {
    *("tenants", "identities", "tokens", "requests_seen", "orders", "euiccs", "profiles", "operations", "packages"),
    *("mailbox", "results", "notifications", "requests", "events", "audit", "traces"),
    *("webhooks", "webhook_dead_letters", "departed", "euicc_tags", "imports", "import_problems", "smdps"),
    *("denials", "denial_rounds"),
    *("identity_keys", "handovers", "handover_cards", "spreads"),
}


async def _visible(pool: Pool, tenant: TenantId | None) -> dict[str, int]:
    async with transaction(pool, tenant) as db:
        return {table: await db.fetchval(f"SELECT count(*) FROM {table}") for table in sorted(_GUARDED)}


async def test_every_table_with_a_tenant_has_row_level_security(database: Database) -> None:
    owner = database.owner()
    assert await owner.fetch(_UNGUARDED, database.schema) == []
    found = {row["relname"] for row in await owner.fetch(_WITH_TENANT, database.schema)}
    assert found == _GUARDED - _OF_AN_EUICC - {"tenants"}, "a new table: add it to what these tests fill"


async def test_an_operator_without_a_tenant_sees_no_row_of_any_table(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    assert await _visible(database.pool(DbRole.OPERATOR), None) == dict.fromkeys(_GUARDED, 0)


async def test_an_operator_sees_no_row_of_another_tenant_in_any_table(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    seen = await _visible(database.pool(DbRole.OPERATOR), DEFAULT_TENANT)
    assert seen == dict.fromkeys(_GUARDED, 0) | {"tenants": 1}  # itself


async def test_an_operator_sees_the_rows_of_its_own_tenant(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    assert await _visible(database.pool(DbRole.OPERATOR), OTHER_TENANT) == dict.fromkeys(_GUARDED, 1)


async def test_the_tenant_ends_with_its_transaction(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    async with database.pool(DbRole.OPERATOR).acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT set_config('eim.tenant', '2', true)")
            assert await connection.fetchval("SELECT count(*) FROM euiccs") == 1
        assert await connection.fetchval("SELECT count(*) FROM euiccs") == 0


async def test_an_operator_writes_nothing_for_another_tenant(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    pool = database.pool(DbRole.OPERATOR)
    async with transaction(pool, DEFAULT_TENANT) as db:
        changed = await db.execute("UPDATE euiccs SET label = 'mine' WHERE bucket = $1 AND eid = $2", BUCKET, EID)
    assert changed == "UPDATE 0"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with transaction(pool, DEFAULT_TENANT) as db:
            await db.execute(
                "INSERT INTO events (bucket, id, eid, tenant, kind, data) "
                "VALUES ($1, gen_random_uuid(), $2, 2, 'x', '{}')",
                BUCKET,
                EID,
            )


async def test_an_operator_asks_nothing_of_workers_for_another_tenants_device(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    insert = "INSERT INTO requests (bucket, id, eid, kind, reason) VALUES ($1, gen_random_uuid(), $2, 'audit', '')"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with transaction(database.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
            await db.execute(insert, BUCKET, EID)
    async with transaction(database.pool(DbRole.OPERATOR), OTHER_TENANT) as db:
        await db.execute(insert, BUCKET, EID)


@pytest.mark.parametrize("role", [DbRole.DEVICE, DbRole.WORKER])
async def test_device_and_worker_serve_all_tenants(database: Database, role: DbRole) -> None:
    await fill(database, OTHER_TENANT)
    async with transaction(database.pool(role)) as db:
        assert await db.fetchval("SELECT count(*) FROM euiccs") == 1
        assert await db.fetchval("SELECT count(*) FROM operations") == 1


async def test_a_token_is_found_by_its_hash_before_its_tenant_is_known(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    async with transaction(database.pool(DbRole.OPERATOR)) as db:
        assert await db.fetchval("SELECT tenant FROM find_token($1)", b"\xaa") == OTHER_TENANT
        assert await db.fetchval("SELECT tenant FROM find_token($1)", b"\xbb") is None


@pytest.mark.parametrize("role", [DbRole.DEVICE, DbRole.WORKER])
async def test_only_the_operator_role_looks_tokens_up(database: Database, role: DbRole) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with transaction(database.pool(role)) as db:
            await db.fetchval("SELECT tenant FROM find_token($1)", b"\xaa")
