"""Ordering on a real database: what the interface's tests can't see."""

import asyncio
import time

import pytest

from eim.domain.ids import bucket_in, bucket_of, derive_operation_id, parse_iccid
from eim.domain.operation import Kind, State
from eim.errors import InvalidLines, NotFound
from eim.services.operations import Operations
from eim.services.ordering import Estate, Ordering, Target
from eim.services.tokens import Caller, Scope
from eim.store.connect import DbRole
from eim.store.orders import Repeat
from tests.database import Database
from tests.operator_side import A, B, caller_of, eid_of, eid_text, give_profiles, onboard, second_tenant


def operations_of(database: Database) -> Operations:
    return Operations(database.pool(DbRole.OPERATOR))


async def test_ids_are_derived_from_the_order_the_line_and_the_eid_and_carry_the_bucket(database: Database) -> None:
    await database.seed_identity()
    await onboard(database, range(3))
    targets = tuple(Target(eid_text(n)) for n in (2, 0, 1))
    done = await operations_of(database).place(caller_of(), Ordering(Kind.LIST_PROFILES, targets), None)
    for placed, number in zip(done.placed, (2, 0, 1), strict=True):
        assert placed.operation == derive_operation_id(done.order, placed.position, eid_of(number))
        assert bucket_in(placed.operation) == bucket_of(eid_of(number))


async def test_an_order_and_its_audit_record_are_one_transaction(database: Database) -> None:
    await database.seed_identity()
    await onboard(database, [1])
    await database.owner().execute("REVOKE INSERT ON audit FROM eim_operator")
    asked = Ordering(Kind.LIST_PROFILES, (Target(eid_text(1)),))
    with pytest.raises(Exception, match="audit"):
        await operations_of(database).place(caller_of(), asked, None)
    left = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM operations WHERE order_id IS NOT NULL)"
    row = await database.owner().fetchrow(left)
    assert row is not None
    assert tuple(row) == (0, 0)
    assert await database.owner().fetchval("SELECT ordinals FROM euiccs") == 2


async def test_orders_over_the_same_cards_in_opposite_order_do_not_deadlock(database: Database) -> None:
    await database.seed_identity()
    await onboard(database, range(300))
    operations = operations_of(database)
    there = tuple(Target(eid_text(n)) for n in range(300))
    askings = [Ordering(Kind.LIST_PROFILES, targets, confirm=300) for targets in (there, there[::-1]) * 4]
    done = await asyncio.gather(*(operations.place(caller_of(), asked, None) for asked in askings))
    assert [each.accepted for each in done] == [300] * 8
    assert await database.owner().fetchval("SELECT max(ordinal) FROM operations") == 10
    assert await database.owner().fetchval("SELECT count(DISTINCT (eid, ordinal)) FROM operations") == 3000


async def test_the_inventory_that_decides_is_read_under_the_lock(database: Database) -> None:
    await database.seed_identity()
    await onboard(database, [1])
    await give_profiles(database, 1)
    eid = eid_of(1)
    asked = Ordering(Kind.DELETE, (Target(eid_text(1)),), iccid=B)
    async with database.owner().acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM euiccs WHERE bucket = $1 AND eid = $2 FOR UPDATE", bucket_of(eid), eid)
        placing = asyncio.create_task(operations_of(database).place(caller_of(), asked, None))
        await asyncio.sleep(0.2)
        swap = "UPDATE profiles SET state = CASE WHEN iccid = $1 THEN 'enabled' ELSE 'disabled' END"
        await other.execute(swap, parse_iccid(B))
    with pytest.raises(InvalidLines, match="1 of 1"):
        await placing
    done = await operations_of(database).place(caller_of(), Ordering(Kind.DELETE, asked.targets, iccid=A), None)
    assert done.accepted == 1


async def test_a_key_belongs_to_one_tenant(database: Database) -> None:
    await database.seed_identity()
    tenant = await second_tenant(database)
    other = Caller(tenant, "token:other", frozenset(Scope))
    await onboard(database, [1])
    await onboard(database, [2], other)
    operations, repeat = operations_of(database), Repeat("same", b"hash")
    everyone = Ordering(Kind.LIST_PROFILES, Estate())
    mine = await operations.place(caller_of(), everyone, repeat)
    theirs = await operations.place(other, everyone, repeat)
    assert mine.order != theirs.order
    assert [p.eid for p in mine.placed + theirs.placed] == [eid_of(1), eid_of(2)]
    with pytest.raises(NotFound):
        await operations.progress(other, mine.order)
    assert (await operations.progress(caller_of(), mine.order)).by_state()[State.ACCEPTED] == 1


async def test_an_order_of_twenty_thousand_lines_takes_seconds(database: Database) -> None:
    await database.seed_identity()
    for start in (0, 10_000):
        await onboard(database, range(start, start + 10_000))
    began = time.process_time()  # what it costs us; how long it takes is the machine's matter
    done = await operations_of(database).place(
        caller_of(), Ordering(Kind.ENABLE, Estate(), iccid=B, confirm=20_000), None
    )
    assert done.accepted == 20_000
    assert done.placed == ()
    assert time.process_time() - began < 10
    assert await database.owner().fetchval("SELECT count(*) FROM operations WHERE kind = 'enable'") == 20_000
