"""Sixty-four who sign for one eUICC at once: no counter is given twice, and few are passed over."""

import asyncio
import os
import random
from contextlib import suppress
from itertools import pairwise

import pytest

from eim.domain.ids import bucket_of
from eim.errors import Unavailable
from eim.services.sealing import Sealer
from eim.store.connect import DbRole, open_pool
from tests.database import Database
from tests.services import rig as rigs

_ISSUERS = 64
_BATCH = 200
_AT_ONCE = 20
_ORDERED = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by)
    SELECT $1, gen_random_uuid(), $2, 1, 1, 1000 + $4 + n, 'listProfileInfo', 'a test' FROM generate_series(1, $3) AS n
"""
_LEFT = "SELECT count(*) FROM operations WHERE state = 'accepted'"
_MADE = "SELECT counter, count(*) AS times, count(DISTINCT sealed) AS different FROM packages GROUP BY 1 ORDER BY 1"


# What was issued counts as done: open, it would have to be read at each look.
_DONE = (
    "UPDATE operations SET state = 'done' WHERE state = 'sealed'",
    "UPDATE mailbox SET number = NULL, operation = NULL, counter = NULL, sealed = NULL",
    "UPDATE packages SET state = 'ended', queued = false WHERE state <> 'ended'",
)


@pytest.mark.parametrize("batches", [1, pytest.param(int(os.environ.get("EIM_BATCHES", "50")), marks=pytest.mark.slow)])
async def test_64_issuers_at_once_give_each_counter_once(database: Database, batches: int) -> None:
    """Reliability 19. 200 packages a batch. Who is cut off in the middle leaves no gap; who finds that another was
    faster passes over what it had drawn."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    await rig.visit(card)
    at, began = (bucket_of(card.eid), card.eid), (await rig.rows("euiccs", card))[0]["counter"]
    pool = await open_pool(database.dsn(DbRole.WORKER), DbRole.WORKER, None, _ISSUERS)
    chance = random.Random(19)

    async def issuer() -> None:
        sealer = Sealer(pool, rig.keys, _BATCH)
        while await database.owner().fetchval(_LEFT):
            with suppress(TimeoutError, Unavailable):  # as the worker: again
                async with asyncio.timeout(chance.choice((0.02, 30))):
                    await sealer.seal([at], rig.leasing.hold, _AT_ONCE)

    try:
        for number in range(batches):
            await database.owner().execute(_ORDERED, *at, _BATCH, number * _BATCH)
            await asyncio.gather(*(issuer() for _ in range(_ISSUERS)))
            for statement in _DONE:
                await database.owner().execute(statement)
    finally:
        pool.terminate()
    made = [row for row in await database.owner().fetch(_MADE) if row["counter"] is not None]
    assert all((row["times"], row["different"]) == (1, 1) for row in made)
    counters = [row["counter"] for row in made if row["counter"] > began]
    assert len(counters) == batches * _BATCH
    assert all(other - one <= _ISSUERS * _AT_ONCE for one, other in pairwise([began, *counters]))
    assert (await rig.rows("euiccs", card))[0]["counter"] >= counters[-1]
