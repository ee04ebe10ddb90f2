"""The look for due work: what it reads, whom it finds behind those who can't be served, and whose turn it is."""

from datetime import timedelta
from typing import Final

import asyncpg
import pytest

from eim.domain.ids import Bucket, Eid
from eim.store import due
from eim.store.connect import DbRole, transaction
from eim.store.due import Question
from tests.database import Database

_EVERY: Final = [Bucket(bucket) for bucket in range(1024)]
_IDENTITY: Final = """
    INSERT INTO identities (id, tenant, eim_id, eim_id_type, fqdn, curve, public_key, key_name)
    VALUES ($1, $1, $2, 2, $2, 'P-256', '', $2)
"""
# The n-th card has its n in its EID, lies in the bucket of its n modulo `over`, and has one thing to do: the lower its
# n, the longer.
_CARDS: Final = (
    """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter, introduced_at, speaks)
    SELECT n % $3, decode(lpad(to_hex($1 * 1000000 + n), 32, '0'), 'hex'), $1, $1, 0, now(), '1.2'
      FROM generate_series(0, $2::integer - 1) AS n
    """,
    """
    INSERT INTO mailbox (bucket, eid, tenant)
    SELECT bucket, eid, tenant FROM euiccs WHERE identity = $1 AND $2 > 0 AND $3 > 0
    """,
    """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by, not_before)
    SELECT n % $3, gen_random_uuid(), decode(lpad(to_hex($1 * 1000000 + n), 32, '0'), 'hex'), $1, $1, 1,
           'listProfileInfo', 'a test', now() - interval '1 day' + n * interval '1 ms'
      FROM generate_series(0, $2::integer - 1) AS n
    """,
)
_READ: Final = """
    SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0)
      FROM pg_stat_user_indexes WHERE relname IN ('operations', 'euiccs', 'mailbox', 'packages')
"""
_ROWS: Final = """
    SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(relid)), 0)
      FROM pg_stat_user_tables WHERE relname IN ('operations', 'euiccs', 'mailbox', 'packages')
"""
_MANY: Final = 12_000


async def _cards(database: Database, tenant: int, many: int, over: int) -> None:
    """An identity of this tenant with so many cards, spread over so many buckets."""
    owner = database.owner()
    await owner.execute(
        "INSERT INTO tenants (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", tenant, str(tenant)
    )
    await owner.execute(_IDENTITY, tenant, f"eim-{tenant}")
    for statement in _CARDS:
        await owner.execute(statement, tenant, many, over)


async def _vacuum(database: Database) -> None:
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _read_by_a_look(database: Database, limit: int) -> int:
    """Entries of indexes and rows of scans that one look reads, of all that lies by eUICC."""
    async with transaction(database.pool(DbRole.WORKER)) as db:
        before = await db.fetchval(_READ) + await db.fetchval(_ROWS)
        assert len(await due.ask(db, _EVERY, Question(slow=False, limit=limit))) == limit
        return int(await db.fetchval(_READ) + await db.fetchval(_ROWS) - before)


@pytest.mark.parametrize("counted", ["when ten were due", "just now", "just now, and vacuumed"])
async def test_a_look_reads_what_it_wants_however_much_is_due(database: Database, counted: str) -> None:
    """In a first campaign the statistics are of the time before; later the planner takes all that is due for cheap."""
    await _cards(database, 1, 10, over=64)
    await _vacuum(database)
    await _cards(database, 2, _MANY, over=64)
    if counted != "when ten were due":
        await database.owner().execute("ANALYZE")
    if counted.endswith("vacuumed"):
        await _vacuum(database)
    few, more = await _read_by_a_look(database, 64), await _read_by_a_look(database, 640)
    assert few < 64 * 2 * 10, "a step to each pair, and of each the oldest two: tenants may take twice their share"
    assert more < 640 * 2 * 6
    await database.owner().execute(
        "DELETE FROM operations WHERE not_before > now() - interval '1 day' + interval '1 s'"
    )
    await _vacuum(database)
    assert few <= await _read_by_a_look(database, 64) * 1.5, "twelve times as much is due, and it reads the same"


