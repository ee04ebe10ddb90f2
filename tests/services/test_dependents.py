"""Operations that come after another one, or after an event: never sealed before, skipped when it can't come."""

from uuid import UUID

import pytest

from eim.domain.ids import format_eid
from eim.domain.operation import Kind
from eim.errors import Conflict, InvalidRequest, NotFound
from eim.services.operations import Chained
from eim.services.ordering import Ordering, Target
from eim.services.tokens import SETUP
from eim.sim.messages import ROLLBACK_REQUEST, result_in
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

A, B = "Carrier A", "Carrier B"


@pytest.fixture
async def rig(database: Database) -> Rig:
    """One card, introduced and listed."""
    made = await rigs.start(database)
    await made.onboard()
    await made.visit(made.cards[0])
    return made


async def chain(rig: Rig, *steps: Ordering) -> list[UUID]:
    done: Chained = await rig.operations.place_chain(SETUP, steps, None)
    return [step.placed[0].operation for step in done.steps]


def step(rig: Rig, kind: Kind, carrier: str | None = None, **more: object) -> Ordering:
    return Ordering(kind, (Target(format_eid(rig.cards[0].eid)),), service_provider=carrier, **more)  # type: ignore[arg-type]


async def stands(rig: Rig, *operations: UUID) -> list[tuple[object, object]]:
    """(state, what it waits for or why it ended) of each."""
    rows = [await rig.operation(each) for each in operations]
    return [(r["state"], (r["outcome"] or {}).get("reason") or r["held"]) for r in rows]  # type: ignore[attr-defined]


async def test_a_step_is_sealed_only_after_the_success_of_the_one_before(rig: Rig) -> None:
    card = rig.cards[0]
    first, second, third = await chain(
        rig, step(rig, Kind.ENABLE, B), step(rig, Kind.DELETE, A), step(rig, Kind.LIST_PROFILES)
    )
    package = await rig.poll(card)
    assert package is not None
    assert await stands(rig, first, second, third) == [
        ("out", None),
        ("accepted", "operation"),
        ("accepted", "operation"),
    ]
    assert len([p for p in await rig.rows("packages", card) if p["state"] in ("waiting", "head")]) == 1
    await rig.provide(card, rig.execute(card, package))
    assert await stands(rig, second, third) == [("accepted", None), ("accepted", "operation")]
    assert await rig.visit(card) == 2
    assert await stands(rig, first, second, third) == [("done", "ok")] * 3
    assert [p["service_provider"] for p in await rig.rows("profiles", card)] == [B]


async def test_when_one_does_not_succeed_the_rest_is_skipped_and_told(rig: Rig) -> None:
    card = rig.cards[0]
    first, second, third = await chain(
        rig, step(rig, Kind.ENABLE, A), step(rig, Kind.LIST_PROFILES), step(rig, Kind.LIST_PROFILES)
    )
    beside = await rig.order(card, Kind.LIST_PROFILES)
    assert await rig.visit(card) == 2  # the card refuses the first: it is enabled already
    assert await stands(rig, first, second, third, beside) == [
        ("failed", "profileNotInDisabledState"),
        ("failed", "dependencyFailed"),
        ("failed", "dependencyFailed"),
        ("done", "ok"),  # it is not part of the chain
    ]
    told = [e["data"] for e in await rig.rows("events", card) if e["kind"] == "operation.failed"]
    assert sorted(t["after"] for t in told if "after" in t) == sorted([str(first), str(second)])  # type: ignore[operator, index]

    taken_back, behind = await chain(rig, step(rig, Kind.ENABLE, B), step(rig, Kind.LIST_PROFILES))
    await rig.operations.withdraw(SETUP, taken_back)
    assert await stands(rig, taken_back, behind) == [("withdrawn", "withdrawn"), ("failed", "dependencyFailed")]

    old, behind = await chain(rig, step(rig, Kind.ENABLE, B), step(rig, Kind.LIST_PROFILES))
    await rig.database.owner().execute("UPDATE operations SET expires_at = now() WHERE id = $1", old)
    await rig.work()
    assert await stands(rig, old, behind) == [("expired", "expired"), ("failed", "dependencyFailed")]

    doubted, behind = await chain(rig, step(rig, Kind.ENABLE, B), step(rig, Kind.LIST_PROFILES))
    package = await rig.poll(card)
    assert package is not None
    await rig.operations.withdraw(SETUP, doubted)
    await rig.work()
    assert await stands(rig, behind) == [("accepted", "operation")]
    await rig.provide(card, rig.execute(card, package))  # late
    assert await stands(rig, doubted, behind) == [("done", "ok"), ("accepted", None)]


