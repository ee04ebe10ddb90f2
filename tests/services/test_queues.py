"""What a worker seals next: tenants in turns, curves in lanes of their own, and a bad one in nobody's way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import pytest

from eim.domain.ids import DEFAULT_TENANT, Bucket, Eid, IdentityId, TenantId, bucket_of
from eim.errors import KeyUnusable
from eim.keys.files import Signer, generate
from eim.protocol import esep
from eim.protocol.ecdsa import Curve
from eim.protocol.esep import Unsealed
from eim.services.asking import Asking
from eim.services.lanes import Lane, LaneRules, in_turns
from eim.services.leasing import Leasing
from eim.services.sealing import Sealer
from eim.services.worker import Worker, WorkerRules
from eim.sim.pki import EIN, eids
from eim.store import due
from eim.store.connect import DbRole, transaction
from eim.store.due import Due, Question
from tests.database import Database

_IDENTITY: Final = """
    INSERT INTO identities (id, tenant, eim_id, eim_id_type, fqdn, curve, public_key, key_name)
    VALUES ($1, $2, $3, 2, $3, $4, '', $3)
"""
_EUICCS: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter, introduced_at, speaks)
    SELECT u.bucket, u.eid, $3, $4, 0, now(), '1.2' FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
"""
_MAILBOXES: Final = (
    "INSERT INTO mailbox (bucket, eid, tenant) SELECT bucket, eid, tenant FROM euiccs WHERE identity = $1"
)
_ORDERS: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by)
    SELECT bucket, gen_random_uuid(), eid, tenant, identity, $2, 'listProfileInfo', 'a test'
      FROM euiccs WHERE identity = $1
"""
_SEALED: Final = "SELECT identity, count(*) AS sealed FROM operations WHERE state = 'sealed' GROUP BY identity"
_AT_ONCE: Final = 50_000  # eUICCs
_PATIENCE: Final = 300.0  # seconds
_EVERY: Final = [Bucket(bucket) for bucket in range(1024)]


class Ring:
    """Keys by name, with the curve of each. Those in `lost` can't be used, what is in `refused` is not signed."""

    def __init__(self) -> None:
        self._signers: dict[str, Signer] = {}
        self.lost: set[str] = set()
        self.refused: set[Eid] = set()
        self.calls: list[int] = []

    def load(self, name: str) -> "Picky":
        if name in self.lost:
            raise KeyUnusable(f"there is no key {name}")
        curve = Curve.BRAINPOOL if name.startswith("brainpool") else Curve.P256
        if name not in self._signers:
            self._signers[name] = Signer(name, generate(curve), curve)
        return Picky(self._signers[name], self)


class Picky:
    """Signs unless the package is for a card that is refused."""

    def __init__(self, signer: Signer, ring: Ring) -> None:
        self._signer = signer
        self._ring = ring

    def sign(self, tbs: bytes) -> bytes:
        if any(bytes(eid) in tbs for eid in self._ring.refused):
            raise ValueError("this card can't be signed for")
        return self._signer.sign(tbs)

    def seal(self, eim_id: str, packages: Sequence[Unsealed]) -> list[bytes]:
        return esep.seal_each(eim_id, packages, self.sign)


class Queue:
    """A worker on a database with identities, cards and orders put there by SQL."""

    def __init__(self, database: Database, batch: int) -> None:
        self.database = database
        self.owner = database.owner()
        self.ring = Ring()
        self.leasing = Leasing(database.pool(DbRole.WORKER), uuid4())
        pool = database.pool(DbRole.WORKER)
        sealer = Sealer(pool, self.ring, 3)
        self.worker = Worker(pool, self.leasing, sealer, Asking(pool), WorkerRules(batch, 3, 1.0))
        self._made = 0

    async def identity(self, number: int, cards: int, *, tenant: int = 1, curve: str = "P-256") -> Sequence[Eid]:
        """An identity with so many cards, each with one thing to do."""
        await self.owner.execute(
            "INSERT INTO tenants (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", tenant, str(tenant)
        )
        await self.owner.execute(_IDENTITY, number, tenant, f"{curve}-{number}", curve)
        made = eids(EIN, self._made + cards)[self._made :]
        self._made += cards
        for start in range(0, cards, _AT_ONCE):
            some = made[start : start + _AT_ONCE]
            await self.owner.execute(_EUICCS, [bucket_of(eid) for eid in some], some, tenant, number)
        await self.owner.execute(_MAILBOXES, number, timeout=_PATIENCE)
        await self.owner.execute(_ORDERS, number, 1, timeout=_PATIENCE)
        return made

    async def sealed(self) -> dict[int, int]:
        return {row["identity"]: row["sealed"] for row in await self.owner.fetch(_SEALED)}


