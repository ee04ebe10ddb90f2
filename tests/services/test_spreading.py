"""Orders for very many cards: the same operations as one by one, however far a worker came before it fell."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import pytest

from eim.asn1 import sgp32
from eim.domain import opening
from eim.domain.ids import DEFAULT_TENANT, Bucket, Eid, bucket_of, derive_operation_id, format_eid, parse_iccid
from eim.domain.operation import Kind, State
from eim.domain.step import AddEim, DeleteEim, Disable, Enable, SetDefaultDpAddress, UpdateEim, compact
from eim.errors import InvalidRequest, LeaseLost, Unconfirmed
from eim.services import spreading
from eim.services.leasing import Leasing
from eim.services.lines import OnError
from eim.services.operations import Accepted, Operations
from eim.services.ordering import UNNAMED, Estate, Ordering, Target, Template
from eim.services.orders import Orders, Progress, is_bulk
from eim.services.spreading import Spreader
from eim.store import orders, spreads
from eim.store.connect import DbRole
from eim.store.orders import Placing, Repeat
from tests.database import Database
from tests.domain.steps import CONFIG
from tests.operator_side import A, B, caller_of, eid_of, eid_text, give_profiles, onboard

C: Final = "8988303000000000003F"
_CARDS: Final = 150
_NUMBERS: Final = tuple(islice((n for n in count() if bucket_of(eid_of(n)) % 256 == 7), _CARDS))  # in four buckets
_LATER: Final = datetime.now(UTC) + timedelta(days=3)
_ROWS: Final = """
    SELECT eid, id, bucket, tenant, identity, ordinal, kind, iccid, rollback, details, priority, gate, state,
           not_before, expires_at, ordered_by, after, after_event, held, opening, closes_at, retries
      FROM operations WHERE order_id = $1 ORDER BY eid, ordinal
