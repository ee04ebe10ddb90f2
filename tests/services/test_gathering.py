"""Polls answered many at once: the same answers, and the same rows left behind, as if each had come alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from eim.domain import denial
from eim.domain.ids import Eid, bucket_of
from eim.domain.operation import Kind
from eim.errors import EimError
from eim.protocol.esipa import NO_PACKAGE, bare_poll
from eim.services.gathering import Gathering
from eim.services.polls import Polls, Seen
from eim.services.waiting import Waiters
from eim.sim.euicc import VirtualEuicc
from eim.store import handouts, mailbox
from eim.store.connect import DbRole, Pool
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

CARDS: Final = 8  # four answered alone, four at once
HERE: Final = "192.0.2.1"

# What is there before the polls, for every card or for half of them.
SCENES: Final = {
    "ready": "SELECT",
    "out already": "UPDATE mailbox SET handed_at = now(), deliveries = 3",
    "not yet": "UPDATE mailbox SET not_before = now() + interval '1 hour'",
    "no more": "UPDATE mailbox SET closes_at = now() - interval '1 hour'",
    "a closed gate": "UPDATE gates SET open = false",
    "barred": "UPDATE mailbox SET barred = true",
    "traced": "UPDATE euiccs SET traced_until = now() + interval '1 hour', trace_left = 10",
    "was traced": "UPDATE euiccs SET traced_until = now() - interval '1 hour', trace_left = 10",
    "asked for": "INSERT INTO requests (bucket, id, eid, kind, reason) "
    "SELECT bucket, gen_random_uuid(), eid, 'audit', 'test' FROM euiccs",
    "denied by its maker": "INSERT INTO denials (id, tenant, mark, reason, created_by) "
    "SELECT DISTINCT ON (mark) gen_random_uuid(), 1, 'ein:' || left(encode(eid, 'hex'), 8) AS mark, 'x', 'x' "
    "FROM euiccs",
    "denied by a mark": "WITH marked AS (UPDATE euiccs SET marks = ARRAY['cert:00'] RETURNING 1) "
    "INSERT INTO denials (id, tenant, mark, reason, created_by) VALUES (gen_random_uuid(), 1, 'cert:00', 'x', 'x')",
    "a denial that ended": "INSERT INTO denials (id, tenant, mark, reason, created_by, expires_at) "
    "SELECT DISTINCT ON (mark) gen_random_uuid(), 1, 'ein:' || left(encode(eid, 'hex'), 8) AS mark, 'x', 'x', "
    "now() - interval '1 hour' FROM euiccs",
    "nothing": "UPDATE mailbox SET sealed = NULL, number = NULL, operation = NULL, counter = NULL",
}
ROWS: Final = {
    "mailbox": "SELECT number, counter, sealed IS NULL AS empty, handed_at IS NULL AS kept, deliveries, highest_handed,"
    " barred FROM mailbox WHERE bucket = $1 AND eid = $2",
    "operations": "SELECT kind, state, doubt, handed_at IS NULL AS kept FROM operations WHERE bucket = $1 AND eid = $2"
    " ORDER BY ordinal",
    "packages": "SELECT number, state FROM packages WHERE bucket = $1 AND eid = $2 ORDER BY number",
    "audit": "SELECT actor, action, data FROM audit WHERE bucket = $1 AND action = 'package.handed' AND subject IN"
    " (SELECT id::text FROM operations WHERE bucket = $1 AND eid = $2) ORDER BY (data ->> 'number')::int",
    "requests": "SELECT kind FROM requests WHERE bucket = $1 AND eid = $2",
}


class Caller:
    """One poll, until it is answered."""

    peer = HERE
    source = 1

    def __init__(self, polls: Polls, eid: Eid) -> None:
        self._polls = polls
        self._eid = eid
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def nothing(self) -> None:
        self.answer.set_result(NO_PACKAGE)

    def hear(self, found: bytes | EimError | None) -> None:
        if isinstance(found, bytes):
            self.answer.set_result(found)
        elif found is None:
            self._task = asyncio.create_task(self._alone())
        else:
            self.answer.set_exception(found)

    async def _alone(self) -> None:
        self.answer.set_result(await self._polls.answer(bare_poll(self._eid), HERE))


@asynccontextmanager
async def waiting_for(pool: Pool, patience: float) -> AsyncIterator[Waiters]:
    """Waiters that wait for so many seconds."""
    waiters = Waiters(pool, patience)
    running = asyncio.create_task(waiters.run())
    try:
        yield waiters
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def gathering(rig: Rig, waiters: Waiters | None = None) -> AsyncIterator[tuple[Gathering, Polls]]:
    pool = rig.database.pool(DbRole.DEVICE)
    polls = Polls(pool, waiters or rig.waiters, Seen(pool), rigs.now, NO_PACKAGE)
    gathered = Gathering(pool, polls, 2)
    running = asyncio.create_task(gathered.run())
    try:
        yield gathered, polls
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def polled(gathered: Gathering, polls: Polls, cards: Sequence[VirtualEuicc]) -> list[bytes]:
    """What each hears, all of them at once."""
    callers = [Caller(polls, Eid(card.eid)) for card in cards]
    for caller, card in zip(callers, cards, strict=True):
        gathered.ask_bare(Eid(card.eid), caller)
    async with asyncio.timeout(10):
        return list(await asyncio.gather(*(caller.answer for caller in callers)))


@pytest.fixture
async def rig(database: Database) -> Rig:
    made = await rigs.start(database, CARDS)
    await made.onboard()
    for card in made.cards:
        await made.visit(card)
    return made


async def left(rig: Rig, card: VirtualEuicc) -> dict[str, list[dict[str, object]]]:
    key = (bucket_of(Eid(card.eid)), card.eid)
    return {name: [dict(row) for row in await rig.database.owner().fetch(query, *key)] for name, query in ROWS.items()}


@pytest.mark.parametrize("scene", SCENES)
async def test_at_once_or_alone_polls_hear_the_same_and_leave_the_same_rows(rig: Rig, scene: str) -> None:
    for card in rig.cards:
        await rig.order(card, Kind.LIST_PROFILES)
    await rig.work()
    if SCENES[scene] != "SELECT":
        await rig.database.owner().execute(SCENES[scene])
    alone, together = rig.cards[: CARDS // 2], rig.cards[CARDS // 2 :]
    async with gathering(rig) as (gathered, polls):
        for times in range(3):  # looked at in full, then in short
            expected = [len(await polls.answer(bare_poll(card.eid), HERE)) for card in alone]
            heard = [len(answer) for answer in await polled(gathered, polls, together)]
            assert heard == expected, times
    assert [await left(rig, card) for card in together] == [await left(rig, card) for card in alone]


async def test_those_who_waited_for_a_seal_are_handed_it_in_one_transaction(rig: Rig) -> None:
    pool = rig.database.pool(DbRole.DEVICE)
    for card in rig.cards:
        await rig.order(card, Kind.LIST_PROFILES)
    async with waiting_for(pool, 5.0) as waiters, gathering(rig, waiters) as (gathered, polls):
        asked = asyncio.create_task(polled(gathered, polls, rig.cards))
        await asyncio.sleep(0.2)  # all of them wait now
        assert not asked.done()
        await rig.work()
        assert all(answer != NO_PACKAGE for answer in await asked)
    transactions = await rig.database.owner().fetch(
        "SELECT xmin::text, count(*) AS many FROM mailbox WHERE deliveries = 1 GROUP BY 1"
    )
    assert sum(row["many"] for row in transactions) == CARDS
    assert len(transactions) <= CARDS // 2


async def test_who_waited_and_is_not_simple_is_handed_its_package_alone(rig: Rig) -> None:
    """Its exchange is to be kept for an operator, which only who is answered by itself has."""
    card, pool = rig.cards[0], rig.database.pool(DbRole.DEVICE)
    await rig.database.owner().execute("UPDATE euiccs SET traced_until = now() + interval '1 hour', trace_left = 9")
    await rig.order(card, Kind.LIST_PROFILES)
    async with waiting_for(pool, 5.0) as waiters, gathering(rig, waiters) as (gathered, polls):
        asked = asyncio.create_task(polled(gathered, polls, [card]))
        await asyncio.sleep(0.2)
        await rig.work()
        (answer,) = await asked
    assert answer != NO_PACKAGE
    (head,) = (await left(rig, card))["mailbox"]
    assert head["deliveries"] == 1
    assert await rig.database.owner().fetchval("SELECT count(*) FROM traces") == 2  # what it said and was told


async def test_the_same_card_twice_at_once_is_handed_the_same_octets_twice(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.LIST_PROFILES)
    await rig.work()
    async with gathering(rig) as (gathered, polls):
        answers = await polled(gathered, polls, [card] * 5)
    assert len(set(answers)) == 1
    assert answers[0] != NO_PACKAGE
    (head,) = (await left(rig, card))["mailbox"]
    assert head["deliveries"] == 5


async def test_work_that_comes_after_a_card_was_looked_at_goes_out_at_its_next_poll(rig: Rig) -> None:
    card = rig.cards[0]
    async with gathering(rig) as (gathered, polls):
        for _ in range(20):
            assert await polled(gathered, polls, [card]) == [NO_PACKAGE]
            await rig.order(card, Kind.LIST_PROFILES)
            await rig.work()
            (answer,) = await polled(gathered, polls, [card])
            assert answer != NO_PACKAGE
            await rig.provide(card, rig.execute(card, rigs.inner(answer)))


async def test_who_is_locked_by_somebody_delays_the_others_no_longer_than_a_stop_may_wait(rig: Rig) -> None:
    for card in rig.cards:
        await rig.order(card, Kind.LIST_PROFILES)
    await rig.work()
    stuck, *others = rig.cards
    async with rig.database.owner().acquire() as db, gathering(rig) as (gathered, polls):
        await polled(gathered, polls, [])
        held = db.transaction()
        await held.start()
        await db.execute(
            "SELECT 1 FROM mailbox WHERE bucket = $1 AND eid = $2 FOR UPDATE", bucket_of(Eid(stuck.eid)), stuck.eid
        )
        one = asyncio.create_task(polled(gathered, polls, [stuck]))
        started = asyncio.get_running_loop().time()
        answers = await polled(gathered, polls, others)
        assert asyncio.get_running_loop().time() - started < 2
        assert all(answer != NO_PACKAGE for answer in answers)
        await held.rollback()
        await asyncio.gather(one, return_exceptions=True)


def test_what_is_taken_many_at_a_time_is_taken_as_alone() -> None:
    """The two statements: conditions and effects that one has, the other has, too."""
    for part in (
        "m.sealed IS NOT NULL AND m.not_before <= now() AND NOT m.barred",
        "(m.closes_at IS NULL OR m.closes_at > now()) AND g.id = m.gate AND g.open",
        "handed_at = coalesce(m.handed_at, now()), deliveries = m.deliveries + 1",
        "highest_handed = greatest(m.highest_handed, coalesce(m.counter, 0))",
        "d.tenant = m.tenant AND d.lifted_at IS NULL",
        "(d.expires_at IS NULL OR d.expires_at > now())",
        "SET state = 'out', handed_at = now()",
        "o.state IN ('accepted', 'sealed')",
        "'device', 'package.handed', t.operation::text",
    ):
        assert part in " ".join(mailbox._TAKE.split())
        assert part in " ".join(handouts._TAKE.split())
    marks = denial.of_eid(Eid(bytes(range(16))))
    for mark in marks:
        size = len(mark.removeprefix("ein:"))
        assert mark.startswith("eid:") or f"'ein:' || left(u.digits, {size})" in handouts._TAKE
    assert handouts._TAKE.count("'ein:'") == len(marks) - 1
