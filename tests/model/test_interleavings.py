"""Every ordered pair of what may happen to one eUICC, interleaved at every SQL boundary (reliability test 63).

A pair runs together with one round of the worker. Schedules are drawn from a seed, so that a failure can be repeated:
its message names the pair, the seed and every step.
"""

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from types import ModuleType
from typing import Final

import asyncpg
import msgspec
import pytest

from eim.errors import Unavailable
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.sim.journal import check
from eim.store import associations, mailbox
from eim.store.connect import DbRole, Pool
from tests.chaos.evidence import faults
from tests.database import Database
from tests.model.actions import Action, Doer, other_tenant, start_of
from tests.model.scene import Scene
from tests.model.scheduler import Pick, Scheduler, Step, controlled
from tests.services import rig as rigs

PAIRS: Final = tuple((first, second) for first, second in product(Action, Action))
_SMOKE: Final = 2  # schedules of a pair
_FULL: Final = int(os.environ.get("EIM_INTERLEAVINGS", "100000"))
_ENDED: Final = frozenset({"done", "failed", "withdrawn", "expired"})
_GONE: Final = frozenset({Action.DELETE, Action.MOVE})


class Controlled(Database):
    """The test's database, as the services of a run see it."""

    def __init__(self, database: Database, scheduler: Scheduler) -> None:
        self.name = database.name
        self._real = database
        self._scheduler = scheduler
        self._controlled: dict[DbRole, Pool] = {}

    def pool(self, role: DbRole) -> Pool:
        if role is DbRole.OWNER:
            return self._real.pool(role)
        if role not in self._controlled:
            self._controlled[role] = controlled(self._real.pool(role), self._scheduler)
        return self._controlled[role]

    async def seed_identity(self, **values: object) -> object:  # type: ignore[override] # passed on as it is
        return await self._real.seed_identity(**values)  # type: ignore[arg-type]


class Outcome(msgspec.Struct, frozen=True):
    """One interleaving, and what was wrong after it."""

    pair: tuple[Action, Action]
    steps: tuple[Step, ...]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"  {step.actor}: {step.what}" for step in self.steps]
        return "\n".join([f"{self.pair[0]} with {self.pair[1]}: {'; '.join(self.faults)}", *lines])


class Model:
    """Guards one card's scene and judges what interleavings did to it."""

    def __init__(self, doer: Doer, scheduler: Scheduler, database: Database) -> None:
        self._doer = doer
        self._scheduler = scheduler
        self._database = database
        self._settled: set[tuple[tuple[Action, Action], str]] = set()
        self.traces: set[tuple[tuple[Action, Action], tuple[str, ...]]] = set()

    async def run(self, pair: tuple[Action, Action], pick: Pick) -> Outcome:
        """One interleaving from the pair's start; then the device comes until nothing is left, and all is judged."""
        await self._doer.begin(start_of(*pair), pair)
        deeds = {"first": self._doer.deed(pair[0]), "second": self._doer.deed(pair[1]), "worker": self._doer.worker}
        steps = tuple(await self._scheduler.run(deeds, pick))
        self.traces.add((pair, tuple(step.actor for step in steps)))
        wrong = [
            f"{name} ended with {error!r}"
            for name, error in self._scheduler.errors.items()
            if not isinstance(error, Unavailable)
        ]
        state = pair, await self._doer.scene.digest()
        if wrong or state not in self._settled:
            self._settled.add(state)
            wrong += await self._settle(pair)
        return Outcome(pair, steps, tuple(wrong))

    async def _settle(self, pair: tuple[Action, Action]) -> list[str]:
        """What I1 to I5 say, after the device reported all that its card stores and fetched all there is."""
        rig, card = self._doer.rig, self._doer.scene.card
        for _ in range(3):
            for stored in card.results:
                await rig.provide(card, stored.raw)
            try:
                await rig.visit(card)
            except AssertionError as endless:
                return [str(endless)]
        report = check(rig.journal.entries)
        wrong = [] if report.sound else [f"{report.twice}, {report.conflicting}, {report.repeated}"]
        if not _GONE & set(pair):
            wrong += await faults(self._database.owner(), rig.journal.entries)
        states = {str(row["state"]) for row in await rig.rows("operations", card)}
        wrong += [f"operations are left {sorted(states - _ENDED)}"] if states - _ENDED else []
        return wrong + await self._judge_view(pair)

    async def _judge_view(self, pair: tuple[Action, Action]) -> list[str]:
        """What the eIM believes of the card is what the card is."""
        if Action.DELETE in pair:
            return []
        made = self._doer.rig.fleet.cards[0]
        carriers = {made.profile_a: CARRIER_A, made.profile_b: CARRIER_B}
        enabled, believed = self._doer.scene.card.enabled, await self._doer.rig.enabled(self._doer.scene.card)
        truth = carriers[enabled] if enabled else None
        return [] if believed == truth else [f"{truth} is enabled, {believed} is believed to be"]


