"""The life of an operation on a real database: windows, tries, parking. Time passes by moving the database's times."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from eim.domain import opening
from eim.domain.ids import format_eid
from eim.domain.operation import Kind
from eim.errors import Conflict, InvalidLines
from eim.services.caring import Care, Edit
from eim.services.tokens import SETUP
from eim.sim.psmo import Condition
from eim.store.connect import DbRole
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

A, B = "Carrier A", "Carrier B"
HOUR = timedelta(hours=1)


@pytest.fixture
async def rig(database: Database) -> Rig:
    """One card, introduced and listed."""
    made = await rigs.start(database)
    await made.onboard()
    await made.visit(made.cards[0])
    return made


def window(first: timedelta, last: timedelta) -> str:
    """A daily one in UTC, from now."""
    now = datetime.now(UTC)
    return f"{now + first:%H:%M}-{now + last:%H:%M} UTC"


async def sql(rig: Rig, statement: str, *values: object) -> None:
    await rig.database.owner().execute(statement, *values)


async def state(rig: Rig, operation: UUID) -> object:
    return (await rig.operation(operation))["state"]


async def close(rig: Rig, operation: UUID) -> None:
    """Its window closes, and the next one is hours away."""
    far = window(2 * HOUR, 3 * HOUR)
    await sql(rig, "UPDATE operations SET closes_at = now(), opening = $2 WHERE id = $1", operation, far)
    await sql(rig, "UPDATE mailbox SET closes_at = now() WHERE operation = $1", operation)
    await sql(rig, "UPDATE packages SET closes_at = now() WHERE operation = $1", operation)


async def test_nothing_is_handed_out_outside_its_window(rig: Rig) -> None:
    card = rig.cards[0]
    later = await rig.order(card, Kind.ENABLE, B, opening=opening.parse(window(2 * HOUR, 3 * HOUR)))
    assert await rig.poll(card) is None
    beside = await rig.order(card, Kind.LIST_PROFILES)
    assert await rig.visit(card) == 1  # what is closed stands in nobody's way
    assert await state(rig, beside) == "done"
    row = await rig.operation(later)
    assert HOUR < row["not_before"] - datetime.now(UTC) <= 2 * HOUR  # type: ignore[operator]
    await rig.operations.withdraw(SETUP, later)

    now = await rig.order(card, Kind.ENABLE, B, opening=opening.parse(window(-HOUR, HOUR)))
    behind = await rig.order(card, Kind.LIST_PROFILES, opening=opening.parse(window(-HOUR, 2 * HOUR)))
    await rig.work()
    assert [await state(rig, each) for each in (now, behind)] == ["sealed", "sealed"]
    await close(rig, now)  # between sealing and the poll, before any worker saw it
    answer = await rig.send(bytes.fromhex("BF4F125A10") + card.eid)
    assert answer == bytes.fromhex("BF4F03020101")
    package = await rig.poll(card)
    assert package is not None
    assert [await state(rig, each) for each in (now, behind)] == ["accepted", "out"]
    await close(rig, behind)  # what is out is not given again either
    assert await rig.poll(card) is None
    await rig.provide(card, rig.execute(card, package))  # its answer counts whenever it comes
    assert await state(rig, behind) == "done"


async def test_a_window_is_of_the_cards_own_clock_and_follows_its_zone(rig: Rig) -> None:
    card = rig.cards[0]
    eid = format_eid(card.eid)
    ours = opening.parse("22:00-23:00")
    with pytest.raises(InvalidLines) as refused:
        await rig.order(card, Kind.LIST_PROFILES, opening=ours)
    assert "time zone" in str(refused.value.lines)
    caring = Care(rig.database.pool(DbRole.OPERATOR))
    await caring.edit(SETUP, card.eid, Edit(time_zone="Asia/Tokyo"), None)
    placed = await rig.order(card, Kind.LIST_PROFILES, opening=ours)
    assert (await rig.operation(placed))["not_before"].hour == 13  # type: ignore[attr-defined]
    await caring.edit(SETUP, card.eid, Edit(time_zone="Asia/Kolkata"), None)
    await rig.work()
    row = await rig.operation(placed)
    assert (row["not_before"].hour, row["not_before"].minute) == (16, 30)  # type: ignore[attr-defined]
    assert row["opening"] == "daily 22:00-23:00 local", eid


async def test_a_busy_card_is_tried_again_later_and_nothing_overtakes_but_what_is_urgent(rig: Rig) -> None:
    card = rig.cards[0]
    enable = await rig.order(card, Kind.ENABLE, B)
    listing = await rig.order(card, Kind.LIST_PROFILES)
    card.set_condition(Condition.CAT_BUSY)
    assert await rig.visit(card) == 1
    row = await rig.operation(enable)
    assert (row["state"], row["attempts"], row["outcome"]["reason"]) == ("accepted", 1, "catBusy")  # type: ignore[index]
    ordered_later = await rig.order(card, Kind.LIST_PROFILES)
    assert await rig.poll(card) is None
    urgent = await rig.order(card, Kind.LIST_PROFILES, priority=50)
    assert await rig.visit(card) == 1
    assert await state(rig, urgent) == "done"
    card.set_condition(Condition.READY)
    await sql(rig, "UPDATE operations SET not_before = now() WHERE id = $1", enable)
    assert await rig.visit(card) == 3
    assert [await state(rig, each) for each in (enable, listing, ordered_later)] == ["done"] * 3
    told = [e["data"] for e in await rig.rows("events", card) if e["kind"] == "operation.postponed"]
    assert [(t["reason"], t["attempt"]) for t in told] == [("catBusy", 1)]  # type: ignore[index]


async def test_after_the_last_try_and_with_none_allowed_a_refusal_is_final(rig: Rig) -> None:
    card = rig.cards[0]
    card.set_condition(Condition.CAT_BUSY)
    at_once = await rig.order(card, Kind.ENABLE, B, retries=0)
    assert await rig.visit(card) == 1
    assert await state(rig, at_once) == "failed"
    patient = await rig.order(card, Kind.ENABLE, B, retries=2)
    for _ in range(3):
        await sql(rig, "UPDATE operations SET not_before = now() WHERE state = 'accepted'")
        assert await rig.visit(card) == 1
    row = await rig.operation(patient)
    assert (row["state"], row["attempts"], row["outcome"]["reason"]) == ("failed", 2, "catBusy")  # type: ignore[index]


async def test_what_can_not_be_sealed_is_parked_and_holds_up_nobody(database: Database) -> None:
    rig = await rigs.start(database, 3)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    poisoned, *others = rig.cards
    before = await rig.order(poisoned, Kind.LIST_PROFILES)
    poison = await rig.order(poisoned, Kind.ENABLE, B)
    behind = await rig.order(poisoned, Kind.LIST_PROFILES)
    good = [await rig.order(card, Kind.ENABLE, B) for card in others]
    await sql(rig, "UPDATE operations SET kind = 'paint' WHERE id = $1", poison)
    for card in rig.cards:
        await rig.visit(card)
    assert [await state(rig, each) for each in (before, behind, *good)] == ["done"] * 4
    for _ in range(4):
        assert (await rig.operation(poison))["held"] is None
        await sql(rig, "UPDATE operations SET not_before = now() WHERE id = $1", poison)
        await rig.work()
    row = await rig.operation(poison)
    assert (row["state"], row["held"], row["faults"]) == ("accepted", "operator", 5)
    assert row["parked"]
    assert sum(e["kind"] == "operation.parked" for e in await rig.rows("events", poisoned)) == 1
    await sql(rig, "UPDATE operations SET kind = 'enable' WHERE id = $1", poison)
    assert await rig.visit(poisoned) == 0
    await rig.operations.resume(SETUP, poison)
    assert await rig.visit(poisoned) == 1
    assert await state(rig, poison) == "done"
    with pytest.raises(Conflict, match="not parked"):
        await rig.operations.resume(SETUP, poison)
