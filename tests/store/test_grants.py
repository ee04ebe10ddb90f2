import asyncpg
import pytest

from eim.store.connect import DbRole, group_role, transaction
from tests.database import Database
from tests.store.rows import BUCKET, EID, OPERATION, OTHER_TENANT, fill, put_package

_GROUPS = (DbRole.DEVICE, DbRole.OPERATOR, DbRole.WORKER)
_OPERATION = (
    "INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by) "
    "VALUES (1, gen_random_uuid(), '\\x00', 1, 1, 9, 'delete', 'device')"
)
_MAILBOX = "INSERT INTO mailbox (bucket, eid, tenant, sealed) VALUES (1, '\\x00', 1, '\\x00')"
_PACKAGE = (
    "INSERT INTO packages (bucket, eid, number, operation, identity, speaks, sealed, gate, not_before) "
    "VALUES (1, '\\x00', 9, gen_random_uuid(), 1, '1.2', '\\x00', 1, now())"
)
_REFUSED = (
    (DbRole.DEVICE, _OPERATION),
    (DbRole.DEVICE, _MAILBOX),
    (DbRole.DEVICE, _PACKAGE),
    (DbRole.DEVICE, "UPDATE mailbox SET sealed = '\\x00'"),
    (DbRole.DEVICE, "UPDATE mailbox SET sealed = NULL"),
    (DbRole.DEVICE, "UPDATE mailbox SET counter = 1"),
    (DbRole.DEVICE, "UPDATE packages SET sealed = '\\x00'"),
    (DbRole.DEVICE, "UPDATE packages SET number = 9"),
    (DbRole.DEVICE, "DELETE FROM packages"),
    (DbRole.DEVICE, "UPDATE operations SET kind = 'delete'"),
    (DbRole.DEVICE, "UPDATE operations SET iccid = '\\x00'"),
    (DbRole.DEVICE, "UPDATE euiccs SET counter = counter + 1"),
    (DbRole.DEVICE, "UPDATE euiccs SET tenant = 2"),
    (DbRole.DEVICE, "UPDATE euiccs SET key_number = 1"),
    (DbRole.DEVICE, "UPDATE euiccs SET next_key = 1"),
    (DbRole.DEVICE, "UPDATE euiccs SET stalled = NULL"),
    (DbRole.DEVICE, "UPDATE handover_cards SET stage = 'done'"),
    (DbRole.OPERATOR, "UPDATE euiccs SET key_number = 1"),
    (DbRole.OPERATOR, "UPDATE handover_cards SET operation = NULL"),
    (DbRole.OPERATOR, "INSERT INTO identity_keys (identity, number) VALUES (1, 9)"),
    (DbRole.OPERATOR, "SELECT turn_key(1::smallint, '\\x00', 1::smallint)"),
    (DbRole.OPERATOR, "SELECT take_back_seals(1::smallint, '\\x00')"),
    (DbRole.DEVICE, "UPDATE euiccs SET identity = 2"),
    (DbRole.DEVICE, "UPDATE euiccs SET unverifiable = true"),
    (DbRole.DEVICE, "INSERT INTO euiccs (bucket, eid, tenant, identity, counter) VALUES (1, '\\x00', 1, 1, 0)"),
    (DbRole.DEVICE, "UPDATE results SET octets = '\\x00'"),
    (DbRole.DEVICE, "DELETE FROM results"),
    (DbRole.DEVICE, "DELETE FROM requests"),
    (DbRole.DEVICE, "SELECT hash FROM tokens"),
    (DbRole.DEVICE, "SELECT key FROM requests_seen"),
    (DbRole.DEVICE, "SELECT subject FROM audit"),
    (DbRole.DEVICE, "UPDATE gates SET open = true"),
    (DbRole.DEVICE, "SELECT secrets FROM webhooks"),
    (DbRole.DEVICE, "SELECT failure FROM webhook_dead_letters"),
    (DbRole.OPERATOR, "UPDATE webhooks SET tenant = 2"),
    (DbRole.OPERATOR, "DELETE FROM webhook_dead_letters"),
    (DbRole.OPERATOR, "SELECT turn FROM webhook_places"),
    (DbRole.WORKER, "UPDATE webhooks SET secrets = '\\x00'"),
    (DbRole.WORKER, "UPDATE webhooks SET url = ''"),
    *((role, "UPDATE events SET turn = 0") for role in _GROUPS),
    (DbRole.DEVICE, "UPDATE notifications SET state = 'delivered'"),
    (DbRole.DEVICE, "UPDATE notifications SET octets = '\\x00'"),
    (DbRole.DEVICE, "SELECT address FROM smdps"),
    (DbRole.OPERATOR, "UPDATE notifications SET octets = '\\x00'"),
    (DbRole.OPERATOR, "UPDATE notifications SET attempts = 0"),
    (DbRole.OPERATOR, "UPDATE smdps SET tenant = 2"),
    (DbRole.WORKER, "UPDATE notifications SET octets = '\\x00'"),
    (DbRole.WORKER, "UPDATE smdps SET networks = '{}'"),
    (DbRole.DEVICE, "UPDATE leases SET epoch = epoch + 1"),
    (DbRole.DEVICE, "SELECT octets FROM traces"),
    (DbRole.DEVICE, "UPDATE denials SET lifted_at = now()"),
    (DbRole.DEVICE, "DELETE FROM denials"),
    (DbRole.DEVICE, "SELECT bucket FROM denial_rounds"),
    (DbRole.OPERATOR, "UPDATE denials SET mark = 'eid:00'"),
    (DbRole.OPERATOR, "UPDATE euiccs SET denied_by = NULL"),
    (DbRole.WORKER, "UPDATE denials SET lifted_at = now()"),
    (DbRole.DEVICE, "UPDATE euiccs SET traced_until = now()"),
    (DbRole.DEVICE, "UPDATE traces SET octets = '\\x00'"),
    (DbRole.DEVICE, "DELETE FROM traces"),
    (
        DbRole.OPERATOR,
        (
            "INSERT INTO traces (bucket, id, eid, tenant, at, direction, octets, size, peer, expires_at) "
            "VALUES (1, gen_random_uuid(), '\\x00', 1, now(), 'in', '\\x00', 1, '', now())"
        ),
    ),
    (DbRole.DEVICE, "INSERT INTO unknown_callers (eid, source, polls) VALUES ('\\x00', '', 1)"),
    (DbRole.DEVICE, "DELETE FROM unknown_callers"),
    (DbRole.DEVICE, "SELECT key FROM imports"),
    (DbRole.OPERATOR, "INSERT INTO unknown_callers (eid, source, polls) VALUES ('\\x00', '', 1)"),
    (DbRole.WORKER, "UPDATE imports SET accepted = 0"),
    (DbRole.OPERATOR, _PACKAGE),
    (DbRole.OPERATOR, _MAILBOX),
    (DbRole.OPERATOR, "UPDATE packages SET sealed = '\\x00'"),
    (DbRole.OPERATOR, "UPDATE mailbox SET sealed = '\\x00'"),
    (DbRole.OPERATOR, "SELECT sealed FROM mailbox"),
    (DbRole.OPERATOR, "SELECT sealed FROM packages"),
    (DbRole.OPERATOR, "UPDATE euiccs SET counter = counter + 1"),
    (DbRole.OPERATOR, "UPDATE euiccs SET tenant = 2"),
    (DbRole.OPERATOR, "UPDATE operations SET tenant = 2"),
    (DbRole.OPERATOR, "SELECT move_up(1::smallint, '\\x00')"),
    (DbRole.OPERATOR, "SELECT octets FROM strays"),
    (DbRole.OPERATOR, "DELETE FROM tenants"),
    (DbRole.OPERATOR, "INSERT INTO identities (id) VALUES (9)"),
    (DbRole.OPERATOR, "UPDATE identities SET key_name = 'other'"),
    (DbRole.OPERATOR, "SELECT hash FROM audit_links"),
    (DbRole.OPERATOR, "DELETE FROM departed"),
    (DbRole.DEVICE, "SELECT hash FROM audit_links"),
    (DbRole.DEVICE, "DELETE FROM euiccs"),
    (DbRole.WORKER, "UPDATE tenants SET most_euiccs = NULL"),
    (DbRole.WORKER, "UPDATE packages SET sealed = '\\x00'"),
    (DbRole.WORKER, "DELETE FROM packages"),
    (DbRole.WORKER, "UPDATE euiccs SET tenant = 2"),
    (DbRole.WORKER, "SELECT hash FROM tokens"),
    (DbRole.WORKER, "DELETE FROM results"),
    *((role, "UPDATE audit SET actor = 'nobody'") for role in _GROUPS),
    *((role, "DELETE FROM audit") for role in _GROUPS),
    *((role, "TRUNCATE audit") for role in _GROUPS),
    *((role, "UPDATE schema_migrations SET version = 0") for role in _GROUPS),
    *((role, "CREATE TABLE mine (id integer)") for role in _GROUPS),
    *((role, "CREATE TEMPORARY TABLE euiccs (id integer)") for role in _GROUPS),
    *((role, "ALTER TABLE audit DISABLE ROW LEVEL SECURITY") for role in _GROUPS),
)


