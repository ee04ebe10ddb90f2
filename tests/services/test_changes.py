"""Changes that nobody ordered: which audit each makes, how it is called, and that our view is true afterwards."""

import msgspec
import pytest

from eim.domain.euicc import Speaks
from eim.domain.event import Happening
from eim.domain.operation import Kind
from eim.sim import messages
from eim.sim.der import tlv
from eim.sim.euicc import VirtualEuicc
from eim.sim.messages import ROLLBACK_REQUEST, result_in
from eim.sim.psmo import Condition
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


async def report(rig: Rig, cause: int, speaks: Speaks = Speaks.V1_2) -> bytes | None:
    """A poll that says what changed."""
    await rig.work()
    return await rig.send(messages.poll(rig.cards[0].eid, speaks, None, cause))


async def told(rig: Rig) -> list[str]:
    rows = await rig.rows("events", rig.cards[0])
    return [str(row["kind"]) for row in sorted(rows, key=lambda row: row["turn"])]  # type: ignore[arg-type,return-value]


async def since(rig: Rig, before: list[str], noun: str = "euicc.") -> list[str]:
    """The events of `noun` since `before`, but for the drift that an inventory shows as well."""
    return [kind for kind in (await told(rig))[len(before) :] if kind.startswith(noun) and kind != "euicc.drift"]


async def audits(rig: Rig) -> set[object]:
    """The kinds of what the eIM itself placed and has not done yet."""
    rows = await rig.rows("operations", rig.cards[0])
    return {row["kind"] for row in rows if row["state"] in ("accepted", "sealed", "out")}


def use(card: VirtualEuicc, carrier: str, *, fallback: str | None = None) -> None:
    """The card's enabled profile is the one of `carrier` now, without an order; `fallback` has the attribute."""
    profiles = tuple(
        msgspec.structs.replace(each, enabled=each.provider == carrier, fallback=each.provider == fallback)
        for each in card.state.profiles
    )
    card.state = msgspec.structs.replace(card.state, profiles=profiles)


@pytest.mark.parametrize(
    ("cause", "kinds", "named"),
    [
        (0, {Kind.LIST_PROFILES, Kind.LIST_EIM}, ["euicc.changed_elsewhere"]),
        (1, {Kind.LIST_PROFILES}, []),
        (2, {Kind.LIST_PROFILES}, ["euicc.emergency_profile"]),
        (3, {Kind.LIST_PROFILES}, ["euicc.changed_locally"]),
        (4, {Kind.LIST_PROFILES, Kind.DATA_REQUEST, Kind.LIST_EIM}, ["euicc.reset"]),
        (5, {Kind.LIST_PROFILES}, ["euicc.immediately_enabled"]),
        (6, {Kind.LIST_PROFILES, Kind.DATA_REQUEST}, []),
        (127, {Kind.LIST_PROFILES, Kind.DATA_REQUEST}, []),
        (9, {Kind.LIST_PROFILES, Kind.DATA_REQUEST}, []),
    ],
)
async def test_each_cause_has_its_audit_its_name_and_a_true_view_afterwards(
    rig: Rig, cause: int, kinds: set[Kind], named: list[str]
) -> None:
    before = await told(rig)
    use(rig.cards[0], B)
    for _ in range(3):  # the answer is lost, so the device says it again
        await report(rig, cause)
    await rig.work()
    assert await audits(rig) == kinds
    assert await since(rig, before) == ["euicc.changed", *named]
    await rig.visit(rig.cards[0])
    assert await rig.enabled(rig.cards[0]) == B
    (row,) = await rig.rows("euiccs", rig.cards[0])
    assert row["reported_cause"] is None


async def test_v1_0_1_names_no_cause_and_is_asked_all_the_same(rig: Rig) -> None:
    use(rig.cards[0], B)
    before = await told(rig)
    await rig.send(bytes.fromhex("BF4F195A10") + rig.cards[0].eid + bytes.fromhex("8000810362F210"))
    await rig.visit(rig.cards[0])
    assert await since(rig, before) == ["euicc.network_changed", "euicc.changed"]
    assert await rig.enabled(rig.cards[0]) == B


async def test_fallback_and_the_way_back_are_called_by_their_names(rig: Rig) -> None:
    card = rig.cards[0]
    use(card, A, fallback=B)
    await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    before = await told(rig)
    card.fall_back()
    await report(rig, 1)
    await rig.visit(card)
    assert await rig.enabled(card) == B
    use(card, A, fallback=B)
    await report(rig, 1)
    await rig.visit(card)
    assert await rig.enabled(card) == A
    assert await since(rig, before) == [
        *("euicc.changed", "euicc.fallback_entered"),
        *("euicc.changed", "euicc.fallback_left"),
    ]


