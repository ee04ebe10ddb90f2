import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from eim.errors import LeaseLost
from eim.store import leases
from eim.store.connect import DbRole, Pool, transaction
from eim.store.leases import Lease
from tests.database import Database

_PAST = timedelta(seconds=-1)
_ALL = 1024


async def _take(pool: Pool, holder: UUID, wanted: int, kept: timedelta = leases.KEPT) -> tuple[Lease, ...]:
    async with transaction(pool) as db:
        return await leases.take(db, holder, wanted, (), kept)


async def _renew(pool: Pool, holder: UUID, own: Sequence[Lease]) -> tuple[Lease, ...]:
    async with transaction(pool) as db:
        return await leases.renew(db, holder, own)


async def _release(pool: Pool, holder: UUID, own: Sequence[Lease]) -> None:
    async with transaction(pool) as db:
        await leases.release(db, holder, own)


async def test_a_bucket_has_one_holder(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    first = await _take(pool, uuid4(), 1000)
    second = await _take(pool, uuid4(), 1000)
    assert (len(first), len(second)) == (1000, 24)
    assert not {lease.bucket for lease in first} & {lease.bucket for lease in second}


async def test_workers_that_take_at_once_share_no_bucket(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    taken = await asyncio.gather(*(_take(pool, uuid4(), 300) for _ in range(4)))
    buckets = [lease.bucket for own in taken for lease in own]
    assert len(buckets) == len(set(buckets)) > 300


async def test_an_expired_lease_passes_to_the_next_with_a_higher_epoch(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    old = await _take(pool, uuid4(), _ALL, _PAST)
    new = await _take(pool, uuid4(), _ALL)
    assert [lease.epoch for lease in new] == [lease.epoch + 1 for lease in old]


async def test_a_late_write_of_an_old_epoch_is_refused(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    slow, quick = uuid4(), uuid4()
    old = await _take(pool, slow, 5, _PAST)
    await _take(pool, quick, _ALL)
    with pytest.raises(LeaseLost):
        async with transaction(pool) as db:
            await leases.hold(db, slow, old)


async def test_an_epoch_of_ones_own_that_passed_is_refused_too(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    holder = uuid4()
    old = await _take(pool, holder, 1, _PAST)
    new = await _take(pool, holder, _ALL)
    assert old[0].bucket in {lease.bucket for lease in new}
    with pytest.raises(LeaseLost):
        async with transaction(pool) as db:
            await leases.hold(db, holder, old)


async def test_a_lease_that_expired_but_was_not_taken_still_holds(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    holder = uuid4()
    own = await _take(pool, holder, 3, _PAST)
    async with transaction(pool) as db:
        await leases.hold(db, holder, own)


@pytest.mark.parametrize("times", [30, pytest.param(1000, marks=pytest.mark.slow)])
async def test_no_late_write_is_accepted_however_often_a_worker_sleeps_past_its_lease(
    database: Database, times: int
) -> None:
    """It sleeps before its transaction, or within it before it asks for its leases; the heir has written meanwhile."""
    pool = database.pool(DbRole.WORKER)
    await database.owner().execute("CREATE TABLE written (epoch bigint)")
    await database.owner().execute("GRANT INSERT ON written TO eim_worker")
    accepted = 0
    holder = uuid4()
    own = await _take(pool, holder, 1, _PAST)
    for number in range(times):
        heir = uuid4()
        async with pool.acquire() as slow:
            begun = slow.transaction()
            if number % 2:
                await begun.start()
                await slow.execute("SELECT now()")
            new = await _take(pool, heir, 1, _PAST)
            async with transaction(pool) as db:
                await leases.hold(db, heir, new)
                await db.execute("INSERT INTO written VALUES ($1)", new[0].epoch)
            if not number % 2:
                await begun.start()
            try:
                await leases.hold(slow, holder, own)
                await slow.execute("INSERT INTO written VALUES ($1)", own[0].epoch)
                await begun.commit()
                accepted += 1
            except LeaseLost:
                await begun.rollback()
        holder, own = heir, new
    assert accepted == 0
    epochs = [row["epoch"] for row in await database.owner().fetch("SELECT epoch FROM written")]
    assert len(epochs) == len(set(epochs)) == times


async def test_nobody_takes_over_while_a_writer_is_at_it(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    writer, other = uuid4(), uuid4()
    own = await _take(pool, writer, 2, _PAST)
    async with transaction(pool) as db:
        await leases.hold(db, writer, own)
        taken = await _take(pool, other, _ALL)
    assert not set(taken) & {Lease(lease.bucket, lease.epoch + 1) for lease in own}
    assert len(taken) == _ALL - 2
    assert len(await _take(pool, other, _ALL)) == 2


async def test_a_renewed_lease_does_not_expire(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    holder = uuid4()
    own = await _take(pool, holder, 4, _PAST)
    assert await _renew(pool, holder, own) == own
    assert len(await _take(pool, uuid4(), _ALL)) == _ALL - 4


async def test_what_was_taken_over_is_not_renewed_nor_released(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    old_holder, new_holder = uuid4(), uuid4()
    old = await _take(pool, old_holder, 1, _PAST)
    new = await _take(pool, new_holder, _ALL)
    assert await _renew(pool, old_holder, old) == ()
    await _release(pool, old_holder, old)
    async with transaction(pool) as db:
        await leases.hold(db, new_holder, new)


async def test_released_buckets_are_free_at_once(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    holder = uuid4()
    own = await _take(pool, holder, _ALL)
    await _release(pool, holder, own[:10])
    assert [lease.bucket for lease in await _take(pool, uuid4(), _ALL)] == [lease.bucket for lease in own[:10]]


async def test_a_start_fences_all_that_came_before(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    before = uuid4()
    own = await _take(pool, before, 7)
    async with transaction(pool) as db:
        await leases.fence_all(db)
    with pytest.raises(LeaseLost):
        async with transaction(pool) as db:
            await leases.hold(db, before, own)
    assert len(await _take(pool, uuid4(), _ALL)) == _ALL


async def test_holding_and_renewing_at_once_never_deadlock(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    holder = uuid4()
    own = await _take(pool, holder, 200)

    async def write() -> None:
        async with transaction(pool) as db:
            await leases.hold(db, holder, own)

    await asyncio.gather(*(write() for _ in range(8)), *(_renew(pool, holder, own[::-1]) for _ in range(8)))


async def test_what_the_dead_hold_is_free_and_what_others_hold_is_not(database: Database) -> None:
    pool = database.pool(DbRole.WORKER)
    alive, dead, heir = uuid4(), uuid4(), uuid4()
    async with transaction(pool) as db:
        await leases.beat(db, alive)
        await leases.beat(db, dead, _PAST)
    kept, left = await _take(pool, alive, 500), await _take(pool, dead, _ALL)
    assert await _take(pool, heir, _ALL) == ()
    async with transaction(pool) as db:
        taken = await leases.take(db, heir, _ALL, [dead])
        assert taken == tuple(Lease(lease.bucket, lease.epoch + 1) for lease in left)
        await leases.hold(db, alive, kept)
        with pytest.raises(LeaseLost):
            await leases.hold(db, dead, left[:1])


async def test_a_worker_has_as_long_as_it_said_by_the_databases_clock(database: Database) -> None:
    first, second = uuid4(), uuid4()
    async with transaction(database.pool(DbRole.WORKER)) as db:
        await leases.beat(db, first, timedelta(hours=1))
        left = await leases.beat(db, second, timedelta(seconds=4))
        assert left == {first: pytest.approx(3600), second: pytest.approx(4)}
        await leases.shorten(db, timedelta(seconds=9))
        assert await leases.beat(db, second, _PAST) == {first: pytest.approx(9), second: pytest.approx(-1)}
        await leases.forget(db, [first, second])
        assert (await leases.beat(db, first)).keys() == {first}, "only the dead are struck out"


async def test_the_dead_are_remembered_as_long_as_they_hold_anything(database: Database) -> None:
    dead = uuid4()
    async with transaction(database.pool(DbRole.WORKER)) as db:
        await leases.beat(db, dead, _PAST)
        own = await leases.take(db, dead, 1)
        await leases.forget(db, [dead])
        assert dead in await leases.beat(db, uuid4())
        await leases.release(db, dead, own)
        await leases.forget(db, [dead])
        assert dead not in await leases.beat(db, uuid4())