"""
_DIFFERENT: Final = ("id", "ordinal")
_PROFILES: Final = (  # (iccid, state, provider, fallback, fallback_allowed, ppr)
    (),
    ((A, "enabled", "Carrier A", False, None, None), (B, "disabled", "Carrier B", False, None, None)),
    ((B, "enabled", "Carrier B", False, None, b"\x07\x00"), (A, "disabled", "Carrier A", True, None, b"")),
    ((A, "enabled", "Carrier A", False, None, b"\x05\x40"), (B, "disabled", "Carrier B", False, None, b"\x00")),
    ((A, "enabled", "Carrier A", True, None, b"\x05\x20"), (B, "disabled", "Carrier B", False, False, b"\x05\x20")),
    ((A, "enabled", "Carrier A", False, None, None), (B, "disabled", "Carrier B", False, None, b"\x05\x40")),
    ((B, "enabled", "Carrier B", False, True, b"\x05\x40"), (A, "disabled", "Carrier A", False, None, None)),
    ((A, "enabled", "Carrier A", False, None, None), (B, "enabled", "Carrier B", True, True, None)),
    ((A, "disabled", "Carrier A", True, None, b"\x05\x20"), (B, "disabled", "Carrier B", True, None, None)),
    (
        (A, "enabled", "Carrier A", False, None, None),
        (B, "disabled", "Carrier B", False, None, None),
        (C, "disabled", "Carrier B", False, None, None),
    ),
    ((C, "enabled", None, False, None, None), (B, "disabled", "Carrier B", True, None, None)),
)
_QUEUED: Final = (  # (state, kind, iccid)
    *[()] * 4,
    (("accepted", "enable", B),),
    (("sealed", "delete", A), ("accepted", "listProfileInfo", None)),
    (("in_doubt", "enable", A),),
    (("out", "listEim", None), ("done", "enable", B)),
    (("accepted", "setFallbackAttribute", B),),
)
_TEMPLATE: Final = {
    Kind.SET_DP_ADDRESS: Template(SetDefaultDpAddress("smdp.example.com")),
    Kind.ADD_EIM: Template(AddEim(sgp32.encode(CONFIG))),
    Kind.DELETE_EIM: Template(DeleteEim("eim2.example.com")),
    Kind.UPDATE_EIM: Template(UpdateEim(sgp32.encode(msgspec.structs.replace(CONFIG, association_token=None)))),
}


def for_all(kind: Kind, **more: Any) -> Ordering:
    return Ordering(kind, Estate("fleet"), on_error=OnError.SKIP, **more)


_SWITCH: Final = (Template(Disable(UNNAMED), "Carrier A"), Template(Enable(UNNAMED), "Carrier B"))
_ORDERS: Final = {
    "enable of a carrier": for_all(Kind.ENABLE, service_provider="Carrier B", rollback=True),
    "enable": for_all(Kind.ENABLE, iccid=B, priority=50, retries=2, expires_at=_LATER),
    "disable of a carrier": for_all(Kind.DISABLE, service_provider="Carrier A"),
    "disable": for_all(Kind.DISABLE, iccid=B),
    "delete of a carrier": for_all(Kind.DELETE, service_provider="Carrier B", not_before=_LATER),
    "delete": for_all(Kind.DELETE, iccid=A),
    "set fallback": for_all(Kind.SET_FALLBACK, iccid=B),
    "set fallback of a carrier": for_all(Kind.SET_FALLBACK, service_provider="Carrier B"),
    "unset fallback": for_all(Kind.UNSET_FALLBACK),
    "list": for_all(Kind.LIST_PROFILES),
    "rules": for_all(Kind.GET_RAT, after_event="contact"),
    "data": for_all(Kind.DATA_REQUEST, after_event="euicc.network_changed"),
    "check": for_all(Kind.CHECK),
    "forced disable": for_all(Kind.DISABLE, iccid=A, force_reason="scrapped"),
    "forced enable of a carrier": for_all(Kind.ENABLE, service_provider="Carrier B", force_reason="scrapped"),
    "enable in a window": for_all(
        Kind.ENABLE, iccid=B, opening=opening.parse("Mon-Fri 22:00-06:00"), not_before=_LATER
    ),
    "list in a window": for_all(Kind.LIST_PROFILES, opening=opening.parse("03:00-04:00 UTC"), not_before=_LATER),
    "list in a local window": for_all(Kind.LIST_PROFILES, opening=opening.parse("03:00-04:00"), not_before=_LATER),
    "a package": for_all(Kind.PACKAGE, steps=_SWITCH),
    "a forced package": for_all(
        Kind.PACKAGE, steps=(Template(Disable(parse_iccid(A))), Template(Enable(parse_iccid(B)))), force_reason="now"
    ),
    "a step of a carrier": for_all(Kind.ENABLE, steps=(Template(Enable(UNNAMED, rollback=True), "Carrier B"),)),
    **{kind.value: for_all(kind, steps=(template,)) for kind, template in _TEMPLATE.items()},
}


class Side:
    """An operator and a worker of one database."""

    def __init__(self, database: Database, chunk: int = 40) -> None:
        self.database = database
        pool = database.pool(DbRole.OPERATOR)
        self.at_once = Operations(pool)
        self.operations = Operations(pool, spread_above=0)
        self.orders = Orders(pool)
        self.leasing = Leasing(database.pool(DbRole.WORKER), uuid4())
        self.spreader = Spreader(database.pool(DbRole.WORKER), self.leasing, chunk)

    async def place(self, asked: Ordering, repeat: Repeat | None = None) -> Accepted:
        many = await self.database.owner().fetchval("SELECT count(*) FROM euicc_tags WHERE tag = 'fleet'")
        confirmed = msgspec.structs.replace(asked, confirm=many * len(asked.packages))
        return await self.operations.place(caller_of(), confirmed, repeat)

    async def work(self) -> None:
        await self.leasing.refresh()
        while await self.spreader.round():
            pass

    async def progress(self, order: UUID) -> Progress:
        return await self.operations.progress(caller_of(), order)

    async def rows(self, order: UUID) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.owner().fetch(_ROWS, order)]


async def fleet(database: Database, numbers: Sequence[int]) -> None:
    """Onboarded cards with the tag `fleet`, nothing queued."""
    await database.seed_identity()
    await onboard(database, numbers)
    owner = database.owner()
    await owner.execute("INSERT INTO euicc_tags SELECT bucket, eid, 'fleet', tenant, created_at FROM euiccs")
    await owner.execute("UPDATE operations SET state = 'done'")


async def motley(database: Database) -> None:
    """Cards in all the states that a guard may look at."""
    await fleet(database, _NUMBERS)
    draw, owner = random.Random(7), database.owner()
    other = await database.seed_identity(eim_id="other.example.com")
    for place, number in enumerate(_NUMBERS):
        eid = eid_of(number)
        at = (bucket_of(eid), eid)
        if place % 3 == 0:
            await owner.execute("UPDATE euiccs SET identity = $3 WHERE bucket = $1 AND eid = $2", *at, other)
        if place % 5:
            await owner.execute("UPDATE euiccs SET inventory_at = now() WHERE bucket = $1 AND eid = $2", *at)
        await owner.execute(
            "UPDATE euiccs SET speaks = $3, time_zone = $4, eims = $5 WHERE bucket = $1 AND eid = $2",
            *at,
            draw.choice([None, "1.0.1", "1.1", "1.2", "1.3"]),
            draw.choice([None, "Europe/Berlin", "America/New_York", "Nowhere/None"]),
            draw.choice([None, [], [{"eim_id": "eim2.example.com"}]]),
        )
        for iccid, *profile in draw.choice(_PROFILES):
            await owner.execute(
                "INSERT INTO profiles (bucket, eid, tenant, iccid, state, service_provider, fallback, fallback_allowed,"
                " ppr) VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8)",
                *at, parse_iccid(iccid), *profile,
            )  # fmt: skip
        for ordinal, (state, kind, about) in enumerate(draw.choice(_QUEUED), 10):
            await owner.execute(
                "INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, iccid, state, ordered_by)"
                " VALUES ($1, gen_random_uuid(), $2, 1, 1, $3, $4, $5, $6, 'test')",
                *at, ordinal, kind, parse_iccid(about) if about else None, state,
            )  # fmt: skip


def alike(rows: Sequence[dict[str, Any]], *, timed: bool) -> list[dict[str, Any]]:
    """What two ways to place the same must agree in."""
    left = {*_DIFFERENT, *(() if timed else ("not_before",))}
    return [{name: value for name, value in row.items() if name not in left} for row in rows]


async def rows_of_profiles_read(database: Database) -> int:
    """By way of an index, on all connections of workers, so far."""
    async with database.pool(DbRole.WORKER).acquire() as db:
        await db.execute("SELECT pg_stat_force_next_flush()")
    return int(
        await database.owner().fetchval("SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'profiles'")
    )


async def until_some(side: Side, order: UUID) -> None:
    """Something of the order is placed."""
    async with asyncio.timeout(20):
        for _ in iter(lambda: None, 0):
            if (await side.progress(order)).size:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def motley_side(database: Database) -> Side:
    await motley(database)
    return Side(database)


async def ask_one_by_one_too(side: Side) -> int:
    """Every order, for very many and one by one: it comes to the same. How many cards were refused in all."""
    judged_alone = 0
    eids = sorted(map(eid_of, _NUMBERS))
    for name, asked in _ORDERS.items():
        order = (await side.place(asked)).order
        await side.work()
        spread = await side.progress(order)
        rows = await side.rows(order)
        await side.database.owner().execute("DELETE FROM operations WHERE order_id = $1", order)
        single = msgspec.structs.replace(
            asked, targets=tuple(Target(format_eid(eid)) for eid in eids), confirm=len(rows)
        )
        done = await side.at_once.place(caller_of(), single, None)
        theirs = await side.rows(done.order)
        await side.database.owner().execute("DELETE FROM operations WHERE order_id = $1", done.order)
        assert alike(rows, timed=asked.not_before is not None) == alike(theirs, timed=asked.not_before is not None), (
            name
        )
        assert spread.spread is not None
        assert (spread.size, spread.spread.looked_at) == (len(rows), _CARDS), name
        refused: dict[str, int] = {}
        for problem in done.problems:
            refused[problem.code] = refused.get(problem.code, 0) + 1
        assert spread.spread.refused == refused, name
        told = {format_eid(eids[problem.position]): (problem.code, problem.text) for problem in done.problems}
        for each in spread.spread.problems:  # the ICCIDs of two profiles come in any order
            code, text = told[each.eid]
            assert (code, sorted(text)) == (each.code, sorted(each.text)), name
        judged_alone += len(done.problems)
        for eid in eids:
            mine = [row["id"] for row in rows if row["eid"] == eid]
            assert mine == [derive_operation_id(order, part << 32, eid) for part in range(len(mine))], name
    return judged_alone


async def test_very_many_are_asked_the_same_as_one_by_one(motley_side: Side) -> None:
    assert await ask_one_by_one_too(motley_side) > 300


async def test_cards_that_differ_only_in_what_they_hold_are_asked_the_same_as_one_by_one(motley_side: Side) -> None:
    await motley_side.database.owner().execute(
        "UPDATE euiccs SET identity = 1, speaks = '1.3', time_zone = 'Europe/Berlin', inventory_at = now()"
    )
    assert await ask_one_by_one_too(motley_side) > 300


async def test_an_enabling_for_a_carrier_reads_no_profiles_but_its_own(database: Database) -> None:
    await fleet(database, range(30))
    for number in range(30):
        await give_profiles(database, number)
    side = Side(database)
    before = await rows_of_profiles_read(database)
    order = (await side.place(_ORDERS["enable of a carrier"])).order
    await side.work()
    assert await rows_of_profiles_read(database) <= before + 30  # of 60; none of pages that a vacuum found unchanged
    assert len(await side.rows(order)) == 30


async def test_a_chunk_takes_no_more_buckets_than_it_has_cards_for(database: Database) -> None:
    some, order = [Bucket(number) for number in (3, 5, 9, 12)], uuid4()
    async with database.owner().acquire() as db:
        await orders.insert(db, DEFAULT_TENANT, Placing(order, Kind.CHECK, 0, "test", {}))
        await spreads.insert(db, DEFAULT_TENANT, order, dict.fromkeys(some, 10))
        assert await spreads.next_buckets(db, order, some, 256, 20) == [3, 5]
        assert await spreads.next_buckets(db, order, some, 256, 21) == [3, 5, 9]
        assert await spreads.next_buckets(db, order, some[1:], 256, 1) == [5]
        assert await spreads.next_buckets(db, order, None, 256, 21) == [3, 5, 9]
        assert await spreads.next_buckets(db, order, some, 1, 1000) == [3]
        assert await spreads.next_buckets(db, order, some, 256, 1000) == some
        await db.execute("UPDATE spreads SET looked_at = 10 WHERE bucket = 3")  # more cards came: it is not at its end
        await db.execute("UPDATE spreads SET done_at = now() WHERE bucket = 5")
        assert await spreads.next_buckets(db, order, some, 256, 10) == [3, 9]


async def test_the_usual_cards_are_never_judged_one_by_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await fleet(database, range(30))
    for number in range(30):
        await give_profiles(database, number)
    alone: list[Eid] = []
    judge = spreading._judge

    async def watched(*asked: Any) -> Any:
        alone.extend(asked[-1])
        return await judge(*asked)

    monkeypatch.setattr(spreading, "_judge", watched)
    side = Side(database)
    for name in ("enable of a carrier", "enable", "list", "check", "rules", "delete of a carrier", "forced disable"):
        order = (await side.place(_ORDERS[name])).order
        await side.work()
        assert len(await side.rows(order)) == 30 * len(_ORDERS[name].packages), name
        assert alone == [], name
        await database.owner().execute("UPDATE operations SET state = 'done'")


async def test_a_worker_that_falls_at_any_chunk_repeats_nothing_and_leaves_nothing_out(database: Database) -> None:
    await fleet(database, range(60))
    order = (await Side(database).place(for_all(Kind.LIST_PROFILES))).order
    rounds, over, side = 0, False, Side(database)
    while not over:
        rounds += 1
        side = Side(database, chunk=7)  # another process each time; the one before never gives its leases back
        await side.leasing.fence_all()
        await side.leasing.refresh()
        placing = asyncio.create_task(side.spreader.round())
        await asyncio.sleep(rounds * 0.003)
        placing.cancel()
        over = (await asyncio.gather(placing, return_exceptions=True))[0] == 0
        seen = await side.rows(order)
        assert len({row["eid"] for row in seen}) == len(seen)
        assert (await side.progress(order)).size == len(seen)
    assert rounds > 3
    assert {row["eid"] for row in await side.rows(order)} == {eid_of(number) for number in range(60)}


async def test_what_a_worker_writes_past_its_lease_is_refused(database: Database) -> None:
    await fleet(database, range(5))
    first, second = Side(database), Side(database)
    order = (await first.place(for_all(Kind.LIST_PROFILES))).order
    await first.leasing.refresh()
    await second.leasing.fence_all()
    await second.leasing.refresh()
    with pytest.raises(LeaseLost):
        await first.spreader.round()
    assert await first.rows(order) == []
    await second.work()
    assert len(await second.rows(order)) == 5


async def test_nothing_is_placed_after_a_stop_was_answered(database: Database) -> None:
    await fleet(database, range(200))
    side = Side(database, chunk=3)
    order = (await side.place(for_all(Kind.LIST_PROFILES))).order
    await side.leasing.refresh()
    working = asyncio.create_task(side.work())
    await until_some(side, order)
    stopped = await side.orders.stop(caller_of(), order)
    assert stopped.order.stopped_at is not None
    await working
    ended = await side.progress(order)
    assert 0 < ended.size == stopped.size < 200
    assert len(await side.rows(order)) == ended.size
    assert ended.order.spread_at is not None
    again = await side.orders.stop(caller_of(), order)
    assert again.order.stopped_at == stopped.order.stopped_at
    assert await database.owner().fetchval("SELECT count(*) FROM audit WHERE action = 'order.stop'") == 1


async def test_ordinals_rise_whoever_orders_next(database: Database) -> None:
    await fleet(database, range(4))
    side = Side(database)
    for _ in range(3):
        await side.place(for_all(Kind.CHECK))
        await side.work()
        one = Ordering(Kind.LIST_PROFILES, (Target(eid_text(2)),))
        await side.at_once.place(caller_of(), one, None)
    rows = await database.owner().fetch(
        "SELECT kind, ordinal, order_id FROM operations WHERE eid = $1 AND order_id IS NOT NULL ORDER BY ordinal",
        eid_of(2),
    )
    assert [row["kind"] for row in rows] == ["ipaEuiccDataRequest", "listProfileInfo", "listEim", "listProfileInfo"] * 3
    placed = await database.owner().fetch("SELECT id FROM orders ORDER BY created_at")
    assert list(dict.fromkeys(row["order_id"] for row in rows)) == [row["id"] for row in placed]


async def test_the_inventory_that_decides_is_read_under_the_locks(database: Database) -> None:
    await fleet(database, [1])
    await give_profiles(database, 1)
    side, eid = Side(database), eid_of(1)
    order = (await side.place(for_all(Kind.DELETE, iccid=B))).order
    async with database.owner().acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM euiccs WHERE bucket = $1 AND eid = $2 FOR UPDATE", bucket_of(eid), eid)
        working = asyncio.create_task(side.work())
        await asyncio.sleep(0.3)
        swap = "UPDATE profiles SET state = CASE WHEN iccid = $1 THEN 'enabled' ELSE 'disabled' END"
        await other.execute(swap, parse_iccid(B))
    await working
    ended = await side.progress(order)
    assert ended.size == 0
    assert ended.spread is not None
    assert ended.spread.refused == {"guarded": 1}


async def test_what_is_queued_is_read_under_the_locks(database: Database) -> None:
    await fleet(database, [1])
    await give_profiles(database, 1)
    side, eid = Side(database), eid_of(1)
    order = (await side.place(for_all(Kind.DELETE, iccid=B))).order
    async with database.owner().acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM euiccs WHERE bucket = $1 AND eid = $2 FOR UPDATE", bucket_of(eid), eid)
        working = asyncio.create_task(side.work())
        await asyncio.sleep(0.3)
        await other.execute(
            "INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, iccid, ordered_by)"
            " VALUES ($1, gen_random_uuid(), $2, 1, 1, 99, 'enable', $3, 'test')",
            bucket_of(eid), eid, parse_iccid(B),
        )  # fmt: skip
    await working
    ended = await side.progress(order)
    assert ended.size == 0
    assert ended.spread is not None
    assert ended.spread.refused == {"guarded": 1}


async def test_a_card_that_goes_while_it_is_reached_is_asked_nothing(database: Database) -> None:
    await fleet(database, [1, 2])
    side, eid = Side(database), eid_of(1)
    order = (await side.place(for_all(Kind.LIST_PROFILES))).order
    async with database.owner().acquire() as other, other.transaction():
        await other.execute("DELETE FROM euiccs WHERE bucket = $1 AND eid = $2", bucket_of(eid), eid)
        working = asyncio.create_task(side.work())
        await asyncio.sleep(0.3)
        assert not working.done()
    await working
    assert [row["eid"] for row in await side.rows(order)] == [eid_of(2)]
    ended = await side.progress(order)
    assert (ended.size, ended.order.spread_at is not None) == (1, True)


async def test_many_orders_for_the_same_cards_at_once_do_not_deadlock(database: Database) -> None:
    await fleet(database, range(80))
    side, other = Side(database), Side(database)
    for _ in range(2):
        await side.place(for_all(Kind.LIST_PROFILES))
    await asyncio.gather(side.leasing.refresh(), other.leasing.refresh())
    there = tuple(Target(eid_text(n)) for n in range(80))
    single = [Ordering(Kind.GET_RAT, targets) for targets in (there, there[::-1]) * 3]
    placing = [side.at_once.place(caller_of(), each, None) for each in single]
    await asyncio.gather(side.work(), other.work(), *placing)
    async with asyncio.timeout(20):  # leases change hands meanwhile
        while await database.owner().fetchval(
            "SELECT count(*) FROM orders WHERE asked IS NOT NULL AND spread_at IS NULL"
        ):
            await asyncio.gather(side.work(), other.work())
    count = "SELECT count(*), count(DISTINCT (eid, ordinal)) FROM operations WHERE order_id IS NOT NULL"
    row = await database.owner().fetchrow(count)
    assert row is not None
    assert tuple(row) == (80 * 8, 80 * 8)


async def test_an_order_for_very_many_says_how_many_is_remembered_and_counts_as_one(database: Database) -> None:
    await fleet(database, range(3))
    await database.owner().execute("UPDATE tenants SET orders_a_day = 1")
    side, asked = Side(database), for_all(Kind.LIST_PROFILES)
    operations = Operations(database.pool(DbRole.OPERATOR), 2, spread_above=0)
    with pytest.raises(Unconfirmed, match="3 operations"):
        await operations.place(caller_of(), asked, None)
    repeat = Repeat("key", b"hash")
    first, again = [await side.place(asked, repeat) for _ in range(2)]
    assert first == again
    assert first.cards == 3
    await side.work()
    assert len(await side.rows(first.order)) == 3
    with pytest.raises(Exception, match="1 orders in 24 hours"):
        await side.place(asked)
    told = await database.owner().fetch("SELECT kind, data FROM events WHERE eid IS NULL ORDER BY turn")
    assert [row["kind"] for row in told] == ["order.placed", "order.spread"]
    actions = await database.owner().fetch("SELECT action FROM audit WHERE subject = $1", str(first.order))
    assert {row["action"] for row in actions} == {"order.place", "order.chunk", "order.spread"}


async def test_more_than_a_request_may_name_is_ordered_by_whoever_accepts_that_some_are_left_out() -> None:
    with pytest.raises(InvalidRequest, match="on_error"):
        is_bulk(Ordering(Kind.LIST_PROFILES, Estate()), 100_001, 10_000)
    assert is_bulk(Ordering(Kind.LIST_PROFILES, Estate(), on_error=OnError.SKIP), 10_001, 10_000)
    assert not is_bulk(Ordering(Kind.LIST_PROFILES, Estate()), 100_000, 10_000)


async def test_a_card_that_breaks_its_chunk_is_passed_over_and_named(database: Database) -> None:
    await fleet(database, range(12))
    side = Side(database)
    order = (await side.place(for_all(Kind.LIST_PROFILES))).order
    bad = eid_of(5)  # an operation of its id is there already
    await database.owner().execute(
        "INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by)"
        " VALUES ($1, $2, $3, 1, 1, 99, 'getRAT', 'test')",
        bucket_of(bad), derive_operation_id(order, 0, bad), bad,
    )  # fmt: skip
    await side.work()
    ended = await side.progress(order)
    assert ended.spread is not None
    assert (ended.size, ended.spread.refused) == (11, {"internal": 1})
    assert [each.eid for each in ended.spread.problems] == [format_eid(bad)]


def test_compact_columns_of_one_step_hold_no_details() -> None:
    assert compact([Enable(UNNAMED, rollback=True)]).details is None


async def test_what_was_spread_is_withdrawn_like_any_other(database: Database) -> None:
    await fleet(database, [3])
    side = Side(database)
    order = (await side.place(for_all(Kind.LIST_PROFILES))).order
    await side.work()
    found = await side.operations.withdraw(caller_of(), (await side.rows(order))[0]["id"])
    assert found.state is State.WITHDRAWN
