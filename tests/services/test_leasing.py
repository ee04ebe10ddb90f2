"""Several workers on one database: who holds which bucket, and that never two do."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pytest

from eim.domain.ids import BUCKETS, Bucket
from eim.errors import LeaseLost
from eim.services.leasing import Leasing, share_of
from eim.store.connect import DbRole, transaction
from tests.database import Database

_TERM: Final = timedelta(seconds=1)
_FORGET: Final = "DELETE FROM workers WHERE id = $1"
_LOCK: Final = "SELECT 1 FROM workers WHERE id = $1 FOR UPDATE"
_THERE: Final = "SELECT EXISTS (SELECT 1 FROM workers WHERE id = $1)"
_FREE: Final = "UPDATE leases SET expires_at = '-infinity' WHERE holder = $1"
_STEPPED: Final = (
    "UPDATE workers SET expires_at = expires_at - $1::interval",
    "UPDATE leases SET expires_at = expires_at - $1::interval",
)


def _worker(database: Database, term: timedelta = timedelta(seconds=10)) -> Leasing:
    return Leasing(database.pool(DbRole.WORKER), uuid4(), term)


async def _settle(crew: Sequence[Leasing]) -> None:
    """As they do when they wake each other: whoever has too much gives up, then the others take."""
    for _ in range(2):
        for each in crew:
            await each.refresh()


def _held(crew: Sequence[Leasing]) -> list[int]:
    return [len(each.buckets) for each in crew]


async def _kill(database: Database, worker: Leasing) -> None:
    """As if its time and all grace were over."""
    await database.owner().execute(_FREE, worker.holder)
    await database.owner().execute(_FORGET, worker.holder)


async def _holders(database: Database, crew: Sequence[Leasing], bucket: Bucket) -> int:
    """How many of `crew` could write for `bucket` just now."""
    able = 0
    for each in crew:
        try:
            async with transaction(database.pool(DbRole.WORKER)) as db:
                await each.hold(db, [bucket])
            able += 1
        except LeaseLost:
            pass
    return able


@pytest.mark.parametrize("alive", [1, 2, 3, 4, 7, 1024])
def test_the_shares_of_all_suffice_for_every_bucket(alive: int) -> None:
    assert share_of(alive) * alive >= BUCKETS
    assert (share_of(alive) - 1) * alive < BUCKETS


async def test_workers_that_come_and_go_share_all_buckets_fairly(database: Database) -> None:
    crew = [_worker(database)]
    await _settle(crew)
    assert _held(crew) == [1024]
    crew += [_worker(database), _worker(database)]
    await _settle(crew)
    assert sorted(_held(crew)) == [340, 342, 342]
    gone = crew.pop()
    await gone._give_back()
    await _settle(crew)
    assert _held(crew) == [512, 512]
    await _kill(database, crew.pop())
    await _settle(crew)
    assert _held(crew) == [1024]


async def test_workers_that_stay_take_nothing_from_each_other(database: Database) -> None:
    crew = [_worker(database) for _ in range(3)]
    await _settle(crew)
    before = [sorted(each.leases) for each in crew]
    for _ in range(5):
        await _settle(crew)
    assert [sorted(each.leases) for each in crew] == before, "the same buckets in the same epochs"


async def test_what_a_round_works_on_is_given_up_when_it_ends(database: Database) -> None:
    first, second = _worker(database), _worker(database)
    await first.refresh()
    with first.round() as buckets:
        await second.refresh()
        await first.refresh()
        with first.round() as later:
            assert len(later) == 512, "a new round doesn't begin on what is about to go"
        async with transaction(database.pool(DbRole.WORKER)) as db:
            await first.hold(db, buckets)
        await second.refresh()
        assert len(second.buckets) == 0
    await first.refresh()
    await second.refresh()
    assert _held([first, second]) == [512, 512]


async def test_a_worker_that_was_stopped_past_its_term_writes_nothing_any_more(database: Database) -> None:
    slow, quick = _worker(database), _worker(database)
    await slow.refresh()
    await _kill(database, slow)
    await quick.refresh()
    for bucket in (Bucket(0), Bucket(1023)):
        assert await _holders(database, [slow, quick], bucket) == 1
    await slow.refresh()
    assert len(slow.buckets) == 0, "it comes back to nothing, and gets its share when the other gives up"
    await _settle([slow, quick])
    assert _held([slow, quick]) == [512, 512]


async def test_one_that_froze_in_the_middle_of_its_refresh_holds_up_nobody(database: Database) -> None:
    frozen, other = _worker(database, _TERM), _worker(database, _TERM)
    await _settle([frozen, other])
    async with database.owner().acquire() as held, held.transaction():
        await held.execute(_LOCK, frozen.holder)
        async with asyncio.timeout(8):  # a statement that waits is given up after ten seconds
            while len(other.buckets) < BUCKETS:
                await asyncio.sleep(0.1)
                await other.refresh()
        assert await database.owner().fetchval(_THERE, frozen.holder)
    await other.refresh()
    assert not await database.owner().fetchval(_THERE, frozen.holder)


@pytest.mark.parametrize("moves", [60, pytest.param(1500, marks=pytest.mark.slow)])
async def test_whatever_workers_do_no_bucket_has_two_holders(database: Database, moves: int) -> None:
    draw = random.Random(moves)
    crew = [_worker(database) for _ in range(4)]
    for _ in range(moves):
        some = draw.sample(crew, draw.randint(1, 4))
        match draw.choice(["refresh", "refresh", "dead", "leave", "fence"]):
            case "refresh":
                await asyncio.gather(*(each.refresh() for each in some))
            case "dead":
                await _kill(database, some[0])
            case "leave":
                await some[0]._give_back()
                crew[crew.index(some[0])] = _worker(database)
            case _:
                await some[0].fence_all()
        assert await _holders(database, crew, Bucket(draw.randrange(BUCKETS))) <= 1
    await _settle(crew)
    await _settle(crew)
    assert sum(_held(crew)) == BUCKETS


async def test_running_workers_balance_by_themselves_and_take_over_within_the_term(database: Database) -> None:
    crew = [_worker(database, _TERM) for _ in range(2)]
    async with AsyncExitStack() as stack:
        tasks = []
        for each in crew:
            await each.refresh()
            tasks.append(asyncio.create_task(each.run()))
            stack.callback(tasks[-1].cancel)
        await _until(lambda: _held(crew) == [512, 512], 2.0)
        tasks[0].cancel()  # as SIGTERM: it gives back at once
        await _until(lambda: _held(crew) == [0, 1024], 1.2)
        heir = _worker(database, _TERM)
        await heir.refresh()
        tasks.append(asyncio.create_task(heir.run()))
        stack.callback(tasks[-1].cancel)
        await _until(lambda: len(heir.buckets) == 512, 2.0)
        await _freeze(crew[1], tasks[1])
        await _until(lambda: len(heir.buckets) == 1024, 2.0)


async def _freeze(worker: Leasing, task: asyncio.Task[None]) -> None:
    """Stop renewing, as SIGKILL does: nothing is given back."""

    async def nothing() -> None:
        worker._held = {}

    worker._give_back = nothing  # type: ignore[method-assign]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _until(happened: object, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not happened():  # type: ignore[operator]  # noqa: ASYNC110 - the database is asked
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("hours", [-1, 1, 24])
async def test_a_step_of_the_databases_clock_steals_no_lease(database: Database, hours: int) -> None:
    """What the rows look like to everybody once that clock has jumped by so many hours."""
    first, second = _worker(database), _worker(database)
    await _settle([first, second])
    before = sorted(first.leases), sorted(second.leases)
    for statement in _STEPPED:
        await database.owner().execute(statement, timedelta(hours=hours))
    await _settle([first, second])
    assert (sorted(first.leases), sorted(second.leases)) == before
    left = await database.owner().fetch("SELECT expires_at - now() AS left FROM workers")
    assert all(timedelta(0) < row["left"] <= timedelta(minutes=2) for row in left)
