"""How far events may be read, with transactions that commit late, early, and not at all."""

import asyncio
import random

import pytest

from eim.domain.ids import DEFAULT_TENANT
from eim.services.horizon import Horizon
from eim.store import events
from eim.store.connect import DbRole, acquire, transaction
from eim.store.events import Wanted
from tests.database import Database
from tests.operator_side import eid_of
from tests.post_office import event_of

pytestmark = pytest.mark.made_up_events

# No transaction lasts: the tests beside this one would wait for its end.
_DRAW = """
    DO $$ BEGIN
        LOOP
            PERFORM nextval('event_turns') FROM generate_series(1, 1000);
            COMMIT;
        END LOOP;
    END $$
"""
_READ = """
    DO $$ DECLARE turn bigint := 0; read bigint; BEGIN
        FOR i IN 1..300000 LOOP
            read := ({last});
            IF read < turn THEN RAISE 'read % after %', read, turn; END IF;
            turn := read;
        END LOOP;
    END $$
"""
EVERYTHING = Wanted(("operation.done",))


async def safe(database: Database, horizon: Horizon, patience: float = 20.0) -> int:
    """How far is safe. Patient: a transaction in any database of the cluster, another test's, holds it back."""
    async with acquire(database.pool(DbRole.WORKER)) as db:
        return await horizon.caught_up(db, patience)


async def happen(database: Database, number: int, n: int) -> None:
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await events.append(db, DEFAULT_TENANT, [event_of(eid_of(number), n)])


async def test_what_is_committed_can_be_read_once_nothing_is_under_way(database: Database) -> None:
    horizon = Horizon()
    await happen(database, 1, 1)
    assert await safe(database, horizon) == 1


async def test_an_open_transaction_holds_back_its_own_turn_and_later_ones(database: Database) -> None:
    horizon = Horizon()
    await happen(database, 1, 1)
    await safe(database, horizon)
    async with transaction(database.pool(DbRole.DEVICE)) as slow:
        await events.append(slow, DEFAULT_TENANT, [event_of(eid_of(2), 1)])
        await happen(database, 3, 1)
        assert await safe(database, horizon, 0.5) == 1
    assert await safe(database, horizon) == 3


async def test_a_turn_whose_transaction_was_rolled_back_is_a_gap_and_holds_nothing_back(database: Database) -> None:
    horizon = Horizon()
    try:
        async with transaction(database.pool(DbRole.DEVICE)) as db:
            await events.append(db, DEFAULT_TENANT, [event_of(eid_of(1), 1)])
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    await happen(database, 2, 1)
    assert await safe(database, horizon) == 2


async def test_the_highest_turn_is_never_read_too_high_beside_who_draws(database: Database) -> None:
    """A turn that reads too high falls at the next look; the sequence's own row did so once in some thousand reads."""
    drawing = asyncio.create_task(database.owner().execute(_DRAW, timeout=60))
    try:
        while not await database.owner().fetchval("SELECT is_called FROM event_turns"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await database.owner().execute(_READ.format(last=events._LAST_TURN), timeout=60)
        assert not drawing.done()
    finally:
        drawing.cancel()


async def test_a_reader_beside_many_writers_misses_nothing_and_sees_each_card_in_order(database: Database) -> None:
    """Writers commit in another order than they insert; some roll back; each card's events come under its lock."""
    locks = [asyncio.Lock() for _ in range(4)]
    running, written = True, 0

    async def write(seed: int) -> None:
        nonlocal written
        chance = random.Random(seed)
        for n in range(25):
            card = chance.randrange(4)
            async with locks[card]:
                try:
                    async with transaction(database.pool(DbRole.DEVICE)) as db:
                        await events.append(db, DEFAULT_TENANT, [event_of(eid_of(card), seed * 100 + n)])
                        await asyncio.sleep(chance.random() * 0.02)
                        if chance.random() < 0.1:
                            raise ZeroDivisionError
                    written += 1
                except ZeroDivisionError:
                    pass

    async def read() -> list[int]:
        horizon, place, found = Horizon(), 0, []
        while True:
            last = not running
            reached = await safe(database, horizon)
            async with acquire(database.pool(DbRole.WORKER)) as db:
                rows = await events.after(db, DEFAULT_TENANT, EVERYTHING, (place, reached), 1000)
            found += [row.turn for row in rows]
            place = max(place, reached)
            if last:
                return found

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write(seed) for seed in range(4)))
    running = False
    found = await reader
    all_turns = [row["turn"] for row in await database.owner().fetch("SELECT turn FROM events ORDER BY turn")]
    assert found == all_turns
    assert len(found) == written
