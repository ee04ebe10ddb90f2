"""The rows of eUICCs: how many of them are locked at once."""

import asyncio
from typing import Final

import asyncpg
import pytest

from eim.domain.ids import DEFAULT_TENANT, Bucket, Eid, TenantId
from eim.store import euiccs
from eim.store.connect import DbRole, transaction
from tests.database import Database

_CARDS: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter)
    SELECT ($1 + n) % 64, decode(lpad(to_hex($1 + n), 32, '0'), 'hex'), 1, 1, 0
      FROM generate_series(1, $2::integer) AS n
"""
_READ: Final = """
    SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0) FROM pg_stat_user_indexes
     WHERE relname = 'euiccs'
"""


def _at(number: int) -> tuple[Bucket, Eid]:
    return Bucket(number % 64), Eid(number.to_bytes(16, "big"))


async def test_many_are_locked_in_order_until_the_transaction_ends(database: Database) -> None:
    await database.seed_identity()
    await database.owner().execute(_CARDS, 0, 300)
    meant = [_at(number) for number in (300, 7, 71, 64, 5, 7)]
    async with transaction(database.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
        locked = await euiccs.lock_many(db, DEFAULT_TENANT, [*meant, _at(301)])
        assert [(at.bucket, at.eid) for at in locked] == sorted(set(meant))
        for bucket, eid in meant:
            with pytest.raises(asyncpg.LockNotAvailableError):
                await database.owner().execute(
                    "SELECT 1 FROM euiccs WHERE bucket = $1 AND eid = $2 FOR UPDATE NOWAIT", bucket, eid
                )
        await database.owner().execute(
            "SELECT 1 FROM euiccs WHERE bucket = 6 AND eid = $1 FOR UPDATE NOWAIT", _at(6)[1]
        )


async def test_a_card_of_another_tenant_is_not_locked(database: Database) -> None:
    await database.seed_identity()
    await database.owner().execute(_CARDS, 0, 3)
    async with transaction(database.pool(DbRole.WORKER)) as db:
        assert await euiccs.lock_many(db, TenantId(2), [_at(1), _at(2)]) == []
        assert len(await euiccs.lock_many(db, DEFAULT_TENANT, [_at(1), _at(2)])) == 2


async def test_two_that_lock_the_same_cards_never_wait_for_each_other(database: Database) -> None:
    await database.seed_identity()
    await database.owner().execute(_CARDS, 0, 500)
    cards = [_at(number) for number in range(1, 501)]

    async def one(meant: list[tuple[Bucket, Eid]]) -> int:
        async with transaction(database.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
            return len(await euiccs.lock_many(db, DEFAULT_TENANT, meant))

    for _ in range(10):
        assert list(await asyncio.gather(one(cards), one(cards[::-1]), one(cards[100:]))) == [500, 500, 400]


async def test_each_card_is_read_by_its_key_also_by_a_plan_of_the_time_when_there_were_few(database: Database) -> None:
    await database.seed_identity()
    owner = database.owner()
    await owner.execute(_CARDS, 0, 10)
    await owner.execute("ANALYZE")
    async with transaction(database.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
        await euiccs.lock_many(db, DEFAULT_TENANT, [_at(number) for number in range(1, 11)])
        await owner.execute(_CARDS, 10, 5000)
        before = await db.fetchval(_READ)
        assert len(await euiccs.lock_many(db, DEFAULT_TENANT, [_at(number) for number in range(11, 511)])) == 500
        assert await db.fetchval(_READ) - before == 500
