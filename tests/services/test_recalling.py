"""A whole order is taken back: what no card had is withdrawn, what one may have is cleared up with it."""

from uuid import UUID

import msgspec

from eim.domain.operation import Kind, State
from eim.services.lines import OnError
from eim.services.operations import Operations
from eim.services.ordering import Estate, Ordering, Target
from eim.services.orders import Orders
from eim.store.connect import DbRole
from tests.database import Database
from tests.operator_side import caller_of, eid_text, onboard
from tests.services.rig import Rig, start

ALL = Ordering(Kind.GET_RAT, Estate(), on_error=OnError.SKIP)


async def states(rig: Rig, order: UUID) -> dict[str, int]:
    rows = await rig.database.owner().fetch(
        "SELECT state, count(*) AS many FROM operations WHERE order_id = $1 GROUP BY state", order
    )
    return {row["state"]: row["many"] for row in rows}


async def test_an_order_is_taken_back_from_every_state_its_operations_are_in(database: Database) -> None:
    rig = await start(database, devices=5)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    pool = database.pool(DbRole.OPERATOR)
    operations, orders = Operations(pool, spread_above=0), Orders(pool)
    order = (await operations.place(caller_of(), msgspec.structs.replace(ALL, confirm=5), None)).order
    await rig.work()
    assert await states(rig, order) == {"sealed": 5}
    await rig.visit(rig.cards[0])
    package = await rig.poll(rig.cards[1])
    assert package is not None
    assert await states(rig, order) == {"sealed": 3, "out": 1, "done": 1}
    began = await orders.withdraw(caller_of(), order)
    assert began.order.withdrawn_at is not None
    await rig.work()
    ended = await operations.progress(caller_of(), order)
    assert ended.order.recalled_at is not None
    assert await states(rig, order) == {"withdrawn": 3, "in_doubt": 1, "done": 1}
    assert (await orders.withdraw(caller_of(), order)).order.withdrawn_at == began.order.withdrawn_at
    for card in rig.cards[2:]:
        assert await rig.visit(card) == 0  # nothing of it goes out any more
    await rig.provide(rig.cards[1], rig.execute(rig.cards[1], package))
    await rig.visit(rig.cards[1])
    assert await states(rig, order) == {"withdrawn": 3, "done": 2}
    told = await database.owner().fetch("SELECT data ->> 'was' AS was FROM events WHERE kind = 'operation.withdrawn'")
    assert sorted(row["was"] for row in told) == ["out", "sealed", "sealed", "sealed"]
    audited = "SELECT count(*) FROM audit WHERE action = 'operation.withdraw' AND actor = 'token:test'"
    assert await database.owner().fetchval(audited) == 4


async def test_an_order_taken_back_while_it_is_placed_leaves_nothing_behind(database: Database) -> None:
    rig = await start(database, devices=1)
    await onboard(database, range(50))
    pool = database.pool(DbRole.OPERATOR)
    operations, orders = Operations(pool, spread_above=0), Orders(pool)
    order = (await operations.place(caller_of(), msgspec.structs.replace(ALL, confirm=50), None)).order
    await orders.withdraw(caller_of(), order)
    await rig.work()
    assert await states(rig, order) == {}
    ended = await operations.progress(caller_of(), order)
    assert ended.order.spread_at is not None
    assert ended.order.recalled_at is not None


async def test_what_comes_after_a_withdrawn_operation_is_skipped(database: Database) -> None:
    rig = await start(database, devices=1)
    await onboard(database, [1])
    steps = [Ordering(kind, (Target(eid_text(1)),)) for kind in (Kind.GET_RAT, Kind.LIST_PROFILES)]
    first, second = (await rig.operations.place_chain(caller_of(), steps, None)).steps
    await Orders(database.pool(DbRole.OPERATOR)).withdraw(caller_of(), first.order)
    await rig.work()
    assert await states(rig, first.order) == {State.WITHDRAWN.value: 1}
    assert await states(rig, second.order) == {State.FAILED.value: 1}