@pytest.mark.parametrize(("role", "statement"), _REFUSED)
async def test_the_database_refuses(database: Database, role: DbRole, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"permission denied|must be owner"):
        async with transaction(database.pool(role)) as db:
            await db.execute(statement)


@pytest.mark.parametrize("role", _GROUPS)
async def test_every_role_adds_audit_records(database: Database, role: DbRole) -> None:
    async with transaction(database.pool(role), tenant=OTHER_TENANT) as db:
        await db.execute(
            "INSERT INTO audit (bucket, id, tenant, actor, action, subject, data) "
            "VALUES (1, gen_random_uuid(), 2, 'x', 'y', 'z', '{}')"
        )


async def test_no_role_owns_a_table_or_passes_row_level_security(database: Database) -> None:
    owner = database.owner()
    owners = await owner.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = $1", database.schema)
    assert [row["tableowner"] for row in owners] == ["eim_owner"]
    strong = await owner.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname LIKE 'eim%' AND rolname <> 'eim_superuser' "
        "AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
    )
    assert strong == []


@pytest.mark.parametrize("role", _GROUPS)
async def test_a_login_can_not_become_another_role(database: Database, role: DbRole) -> None:
    for other in {*map(group_role, _GROUPS), "eim_owner"} - {group_role(role)}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with transaction(database.pool(role)) as db:
                await db.execute(f"SET LOCAL ROLE {other}")