@asynccontextmanager
async def model(database: Database) -> AsyncIterator[Model]:
    """One card with its eIM in one process, all its starts saved."""
    superuser = await asyncpg.connect(database.superuser_dsn)
    try:
        await superuser.execute(f"ALTER DATABASE {database.name} SET deadlock_timeout = '20ms'")
        await superuser.execute(f"ALTER DATABASE {database.name} SET jit = off")
        scheduler = Scheduler(await asyncpg.connect(database.superuser_dsn))
        watched = Controlled(database, scheduler)
        rig = await rigs.start(watched)
        doer = Doer(Scene(rig, database, superuser), watched, await other_tenant(database))
        await doer.prepare()
        yield Model(doer, scheduler, database)
    finally:
        superuser.terminate()


def drawn(seed: int) -> Pick:
    """Who goes on, drawn: mostly who went on before, so that few switches reach deep."""
    chance, last = random.Random(seed), ""
    keep = chance.choice((0.0, 0.5, 0.8, 0.9))

    def pick(ready: Sequence[str]) -> str:
        nonlocal last
        if last not in ready or chance.random() > keep:
            last = chance.choice(ready)
        return last

    return pick


async def first_fault(played: Model, many: int, seed: int) -> Outcome | None:
    """Run up to `many` schedules, the pairs in turn, until one of them shows a fault."""
    for number in range(many):
        outcome = await played.run(PAIRS[number % len(PAIRS)], drawn(seed + number))
        if outcome.faults:
            return outcome
    return None


async def test_the_invariants_hold_after_every_pair_of_actions(database: Database) -> None:
    async with model(database) as played:
        fault = await first_fault(played, _SMOKE * len(PAIRS), seed=0)
        assert fault is None, str(fault)
        assert len(played.traces) > (_SMOKE - 1) * len(PAIRS), "the schedules do not differ"


@pytest.mark.slow
async def test_the_invariants_hold_after_a_hundred_thousand_interleavings(database: Database) -> None:
    """All different ones: who went on at which boundary."""
    async with model(database) as played:
        seed = 1_000_000
        while len(played.traces) < _FULL:
            fault = await first_fault(played, len(PAIRS), seed)
            assert fault is None, str(fault)
            seed += len(PAIRS)
            print(f"interleavings={len(played.traces)} of {_FULL}")  # noqa: T201 - long work shows itself


_UNDER_LOCK: Final = "FOR UPDATE OF e"
_NEVER_HANDED: Final = "OR p.state = 'head' AND m.handed_at IS NULL"


@pytest.mark.parametrize(
    ("module", "constant", "without", "instead"),
    [
        pytest.param(associations, "_LOCK", _UNDER_LOCK, "", id="nobody-locks-the-eUICC"),
        pytest.param(mailbox, "_KILL", _NEVER_HANDED, "OR p.state = 'head'", id="what-is-out-is-unsealed"),
    ],
)
async def test_a_seeded_fault_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, module: ModuleType, constant: str, without: str, instead: str
) -> None:
    assert without in getattr(module, constant)
    monkeypatch.setattr(module, constant, getattr(module, constant).replace(without, instead))
    async with model(database) as played:
        assert await first_fault(played, 20 * len(PAIRS), seed=7) is not None
