"""Sealing ahead and unsealing: whatever is ordered, closed, withdrawn and fetched in whatever order, what goes out is
the first that may, under a counter above all that went out before."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim.domain.ids import Bucket, Eid
from eim.domain.operation import Kind, State
from eim.errors import Conflict
from eim.services.sealing import plan
from eim.services.tokens import SETUP
from eim.sim.euicc import VirtualEuicc
from eim.store.work import Open
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

_AHEAD = 3
_EID = Eid(bytes(16))
_ELIGIBLE = """
    SELECT o.id FROM operations o JOIN gates g ON g.id = o.gate
     WHERE o.eid = $1 AND o.state IN ('accepted', 'sealed') AND o.not_before <= now() AND o.held IS NULL AND g.open
       AND (o.closes_at IS NULL OR o.closes_at > now())
     ORDER BY o.priority, o.ordinal LIMIT 1
"""
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
_PACKAGES = "SELECT operation FROM packages WHERE eid = $1 ORDER BY number"
_HEAD = "SELECT operation, counter, handed_at, highest_handed FROM mailbox WHERE eid = $1"


def _open(place: int, priority: int, state: State, *, eligible: bool) -> Open:
    return Open(
        bucket=Bucket(0),
        eid=_EID,
        id=UUID(int=place),
        kind=Kind.LIST_PROFILES,
        iccid=None,
        rollback=False,
        details=None,
        priority=priority,
        ordinal=place,
        gate=1,
        not_before=datetime(2026, 1, 1, tzinfo=UTC),
        closes_at=None,
        state=state,
        speaks=None,
        introduced=True,
        on_trial=False,
        eligible=eligible or state is State.ACCEPTED,  # what may not go out and is not sealed is not even looked at
    )


_EACH = st.tuples(st.sampled_from([0, 50, 100]), st.sampled_from([State.ACCEPTED, State.SEALED]), st.booleans())


@given(st.lists(_EACH, max_size=8), st.booleans())
def test_a_plan_keeps_the_order_fills_the_room_and_takes_back_what_is_overtaken_or_stuck(
    drawn: list[tuple[int, State, bool]], out: bool
) -> None:
    opened = [_open(place, p, state, eligible=e) for place, (p, state, e) in enumerate(drawn, 1)]
    if out:
        opened.append(_open(99, 0, State.OUT, eligible=True))
    opened.sort(key=lambda o: (o.priority, o.ordinal))
    made = plan(Bucket(0), _EID, opened, _AHEAD)
    waiting = [o for o in opened if o.state is State.ACCEPTED]
    sealed = [o for o in opened if o.state is State.SEALED]
    overtaken = any(_before(a, s) or not s.eligible for a in waiting for s in sealed)
    assert made.overtaken == overtaken
    if overtaken:
        assert made.seal == ()
        return
    assert made.seal == tuple(waiting)[: len(made.seal)], "nothing is passed over"
    in_front = [o for o in opened if o.state is not State.ACCEPTED and o.eligible]
    assert len(made.seal) == min(max(_AHEAD - len(in_front), 0), len(waiting))


def _before(one: Open, other: Open) -> bool:
    return (one.priority, one.ordinal) < (other.priority, other.ordinal)


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 40))])
async def test_what_goes_out_is_the_first_that_may_and_counters_only_rise(database: Database, seed: int) -> None:
    draw = random.Random(seed)
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    await rig.visit(card)
    await database.owner().execute("INSERT INTO gates (id, open) VALUES (9, true)")
    walk = _Walk(rig, card, draw)
    for _ in range(60):
        await walk.step()
    await database.owner().execute("UPDATE gates SET open = true")
    waiting = "UPDATE operations SET closes_at = NULL, not_before = now() WHERE state IN ('accepted', 'out')"
    await database.owner().execute(waiting)
    await database.owner().execute("UPDATE mailbox SET closes_at = NULL, not_before = now()")
    for _ in range(4):
        await rig.visit(card)
    left = "SELECT count(*) FROM operations WHERE state NOT IN ('done', 'failed', 'withdrawn', 'expired')"
    assert await database.owner().fetchval(left) == 0, "none is lost"
    assert walk.handed == sorted(set(walk.handed)), "counters only rise"


class _Walk:
    """One card, and what anybody may do to it, drawn at random."""

    def __init__(self, rig: Rig, card: VirtualEuicc, draw: random.Random) -> None:
        self._rig, self._card, self._draw = rig, card, draw
        self._placed: list[UUID] = []
        self._package: bytes | None = None
        self.handed: list[int] = []

    async def step(self) -> None:
        deeds = (self._order, self._order, self._work, self._poll, self._poll, self._answer, self._withdraw)
        await self._draw.choice((*deeds, self._gate, self._close))()
        row = await self._row(_HEAD)
        assert row is not None
        dead = row["handed_at"] is None and row["counter"] is not None and row["counter"] <= row["highest_handed"]
        assert not dead, "a seal below what went out is dead"

    async def _order(self) -> None:
        priority = self._draw.choice([50, 100, 100])
        kind = self._draw.choice([Kind.LIST_PROFILES, Kind.LIST_PROFILES, Kind.DATA_REQUEST])
        placed = await self._rig.order(self._card, kind, priority=priority)
        self._placed.append(placed)
        if self._draw.random() < 0.3:
            await self._sql("UPDATE operations SET gate = 9 WHERE id = $1", placed)

    async def _work(self) -> None:
        await self._rig.work()

    async def _poll(self) -> None:
        """What is handed out anew is the first that may go out."""
        await self._rig.work()
        before, first = await self._row(_HEAD), await self._row(_ELIGIBLE)
        self._package = await self._rig.poll(self._card)
        if self._package is None:  # what was in the way has been taken back
            self._package = await self._rig.poll(self._card)
        after = await self._row(_HEAD)
        assert before is not None
        assert after is not None
        if before["handed_at"] is not None:
            return
        if first is None:
            assert self._package is None
            return
        assert self._package is not None, "what may go out does"
        assert after["operation"] == first["id"]
        if after["counter"] is not None:
            self.handed.append(after["counter"])

    async def _answer(self) -> None:
        if self._package is not None:
            await self._rig.provide(self._card, self._rig.execute(self._card, self._package))
            self._package = None

    async def _withdraw(self) -> None:
        if self._placed:
            try:
                await self._rig.operations.withdraw(SETUP, self._draw.choice(self._placed))
            except Conflict:
                return  # it has ended

    async def _gate(self) -> None:
        await self._sql("UPDATE gates SET open = NOT open WHERE id = 9")

    async def _close(self) -> None:
        """The window of one that waits closes; another day it opens."""
        for table, key in (("operations", "id"), ("packages", "operation"), ("mailbox", "operation")):
            if self._placed:
                closed = f"UPDATE {table} SET closes_at = now() WHERE {key} = $1"
                await self._sql(closed, self._placed[-1])
        if self._placed:
            await self._sql("UPDATE operations SET opening = 'Mon 03:00-03:01 UTC' WHERE id = $1", self._placed[-1])

    async def _sql(self, statement: str, *values: object) -> None:
        await self._rig.database.owner().execute(statement, *values)

    async def _row(self, statement: str) -> dict[str, Any] | None:
        row = await self._rig.database.owner().fetchrow(statement, self._card.eid)
        return dict(row) if row else None


_SIZES = [6, pytest.param(25, marks=pytest.mark.slow), pytest.param(125, marks=pytest.mark.slow)]


@pytest.mark.parametrize("each", _SIZES)
async def test_orders_of_8_clients_at_once_go_out_in_their_order_with_rising_counters(
    database: Database, each: int
) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    await rig.visit(card)

    async def client() -> None:
        for _ in range(each):
            await rig.order(card, Kind.LIST_PROFILES)

    async def device() -> None:
        async with asyncio.timeout(600):
            while await database.owner().fetchval(_DONE) < 8 * each:
                package = await rig.poll(card)
                if package is not None:
                    await rig.provide(card, rig.execute(card, package))

    await asyncio.gather(device(), *(client() for _ in range(8)))
    rows = await database.owner().fetch(
        "SELECT o.ordinal, p.counter, o.handed_at FROM operations o "
        "JOIN packages p ON p.bucket = o.bucket AND p.operation = o.id AND p.state = 'ended' "
        "WHERE o.order_id IS NOT NULL ORDER BY o.handed_at, p.number"
    )
    assert len(rows) == 8 * each
    _rises([row["counter"] for row in rows])
    _rises([row["ordinal"] for row in rows])
    assert len(card.results) == 0


_DONE = "SELECT count(*) FROM operations WHERE order_id IS NOT NULL AND state = 'done'"


def _rises(values: Sequence[int]) -> None:
    assert all(one < other for one, other in pairwise(values))


async def test_what_happens_to_a_card_that_the_worker_waits_for_is_what_it_seals(database: Database) -> None:
    """Its rows are locked before they are looked at: no package is made for what was withdrawn meanwhile, and what came
    before the rest goes first."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    await rig.visit(card)
    before = len(await database.owner().fetch(_PACKAGES, card.eid))
    gone, kept = [await rig.order(card, Kind.LIST_PROFILES) for _ in range(2)]
    async with database.owner().acquire() as db, asyncio.timeout(20):
        async with db.transaction():
            await db.execute("SELECT 1 FROM euiccs WHERE eid = $1 FOR UPDATE", card.eid)
            work = asyncio.create_task(rig.work())
            while not await db.fetchval(_WAITING):  # noqa: ASYNC110 - another session waits
                await asyncio.sleep(0.01)
            await db.execute("UPDATE operations SET state = 'withdrawn', ended_at = now() WHERE id = $1", gone)
            await db.execute("UPDATE operations SET priority = 10 WHERE id = $1", kept)
        await work
    made = await database.owner().fetch(_PACKAGES, card.eid)
    assert [row["operation"] for row in made[before:]] == [kept]
    assert (await rig.operation(gone))["state"] == "withdrawn"
