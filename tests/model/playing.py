"""Interleavings played: a pair of actions and a round of the worker, in the order that a seed draws; and judged."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from typing import Final

import asyncpg
import msgspec

from eim.errors import Unavailable
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.sim.journal import check
from eim.store.connect import DbRole, Pool, open_pool
from tests.chaos.evidence import faults
from tests.database import Database
from tests.model.actions import Action, Doer, other_tenant, start_of
from tests.model.front import Front, Way
from tests.model.loop import SteppingLoop
from tests.model.scene import Scene
from tests.model.scheduler import Pick, Scheduler, Step, Stuck, controlled
from tests.services import rig as rigs

Pair = tuple[Action, Action]

PAIRS: Final[tuple[Pair, ...]] = tuple(product(Action, Action))
_ENDED: Final = frozenset({"done", "failed", "withdrawn", "expired"})
_GONE: Final = frozenset({Action.DELETE, Action.MOVE})
_CONNECTIONS: Final = 8  # of each role
# Locks are waited for a lot, and in a circle only when there is a fault; nothing has to outlive the test, and each
# statement is planned once.
_SETTINGS: Final = (
    "deadlock_timeout = '20ms'",
    "jit = off",
    "synchronous_commit = off",
    "plan_cache_mode = force_generic_plan",
)


class Controlled(Database):
    """The test's database, as the services of a run see it."""

    def __init__(self, real: Database, pools: dict[DbRole, Pool]) -> None:
        self.name = real.name
        self._real = real
        self._controlled = pools

    def pool(self, role: DbRole) -> Pool:
        return self._controlled.get(role) or self._real.pool(role)

    async def seed_identity(self, **values: object) -> object:  # type: ignore[override] # passed on as it is
        return await self._real.seed_identity(**values)  # type: ignore[arg-type]


class Plan(msgspec.Struct, frozen=True):
    """What is to be played: a seed says all."""

    pair: Pair
    way: Way  # by which the device's messages come
    seed: int

    @classmethod
    def of(cls, seed: int) -> "Plan":
        return cls(PAIRS[seed % len(PAIRS)], random.Random(seed).choice(list(Way)), seed)


# What is out, or would go out next, is found by polls through its operation; and whatever waits is found as such.
_LOST_HEADS: Final = """
    SELECT m.number, o.state FROM mailbox m LEFT JOIN operations o ON o.bucket = m.bucket AND o.id = m.operation
     WHERE m.sealed IS NOT NULL AND coalesce(o.state, '') NOT IN ('accepted', 'sealed', 'out', 'in_doubt')
     UNION ALL
    SELECT p.number, p.state FROM packages p WHERE p.state = 'waiting' AND NOT p.queued
"""


class Outcome(msgspec.Struct, frozen=True):
    """One interleaving, and what was wrong after it."""

    plan: Plan
    steps: tuple[Step, ...]
    faults: tuple[str, ...]
    unavailable: int = 0  # actors that were told to come again later

    def __str__(self) -> str:
        plan = self.plan
        title = f"seed {plan.seed}: {plan.pair[0]} with {plan.pair[1]}, messages {plan.way}: {'; '.join(self.faults)}"
        return "\n".join([title, *(f"  {step.actor}: {step.what}" for step in self.steps)])


class Model:
    """Guards one card's scene and judges what interleavings did to it."""

    def __init__(self, doer: Doer, scheduler: Scheduler, database: Database) -> None:
        self._doer = doer
        self._scheduler = scheduler
        self._database = database
        self._settled: set[tuple[Pair, str]] = set()

    async def play(self, plan: Plan, pick: Pick | None = None) -> Outcome:
        """One interleaving from the pair's start; then the device comes until nothing is left, and all is judged."""
        pair = plan.pair
        await self._doer.begin(start_of(*pair), pair, plan.way)
        deeds = {"first": self._doer.deed(pair[0]), "second": self._doer.deed(pair[1]), "worker": self._doer.worker}
        try:
            steps = tuple(await self._scheduler.run(deeds, pick or drawn(plan.seed)))
        except Stuck as stuck:
            return Outcome(plan, tuple(self._scheduler.steps), (str(stuck),))
        errors = self._scheduler.errors
        later = sum(isinstance(error, Unavailable) for error in errors.values())
        wrong = [f"{name} ended with {e!r}" for name, e in errors.items() if not isinstance(e, Unavailable)]
        wrong += [f"head {row['number']} is {row['state']}" for row in await self._database.owner().fetch(_LOST_HEADS)]
        state = pair, await self._doer.scene.digest()
        if wrong or state not in self._settled:
            self._settled.add(state)
            wrong += await self._settle(pair)
        return Outcome(plan, steps, tuple(wrong), later)

    async def _settle(self, pair: Pair) -> list[str]:
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

    async def _judge_view(self, pair: Pair) -> list[str]:
        """What the eIM believes of the card is what the card is."""
        if Action.DELETE in pair:
            return []
        made = self._doer.rig.fleet.cards[0]
        carriers = {made.profile_a: CARRIER_A, made.profile_b: CARRIER_B}
        enabled, believed = self._doer.scene.card.enabled, await self._doer.rig.enabled(self._doer.scene.card)
        truth = carriers[enabled] if enabled else None
        return [] if believed == truth else [f"{truth} is enabled, {believed} is believed to be"]


@asynccontextmanager
async def model(database: Database, loop: SteppingLoop, *, only_sql: bool = False) -> AsyncIterator[Model]:
    """One card with its eIM in one process, all its starts saved.

    only_sql  switch at SQL boundaries alone
    """
    superuser, monitor = [await asyncpg.connect(database.superuser_dsn) for _ in range(2)]
    pools: dict[DbRole, Pool] = {}
    try:
        for setting in _SETTINGS:
            await superuser.execute(f"ALTER DATABASE {database.name} SET {setting}")
        scheduler = Scheduler(loop, monitor, only_sql=only_sql)
        roles = [role for role in DbRole if role is not DbRole.OWNER]
        pools = {role: await open_pool(database.dsn(role), role, database.schema, _CONNECTIONS) for role in roles}
        watched = Controlled(database, {r: await controlled(p, _CONNECTIONS, scheduler) for r, p in pools.items()})
        rig = await rigs.start(watched)
        front = Front(watched.pool(DbRole.DEVICE), rig)
        scene = Scene(rig, database, superuser)
        await scene.leave_one_bucket()
        doer = Doer(scene, watched, front, await other_tenant(database))
        await doer.prepare()
        front.serve(scheduler)
        made = Model(doer, scheduler, database)
        await made.play(Plan.of(0))  # who serves all runs is ready then
        yield made
        await scheduler.close()
    finally:
        for pool in pools.values():
            pool.terminate()
        superuser.terminate()
        monitor.terminate()


def drawn(seed: int) -> Pick:
    """Who goes on, drawn: mostly who went on before, so that few switches reach deep."""
    chance, last = random.Random(seed), ""
    keep = chance.choice((0.0, 0.5, 0.8, 0.9, 0.95))

    def pick(ready: Sequence[str]) -> str:
        nonlocal last
        if last not in ready or chance.random() > keep:
            last = chance.choice(ready)
        return last

    return pick


async def first_fault(played: Model, seeds: Sequence[int]) -> Outcome | None:
    """Play these, until one of them shows a fault."""
    for seed in seeds:
        outcome = await played.play(Plan.of(seed))
        if outcome.faults:
            return outcome
    return None