@pytest.fixture
async def queue(database: Database) -> Queue:
    made = Queue(database, batch=100)
    await made.leasing.refresh()
    return made


def _due(tenant: int, number: int) -> Due:
    eid = Eid(bytes([tenant, number]) + bytes(14))
    return Due(bucket_of(eid), eid, TenantId(tenant), IdentityId(tenant), 0)


def test_one_of_each_tenant_comes_before_the_second_of_any() -> None:
    found = [_due(1, n) for n in range(5)] + [_due(2, 0), _due(1, 0), _due(3, 0), _due(3, 1)]
    assert [(each.tenant, each.eid[1]) for each in in_turns(found, 6)] == [
        (1, 0),
        (2, 0),
        (3, 0),
        (1, 1),
        (3, 1),
        (1, 2),
    ]
    assert len(in_turns(found, 100)) == 8, "the repeated one only once"


@pytest.mark.parametrize("many", [3_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
async def test_a_tenant_with_very_many_due_delays_anothers_ten_by_no_batch(queue: Queue, many: int) -> None:
    await queue.identity(1, many)
    await queue.identity(2, 10, tenant=2)
    await queue.owner.execute("ANALYZE")
    await queue.leasing.refresh()  # a million take longer than a lease lasts
    assert await queue.worker.round() == 100
    assert await queue.sealed() == {1: 90, 2: 10}, "all ten are in the first batch, and it is full"
    await queue.worker.round()
    assert (await queue.sealed())[1] == 190


async def test_a_brainpool_fleet_has_a_lane_of_its_own(queue: Queue) -> None:
    await queue.identity(1, 300)
    await queue.identity(2, 300, curve="brainpoolP256r1")
    await queue.worker._seal_slow()
    assert await queue.sealed() == {2: 6}, "its batches are small: a signature costs about 17 times as much"
    rounds = 0
    while await queue.worker._seal_fast():
        rounds += 1
    assert rounds == 3, "batches of P-256 are full"
    assert await queue.sealed() == {1: 300, 2: 6}


async def test_lanes_run_at_once(queue: Queue) -> None:
    """A brainpool fleet takes many rounds; P-256 is done meanwhile."""
    await queue.identity(1, 100)
    await queue.identity(2, 200, curve="brainpoolP256r1")
    async with _running(queue):
        async with asyncio.timeout(20):
            while (await queue.sealed()).get(1) != 100:  # noqa: ASYNC110 - the database is asked
                await asyncio.sleep(0.01)
        assert (await queue.sealed()).get(2, 0) < 200
        async with asyncio.timeout(20):
            while (await queue.sealed()).get(2) != 200:  # noqa: ASYNC110 - the database is asked
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _running(queue: Queue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("good", [500, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_poison_is_found_by_halving_and_the_good_ones_are_sealed(queue: Queue, good: int) -> None:
    made = await queue.identity(1, good + 20)
    queue.ring.refused = set(made[:: len(made) // 20][:20])
    rounds = 0
    while await queue.worker.round():
        rounds += 1
    assert (await queue.sealed())[1] == len(made) - 20
    left = await queue.owner.fetch("SELECT eid FROM operations WHERE state = 'accepted' AND not_before > now()")
    assert {row["eid"] for row in left} == queue.ring.refused
    again = await queue.owner.fetchval("SELECT sum(faults - 1) FROM operations WHERE faults > 0")
    assert rounds <= full_rounds(len(made) + again), "a bad one costs a place in a round, each time that it is tried"


def full_rounds(tries: int) -> int:
    """How many rounds so many tries are at most: a round is full while anything is due, what has failed is due again
    after ten seconds (which a long run lasts), and may be all that the last round finds."""
    return -(-tries // 100) + 1


async def test_an_identity_without_its_key_is_left_alone_as_a_whole(queue: Queue) -> None:
    await queue.identity(1, 150)
    await queue.identity(2, 150)
    queue.ring.lost = {"P-256-1"}
    while await queue.worker.round():
        pass
    assert await queue.sealed() == {2: 150}
    queue.ring.lost = set()
    queue.worker._fast._muted.clear()  # its time is over
    while await queue.worker.round():
        pass
    assert await queue.sealed() == {1: 150, 2: 150}, "no operation was blamed for it"


async def test_who_is_named_in_vain_again_and_again_makes_room_for_others(queue: Queue) -> None:
    lane = Lane(LaneRules("P-256", slow=False, batch=100, ahead=3))
    await queue.identity(1, 150)
    async with transaction(queue.database.pool(DbRole.WORKER)) as db:
        first = await lane.next(db, _EVERY)
        for _ in range(3):
            assert await lane.next(db, _EVERY) == first
            lane.note(first)  # nothing is sealed for them
        others = await lane.next(db, _EVERY)
    assert len(others) == 50
    assert not {each.eid for each in first} & {each.eid for each in others}


async def test_what_became_due_is_found_at_once_although_a_look_takes_only_some_buckets_in_full(queue: Queue) -> None:
    lane = Lane(LaneRules("P-256", slow=False, batch=100, ahead=3))
    lane._window = 16
    await queue.identity(1, 40)
    await queue.owner.execute("UPDATE operations SET not_before = now() - interval '1 day'")
    async with transaction(queue.database.pool(DbRole.WORKER)) as db:
        await lane.next(db, _EVERY)
        lane._window = 16
        await queue.owner.execute(
            "UPDATE operations SET not_before = now() WHERE bucket = (SELECT max(bucket) FROM operations)"
        )
        newest = await queue.owner.fetchval("SELECT max(bucket) FROM operations")
    async with transaction(queue.database.pool(DbRole.WORKER)) as db:
        assert newest in {each.bucket for each in await lane.next(db, _EVERY)}


async def test_a_hinted_card_comes_before_all_looks(queue: Queue) -> None:
    made = await queue.identity(1, 50)
    async with transaction(queue.database.pool(DbRole.WORKER)) as db:
        lane = Lane(LaneRules("P-256", slow=False, batch=1, ahead=3))
        lane.hint(bucket_of(made[33]), made[33])
        assert [each.eid for each in await lane.next(db, _EVERY)] == [made[33]]
        slow = Lane(LaneRules("brainpoolP256r1", slow=True, batch=1, ahead=3))
        slow.hint(bucket_of(made[33]), made[33])
        assert await slow.next(db, _EVERY) == [], "it is in the other lane"


async def test_due_is_what_can_be_sealed(queue: Queue) -> None:
    """Nothing held, later, behind a closed gate, without room, or of a card that nobody knows yet."""
    made = await queue.identity(1, 7)
    owner = queue.owner
    await owner.execute("INSERT INTO gates (id, open) VALUES (9, false)")
    await owner.execute("UPDATE operations SET held = 'contact' WHERE eid = $1", made[0])
    await owner.execute("UPDATE operations SET not_before = now() + interval '1 minute' WHERE eid = $1", made[1])
    await owner.execute("UPDATE operations SET gate = 9 WHERE eid = $1", made[2])
    await owner.execute("UPDATE euiccs SET introduced_at = NULL WHERE eid = $1", made[3])
    await owner.execute("UPDATE euiccs SET stalled = 'counterExhausted' WHERE eid = $1", made[4])
    await owner.execute(
        "INSERT INTO packages (bucket, eid, number, operation, identity, speaks, sealed, gate, not_before, state) "
        "SELECT $1, $2, n, gen_random_uuid(), 1, '1.2', '', 1, now(), 'waiting' FROM generate_series(1, 3) AS n",
        bucket_of(made[5]),
        made[5],
    )
    async with transaction(queue.database.pool(DbRole.WORKER)) as db:
        assert [each.eid for each in await due.ask(db, _EVERY, Question(slow=False))] == [made[6]]
        assert await due.ask(db, [b for b in _EVERY if b != bucket_of(made[6])], Question(slow=False)) == []
        assert await due.ask(db, _EVERY, Question(slow=True)) == []
        assert await due.ask(db, _EVERY, Question(slow=False, muted=[IdentityId(1)])) == []


async def test_a_hint_wakes_the_worker_of_its_bucket_only(queue: Queue) -> None:
    assert DEFAULT_TENANT == 1
    other = Leasing(queue.database.pool(DbRole.WORKER), uuid4())
    for each in (other, queue.leasing, other):
        await each.refresh()
    queue.worker._hinted(str(other.buckets[0]))
    assert not any(alarm.is_set() for alarm in queue.worker._alarms.values())
    queue.worker._hinted(f"{queue.leasing.buckets[0]}:{bytes(16).hex()}")
    assert all(alarm.is_set() for alarm in queue.worker._alarms.values())