@pytest.mark.parametrize("role", [DbRole.DEVICE, DbRole.WORKER])
async def test_the_lowest_waiting_package_moves_up(database: Database, role: DbRole) -> None:
    await fill(database, OTHER_TENANT)
    async with transaction(database.owner()) as db:
        await put_package(db, 3, "waiting")
        sealed = await put_package(db, 2, "waiting")
        await db.execute("UPDATE packages SET state = 'ended' WHERE bucket = $1 AND number = 1", BUCKET)
        await db.execute("UPDATE mailbox SET handed_at = now(), deliveries = 4, highest_handed = 1")
    async with transaction(database.pool(role)) as db:
        assert await db.fetchval("SELECT move_up($1, $2)", BUCKET, EID) is True
        head = await db.fetchrow("SELECT * FROM mailbox WHERE bucket = $1 AND eid = $2", BUCKET, EID)
        states = await db.fetch(
            "SELECT state FROM packages WHERE bucket = $1 AND eid = $2 ORDER BY number", BUCKET, EID
        )
    assert head is not None
    assert (head["number"], head["counter"], head["sealed"], head["operation"]) == (2, 2, sealed, OPERATION)
    assert (head["handed_at"], head["deliveries"], head["highest_handed"]) == (None, 0, 1)
    assert [row["state"] for row in states] == ["ended", "head", "waiting"]


async def test_the_head_is_cleared_when_nothing_waits(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        assert await db.fetchval("SELECT move_up($1, $2)", BUCKET, EID) is True
        await db.execute("UPDATE packages SET state = 'ended' WHERE bucket = $1 AND eid = $2", BUCKET, EID)
        assert await db.fetchval("SELECT move_up($1, $2)", BUCKET, EID) is False
        head = await db.fetchrow("SELECT * FROM mailbox WHERE bucket = $1 AND eid = $2", BUCKET, EID)
    assert head is not None
    assert (head["number"], head["operation"], head["counter"], head["sealed"]) == (None, None, None, None)
    assert (head["handed_at"], head["deliveries"]) == (None, 0)


async def test_a_head_that_nobody_ended_is_not_replaced(database: Database) -> None:
    await fill(database, OTHER_TENANT)
    async with transaction(database.owner()) as db:
        await put_package(db, 2, "waiting")
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await db.execute("SELECT move_up($1, $2)", BUCKET, EID)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="still the head"):
        async with transaction(database.pool(DbRole.DEVICE)) as db:
            await db.execute("SELECT move_up($1, $2)", BUCKET, EID)


async def test_a_function_of_the_owner_is_closed_to_others_and_to_their_tables(database: Database) -> None:
    functions = await database.owner().fetch(
        "SELECT proname, proconfig, has_function_privilege('public', p.oid, 'EXECUTE') AS open "
        "FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1 AND prosecdef",
        database.schema,
    )
    assert {"move_up", "find_token"} <= {row["proname"] for row in functions}
    assert {tuple(row["proconfig"]) for row in functions} == {(f'search_path="{database.schema}", pg_temp',)}
    assert not [row["proname"] for row in functions if row["open"]]