async def test_what_waits_for_contact_or_an_event_goes_out_after_it(rig: Rig) -> None:
    card = rig.cards[0]
    waiting = await rig.order(card, Kind.LIST_PROFILES, after_event="euicc.network_changed")
    assert await rig.poll(card) is None
    assert await stands(rig, waiting) == [("accepted", "event")]
    await rig.send(bytes.fromhex("BF4F175A10") + card.eid + bytes.fromhex("820332F451"))  # another network
    assert await rig.visit(card) == 1
    assert await stands(rig, waiting) == [("done", "ok")]

    first, second, third = await chain(
        rig,
        step(rig, Kind.ENABLE, B),
        step(rig, Kind.LIST_PROFILES, after_event="contact"),
        step(rig, Kind.LIST_PROFILES),
    )
    package = await rig.poll(card)
    assert package is not None
    await rig.provide(card, rig.execute(card, package))
    await rig.work()
    assert await stands(rig, first, second) == [("done", "ok"), ("accepted", "contact")]
    assert (await rig.operations.withdraw(SETUP, third)).state == "withdrawn"  # what waits can be taken back
    await rig.poll(card)  # it is heard of
    assert await rig.visit(card) == 1
    assert await stands(rig, second) == [("done", "ok")]


async def test_an_order_may_name_the_operation_it_comes_after(rig: Rig) -> None:
    card = rig.cards[0]
    first = await rig.order(card, Kind.ENABLE, B)
    second = await rig.order(card, Kind.DELETE, A, after=first)  # not guarded: A is disabled by then
    assert await stands(rig, second) == [("accepted", "operation")]
    assert await rig.visit(card) == 2
    third = await rig.order(card, Kind.LIST_PROFILES, after=second)  # done already
    assert await stands(rig, second, third) == [("done", "ok"), ("accepted", None)]
    await rig.operations.withdraw(SETUP, third)
    with pytest.raises(Conflict, match="withdrawn"):
        await rig.order(card, Kind.LIST_PROFILES, after=third)
    with pytest.raises(NotFound, match="same eUICC"):
        await rig.order(card, Kind.LIST_PROFILES, after=UUID(int=1))
    with pytest.raises(InvalidRequest, match="contact"):
        await rig.order(card, Kind.LIST_PROFILES, after_event="operation.done")


async def test_a_rollback_after_success_skips_what_was_not_sealed_yet(rig: Rig) -> None:
    card = rig.cards[0]
    first, second = await chain(
        rig, step(rig, Kind.ENABLE, B, rollback=True), step(rig, Kind.LIST_PROFILES, after_event="contact")
    )
    package = await rig.poll(card)
    assert package is not None
    await rig.send(rig.wrap(card, rig.execute(card, package)))  # the acknowledgement is lost
    assert await stands(rig, first, second) == [("done", "ok"), ("accepted", "contact")]
    reverted = result_in(card.profile_rollback(ROLLBACK_REQUEST))
    assert reverted is not None
    await rig.provide(card, reverted)
    assert await stands(rig, first, second) == [("failed", "rolledBack"), ("failed", "dependencyFailed")]