async def test_fallback_is_seen_by_a_plain_inventory_too(rig: Rig) -> None:
    card = rig.cards[0]
    before = await told(rig)
    use(card, B, fallback=B)
    await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    assert await since(rig, before) == ["euicc.fallback_entered"]


async def test_claims_of_change_are_audited_a_bounded_number_of_times(rig: Rig) -> None:
    card = rig.cards[0]
    placed = len(await rig.rows("operations", card))
    for _ in range(30):
        await report(rig, 5)
        await rig.visit(card)
    assert len(await rig.rows("operations", card)) - placed <= 12
    assert len(await rig.rows("requests", card)) == 1  # the next one waits


async def test_another_network_is_an_event_with_both_names(rig: Rig) -> None:
    card, before = rig.cards[0], await told(rig)
    for plmn in ("62F210", "62F210", "130014"):
        await rig.send(messages.poll(card.eid, Speaks.V1_2, bytes.fromhex(plmn), None))
    assert await since(rig, before) == ["euicc.network_changed"] * 2
    rows = [r["data"] for r in await rig.rows("events", card) if r["kind"] == Happening.EUICC_NETWORK_CHANGED.text]
    assert {"plmn": "130014", "network": "310-410", "before": "262-01"} in rows


async def test_a_new_device_is_told_with_what_differs(rig: Rig) -> None:
    card, before = rig.cards[0], await told(rig)
    await report(rig, 6)
    while (package := await rig.poll(card)) is not None:
        answer = rig.execute(card, package)
        if package[:2] == b"\xbf\x52":
            answer = answer.replace(bytes.fromhex("800435000000"), bytes.fromhex("800453111111"))
        await rig.provide(card, answer)
    assert await since(rig, before) == ["euicc.changed", "euicc.device_changed"]
    (event,) = [r for r in await rig.rows("events", card) if r["kind"] == "euicc.device_changed"]
    assert event["data"] == {"differs": {"tac": ["35000000", "53111111"]}}


async def test_a_rollback_is_told_whether_it_was_ordered_or_not_and_also_late(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B, rollback=True)
    package = await rig.poll(card)
    assert package is not None
    await rig.send(rig.wrap(card, rig.execute(card, package)))  # done; the acknowledgement is lost
    await rig.order(card, Kind.LIST_PROFILES)
    reverted = result_in(card.profile_rollback(ROLLBACK_REQUEST))
    assert reverted is not None
    for _ in range(2):
        await rig.provide(card, reverted)
    assert (await told(rig)).count("euicc.rolled_back") == 1
    await rig.visit(card)
    assert await rig.enabled(card) == A


# Emergency calls


async def wait_is_over(rig: Rig) -> None:
    await rig.database.owner().execute("UPDATE operations SET not_before = now() WHERE state = 'accepted'")


async def delays(rig: Rig) -> list[object]:
    events = sorted(await rig.rows("events", rig.cards[0]), key=lambda row: row["turn"])  # type: ignore[arg-type,return-value]
    return [e["data"]["again_in_s"] for e in events if e["kind"] == "operation.postponed"]  # type: ignore[index]


@pytest.mark.parametrize("kind", [Kind.ENABLE, Kind.DATA_REQUEST])
async def test_an_emergency_call_postpones_later_and_later_and_fails_nothing(rig: Rig, kind: Kind) -> None:
    card = rig.cards[0]
    before = await told(rig)
    order = await rig.order(card, kind, B if kind is Kind.ENABLE else None)
    card.set_condition(Condition.ECALL)
    for _ in range(3):
        await wait_is_over(rig)
        package = await rig.poll(card)
        assert package is not None
        await rig.provide(card, rig.execute(card, package))
        assert await rig.poll(card) is None
    pauses = zip(map(float, map(str, await delays(rig))), (60, 120, 240), strict=True)
    assert all(0.8 * each <= pause <= 1.2 * each for pause, each in pauses)  # spread by a fifth
    assert (await rig.operation(order))["state"] == "accepted"
    (row,) = await rig.rows("euiccs", card)
    assert row["ecall_since"] is not None
    card.set_condition(Condition.READY)
    await wait_is_over(rig)
    await rig.visit(card)
    assert (await rig.operation(order))["state"] == "done"
    assert await since(rig, before) == ["euicc.ecall_started", "euicc.ecall_ended"]


async def test_a_download_in_an_emergency_call_is_told_as_such(rig: Rig) -> None:
    card = rig.cards[0]
    trigger = tlv(0xBF54, tlv(0x30, tlv(0x80, bytes([104]))))
    await rig.send(rig.wrap(card, trigger), card.eid)
    (event,) = [e for e in await rig.rows("events", card) if e["kind"] == "download.reported"]
    assert event["data"] == {"reason": "ecallActive"}
    assert "euicc.ecall_started" in await told(rig)
