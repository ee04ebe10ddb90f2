"""A card that vanishes for 60 days with work in every state: what becomes of it, and what the operator is told.

The 60 days pass by moving every time in the database, not the clock.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from eim.domain import opening
from eim.domain.operation import Kind, State
from eim.services.tokens import SETUP
from eim.sim.euicc import VirtualEuicc
from eim.sim.psmo import Condition
from eim.web import views
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

A, B = "Carrier A", "Carrier B"
_TIMES: Final = {
    "operations": ("created_at", "not_before", "expires_at", "handed_at", "closes_at"),
    "mailbox": ("not_before", "handed_at", "closes_at"),
    "packages": ("not_before", "sealed_at", "closes_at"),
    "requests": ("not_before", "created_at"),
    "events": ("at",),
    "results": ("received_at",),
    "euiccs": ("created_at", "introduced_at", "last_seen_at", "inventory_at"),
}


class Case(msgspec.Struct, frozen=True):
    """How it stood when the card went away; what is said when it is away; what becomes of it when it is back."""

    prepare: Callable[[Rig, VirtualEuicc], Awaitable[UUID]]
    away: tuple[str, str]  # state, and words of the sentence
    back: tuple[str, str, str]  # state, reason, and words of the sentence
    enabled: str = B  # whose profile is in use in the end


async def accepted(rig: Rig, card: VirtualEuicc) -> UUID:
    return await rig.order(card, Kind.ENABLE, B, expires_in="18 months")


async def sealed(rig: Rig, card: VirtualEuicc) -> UUID:
    placed = await rig.order(card, Kind.ENABLE, B)
    await rig.work()
    return placed


async def ran_out(rig: Rig, card: VirtualEuicc) -> UUID:
    placed = await rig.order(card, Kind.ENABLE, B, expires_in="1 month")
    await rig.work()
    return placed


async def _out(rig: Rig, card: VirtualEuicc, **more: object) -> tuple[UUID, bytes]:
    placed = await rig.order(card, Kind.ENABLE, B, **more)
    package = await rig.poll(card)
    assert package is not None
    return placed, package


async def out_unread(rig: Rig, card: VirtualEuicc) -> UUID:
    return (await _out(rig, card))[0]  # the answer to the poll was lost


async def out_executed(rig: Rig, card: VirtualEuicc) -> UUID:
    placed, package = await _out(rig, card)
    rig.execute(card, package)  # and the result never came
    return placed


async def out_forgotten(rig: Rig, card: VirtualEuicc) -> UUID:
    placed = await out_executed(rig, card)
    for result in card.results:
        card.remove_notification(result.seq)
    return placed


async def out_ran_out(rig: Rig, card: VirtualEuicc) -> UUID:
    placed, package = await _out(rig, card, expires_in="1 month")
    rig.execute(card, package)
    return placed


async def withdrawn_too_late(rig: Rig, card: VirtualEuicc) -> UUID:
    placed = await out_executed(rig, card)
    await rig.operations.withdraw(SETUP, placed)
    return placed


async def withdrawn_in_doubt(rig: Rig, card: VirtualEuicc) -> UUID:
    placed = await out_unread(rig, card)
    await rig.operations.withdraw(SETUP, placed)
    return placed


async def withdrawn(rig: Rig, card: VirtualEuicc) -> UUID:
    placed = await sealed(rig, card)
    await rig.operations.withdraw(SETUP, placed)
    return placed


async def busy(rig: Rig, card: VirtualEuicc) -> UUID:
    placed, package = await _out(rig, card)
    card.set_condition(Condition.CAT_BUSY)
    await rig.provide(card, rig.execute(card, package))
    card.set_condition(Condition.READY)
    return placed


async def behind(rig: Rig, card: VirtualEuicc) -> UUID:
    first = await out_executed(rig, card)
    return await rig.order(card, Kind.DELETE, A, after=first)


async def behind_what_ran_out(rig: Rig, card: VirtualEuicc) -> UUID:
    first = await ran_out(rig, card)
    return await rig.order(card, Kind.LIST_PROFILES, after=first)


async def in_a_window(rig: Rig, card: VirtualEuicc) -> UUID:
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 3))
    return await rig.order(card, Kind.ENABLE, B, opening=opening.parse(f"{soon:%H:%M}-{later:%H:%M} UTC"))


async def parked(rig: Rig, card: VirtualEuicc) -> UUID:
    placed = await rig.order(card, Kind.ENABLE, B)
    await rig.database.owner().execute(
        "UPDATE operations SET held = 'operator', faults = 5, parked = 'no such thing' WHERE id = $1", placed
    )
    return placed


CASES: Final = (
    Case(accepted, ("sealed", "signed and waits for the card"), ("done", "ok", "signed that it did")),
    Case(sealed, ("sealed", "signed and waits for the card"), ("done", "ok", "signed that it did")),
    Case(ran_out, ("expired", "before the card called"), ("expired", "expired", "never had it"), A),
    Case(out_unread, ("out", "handed out at"), ("done", "ok", "signed that it did")),
    Case(out_executed, ("out", "handed out at"), ("done", "ok", "answer came late")),
    Case(out_forgotten, ("out", "handed out at"), ("done", "ok", "its own list shows that it was done")),
    Case(out_ran_out, ("in_doubt", "its time ran out when the card had it"), ("done", "ok", "answer came late")),
    Case(withdrawn_too_late, ("in_doubt", "withdrawn when the card had it"), ("done", "ok", "answer came late")),
    Case(withdrawn_in_doubt, ("in_doubt", "may have executed it"), ("failed", "withdrawn", "took it back in time"), A),
    Case(withdrawn, ("withdrawn", "never had it"), ("withdrawn", "withdrawn", "never had it"), A),
    Case(busy, ("sealed", "signed and waits for the card"), ("done", "ok", "signed that it did")),
    Case(behind, ("accepted", "after the success of operation"), ("done", "ok", "signed that it did")),
    Case(behind_what_ran_out, ("failed", "comes after did not succeed"), ("failed", "dependencyFailed", "never"), A),
    Case(in_a_window, ("accepted", "its window"), ("accepted", "", "its window"), A),
    Case(parked, ("accepted", "it is parked"), ("accepted", "", "it is parked"), A),
)


async def test_each_comes_to_the_end_that_the_table_names_and_is_explained(database: Database) -> None:
    rig = await rigs.start(database, len(CASES))
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    placed = [await case.prepare(rig, card) for case, card in zip(CASES, rig.cards, strict=True)]
    await _let_pass(rig, timedelta(days=60))
    await rig.work()
    for case, operation in zip(CASES, placed, strict=True):
        state, _, said, step = await _told(rig, operation)
        assert (state, case.away[1] in said, step != "") == (case.away[0], True, True), (case.prepare.__name__, said)
    for case, card, operation in zip(CASES, rig.cards, placed, strict=True):
        await _come_back(rig, card)
        state, reason, said, step = await _told(rig, operation)
        name = case.prepare.__name__
        assert (state, reason, case.back[2] in said, step != "") == (*case.back[:2], True, True), (name, said)
        assert await rig.enabled(card) == case.enabled, name
        executed = [entry for entry in await rig.rows("results", card) if entry["operation"] == operation]
        assert len({entry["counter"] for entry in executed if entry["kind"] == "result"}) <= 2, name
    doubts = await database.owner().fetchval("SELECT count(*) FROM operations WHERE state = 'in_doubt'")
    assert doubts == 0


def test_the_cases_cover_every_state_that_work_can_be_in() -> None:
    away = {case.away[0] for case in CASES} | {case.back[0] for case in CASES}
    assert away == {state.value for state in State}


async def _let_pass(rig: Rig, span: timedelta) -> None:
    for table, columns in _TIMES.items():
        moved = ", ".join(f"{column} = {column} - $1::interval" for column in columns)
        await rig.database.owner().execute(f"UPDATE {table} SET {moved}", span)


async def _come_back(rig: Rig, card: VirtualEuicc) -> None:
    """It calls several times that day, as devices do."""
    for _ in range(3):
        await rig.visit(card)


async def _told(rig: Rig, operation: UUID) -> tuple[str, str, str, str]:
    """State, reason, and the sentence and the next step that REST and the command line show."""
    seen = views.operation(await rig.operations.read(SETUP, operation))
    return seen.state, str((seen.outcome or {}).get("reason", "")), seen.means, seen.next_step