async def test_who_is_due_is_found_behind_any_number_that_cannot_be_served(database: Database) -> None:
    """The oldest of a pair are each in the way for another reason: what comes behind them is due all the same."""
    await _cards(database, 1, 70, over=1)
    owner, of = database.owner(), "WHERE bucket = 0 AND get_byte(eid, 15) "
    await owner.execute("INSERT INTO gates (id, open) VALUES (9, false)")
    await owner.execute(f"UPDATE operations SET gate = 9 {of} & 7 = 0")
    await owner.execute(f"UPDATE mailbox SET barred = true {of} & 7 = 1")
    await owner.execute(f"UPDATE euiccs SET handed_over_at = now() {of} & 7 = 2")
    await owner.execute(f"UPDATE operations SET closes_at = now() - interval '1 s' {of} & 7 = 3")
    await owner.execute(f"UPDATE euiccs SET stalled = 'counterExhausted' {of} & 7 = 4")
    resting = [Eid(bytes(13) + (1_000_000 + n).to_bytes(3, "big")) for n in range(70)]
    ahead = (
        "SELECT 0, eid, n, gen_random_uuid(), 1, '1.2', '', 1, now(), 'waiting' FROM euiccs, generate_series(1, 3) AS n"
    )
    await owner.execute(
        "INSERT INTO packages (bucket, eid, number, operation, identity, speaks, sealed, gate, not_before, state) "
        f"{ahead} {of} & 7 = 5"
    )
    async with transaction(database.pool(DbRole.WORKER)) as db:
        asked = Question(slow=False, limit=5)
        first = await due.ask(db, _EVERY, asked)
        rest = await due.ask(db, _EVERY, Question(slow=False, limit=5, resting=[each.eid for each in first]))
    assert [each.eid for each in first + rest] == [eid for eid in resting if eid[15] & 7 > 5][:10]


async def test_a_head_is_in_front_of_a_card_where_it_may_go_out(database: Database) -> None:
    """Beside two that wait it fills the room for three: not behind a closed gate, and not after its window."""
    await _cards(database, 1, 8, over=1)
    owner, of = database.owner(), "WHERE bucket = 0 AND get_byte(eid, 15) "
    await owner.execute("INSERT INTO gates (id, open) VALUES (9, false)")
    await owner.execute(
        "INSERT INTO packages (bucket, eid, number, operation, identity, speaks, sealed, gate, not_before, state) "
        "SELECT 0, eid, n, gen_random_uuid(), 1, '1.2', '', 1, now(), 'waiting' FROM euiccs, generate_series(2, 3) AS n"
    )
    await owner.execute(f"UPDATE mailbox SET number = 1, sealed = '\\xBF51' {of} & 3 <> 0")
    await owner.execute(f"UPDATE mailbox SET gate = 9 {of} & 3 = 2")
    await owner.execute(f"UPDATE mailbox SET closes_at = now() - interval '1 s' {of} & 3 = 3")
    async with transaction(database.pool(DbRole.WORKER)) as db:
        found = await due.ask(db, _EVERY, Question(slow=False))
    assert sorted(each.eid[15] & 3 for each in found) == [0, 0, 2, 2, 3, 3]


async def test_a_tenant_with_everything_in_one_bucket_has_its_turns_too(database: Database) -> None:
    await _cards(database, 1, 3000, over=1024)
    await _cards(database, 2, 300, over=1)
    async with transaction(database.pool(DbRole.WORKER)) as db:
        found = await due.ask(db, _EVERY, Question(slow=False, limit=100))
    assert [sum(each.tenant == tenant for each in found) for tenant in (1, 2)] == [50, 50]


async def test_each_lane_finds_its_identities_among_those_of_the_other(database: Database) -> None:
    for tenant in (1, 2, 3, 4):
        await _cards(database, tenant, 6, over=2)
    await database.owner().execute("UPDATE identities SET curve = 'brainpoolP256r1' WHERE id IN (2, 4)")
    found = {}
    async with transaction(database.pool(DbRole.WORKER)) as db:
        for slow in (False, True):
            found[slow] = [each.identity for each in await due.ask(db, _EVERY, Question(slow=slow))]
    assert {slow: sorted(of) for slow, of in found.items()} == {False: [1] * 6 + [3] * 6, True: [2] * 6 + [4] * 6}


async def test_who_became_due_lately_is_found_for_itself(database: Database) -> None:
    await _cards(database, 1, 50, over=8)
    newest = "UPDATE operations SET not_before = now() - interval '3 s' WHERE bucket = 3 AND get_byte(eid, 15) & 31 = 3"
    await database.owner().execute(newest)
    async with transaction(database.pool(DbRole.WORKER)) as db:
        since = await due.now(db) - timedelta(seconds=30)
        found = await due.ask(db, _EVERY, Question(slow=False, since=since))
    assert found
    assert {each.bucket for each in found} == {3}
