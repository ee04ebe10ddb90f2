"""The rows of many eUICCs are locked as they were given, however they are found."""

import asyncio

from eim.domain.ids import Bucket, Eid
from eim.store import associations
from eim.store.connect import DbRole, transaction
from tests.database import Database

_FIRST, _SECOND = ((Bucket(7), Eid(bytes(15) + bytes([n]))) for n in (1, 2))
_CARD = "INSERT INTO euiccs (bucket, eid, tenant, identity, counter) VALUES ($1, $2, 1, 1, 0)"
_LOCK = "SELECT 1 FROM euiccs WHERE bucket = $1 AND eid = $2 FOR NO KEY UPDATE NOWAIT"
_OTHERWISE = "SET LOCAL enable_nestloop = off"  # a plan that finds them in the order of its own
_WAITING = """
    SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE NOT l.granted AND a.datname = current_database()
"""


async def test_who_waits_for_the_first_of_them_has_not_locked_the_others(database: Database) -> None:
    await database.seed_identity()
    for card in (_FIRST, _SECOND):
        await database.owner().execute(_CARD, *card)

    async def hold() -> None:
        async with transaction(database.pool(DbRole.WORKER)) as db:
            await db.execute(_OTHERWISE)
            await associations.hold(db, [_SECOND, _FIRST])

    async with transaction(database.owner()) as other:
        await other.execute(_LOCK, *_SECOND)
        held = asyncio.create_task(hold())
        async with asyncio.timeout(20):
            while not await database.owner().fetchval(_WAITING):  # noqa: ASYNC110 - nothing tells of a lock
                await asyncio.sleep(0.01)
        async with transaction(database.owner()) as third:
            assert await third.fetchval(_LOCK, *_FIRST) == 1
    await held
