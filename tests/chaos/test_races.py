"""All that may happen to one eUICC, at the same time and often: what must hold afterwards (design 3.2 to 3.4)."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import pytest

from eim.domain.euicc import Speaks
from eim.domain.ids import Eid, bucket_of
from eim.domain.operation import Kind
from eim.errors import Conflict, Unavailable
from eim.protocol.esipa import NO_PACKAGE
from eim.services import worker
from eim.services.tokens import SETUP
from eim.sim import messages
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.sim.journal import check
from eim.store import requests
from eim.store.connect import DbRole, transaction
from eim.store.requests import Ask
from tests.chaos.evidence import faults
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig, inner

_SECONDS: Final = 4.0
_SEEDS: Final = 2
_ORDERS: Final = (
    (Kind.ENABLE, CARRIER_A),
    (Kind.ENABLE, CARRIER_B),
    (Kind.DISABLE, CARRIER_B),
    (Kind.LIST_PROFILES, None),
    (Kind.DATA_REQUEST, None),
)


class Everybody:
    """Guards what goes on around one card: its device, a thief, the operator, the worker."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig = rig
        self._card = rig.cards[0]
        self._chance = random.Random(seed)
        self._placed: list[UUID] = []
        self.refused = 0  # answered 503: the device comes again

    async def device(self) -> None:
        """Polls, executes, reports: each result twice, half of the time at once."""
        package = await self.polled()
        if package is None:
            return
        result = self._rig.execute(self._card, package)
        if self._chance.random() < 0.2:
            return  # it lost power; the result stays on the card, the same package is out still
        await asyncio.gather(*(self.report(result) for _ in range(self._chance.choice((1, 2)))))
        await self.report(result)

    async def polled(self) -> bytes | None:
        answer = await self._rig.send(messages.poll(self._card.eid, Speaks.V1_2, None, None))
        return None if answer is None or answer == NO_PACKAGE else inner(answer)

    async def report(self, result: bytes) -> None:
        await self._rig.provide(self._card, result)

    async def thief(self) -> None:
        """Polls in the card's name and throws the package away."""
        await self.polled()

    async def operator(self) -> None:
        kind, carrier = self._chance.choice(_ORDERS)
        priority = self._chance.choice((50, 100, 100))
        self._placed.append(await self._rig.order(self._card, kind, carrier, priority=priority, force_reason="a test"))
        await asyncio.sleep(self._chance.uniform(0, 0.05))

    async def regret(self) -> None:
        if self._placed:
            with suppress(Conflict):  # it has ended
                await self._rig.operations.withdraw(SETUP, self._chance.choice(self._placed[-3:]))
        await asyncio.sleep(self._chance.uniform(0, 0.05))

    async def reseal(self) -> None:
        """A new token or version was learnt."""
        card = self._card
        async with transaction(self._rig.database.pool(DbRole.DEVICE)) as db:
            await requests.add(db, bucket_of(Eid(card.eid)), Eid(card.eid), Ask.RESEAL, "a test")
        await asyncio.sleep(self._chance.uniform(0, 0.05))

    async def worker(self) -> None:
        await worker._survive("all", self._rig.worker.round, self._rig.leasing.refresh)
        await asyncio.sleep(0)

    async def until(self, stop: asyncio.Event, deed: Callable[[], Awaitable[None]]) -> None:
        while not stop.is_set():
            try:
                await deed()
            except Unavailable:
                self.refused += 1
            await asyncio.sleep(0)


async def settled(rig: Rig, card: VirtualEuicc) -> None:
    """The device alone, until nothing is left: first the results that its card still stores."""
    for stored in card.results:
        await rig.provide(card, stored.raw)
    for _ in range(5):
        await rig.visit(card)


@pytest.mark.parametrize("seed", range(_SEEDS))
async def test_nothing_is_lost_or_done_twice_when_everybody_acts_at_once(database: Database, seed: int) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    await rig.visit(card)
    everybody, stop = Everybody(rig, seed), asyncio.Event()
    deeds = (
        everybody.device,
        everybody.thief,
        everybody.operator,
        everybody.regret,
        everybody.reseal,
        everybody.worker,
    )
    async with asyncio.TaskGroup() as group:
        for deed in deeds:
            group.create_task(everybody.until(stop, deed))
        await asyncio.sleep(_SECONDS)
        stop.set()
    await settled(rig, card)
    report = check(rig.journal.entries)
    states = {row["state"] for row in await rig.rows("operations", card)}
    assert report.sound, (report.twice, report.conflicting, report.repeated)
    assert report.executed > 5, "too little happened"
    assert await faults(database.owner(), rig.journal.entries) == []
    assert states <= {"done", "failed", "withdrawn", "expired"}
    made = rig.fleet.cards[0]
    carriers = {made.profile_a: CARRIER_A, made.profile_b: CARRIER_B}
    assert await rig.enabled(card) == (carriers[card.enabled] if card.enabled else None)
