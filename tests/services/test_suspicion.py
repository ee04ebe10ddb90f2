"""Two cards under one EID, cards that know us no more, and deny-lists: told, barred, and let go again."""

import time
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from eim.asn1 import der
from eim.asn1.sgp32 import EuiccPackageRequest, decode
from eim.domain import denial
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.domain.operation import Kind
from eim.domain.suspicion import SuspicionRules, Why
from eim.errors import Conflict, NotFound
from eim.protocol.esipa import NO_PACKAGE
from eim.protocol.marks import marks_of
from eim.services.denials import DenialRounds, Denials, Wanted
from eim.services.releasing import BarDesk
from eim.services.results import ResultRules
from eim.services.sources import Sources
from eim.services.tokens import SETUP
from eim.sim import messages
from eim.sim.clones import copy_of, forgery_of
from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Journal
from eim.sim.psmo import Condition
from eim.store.connect import DbRole
from eim.store.denials import Denial
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


def desk(rig: Rig) -> BarDesk:
    return BarDesk(rig.database.pool(DbRole.OPERATOR))


async def suspected(rig: Rig) -> list[str]:
    return [e["data"]["why"] for e in await rig.rows("events", rig.cards[0]) if e["kind"] == "euicc.suspected"]  # type: ignore[index]


async def told(rig: Rig, kind: str) -> int:
    return sum(row["kind"] == kind for row in await rig.rows("events", rig.cards[0]))


async def is_barred(rig: Rig, card: VirtualEuicc) -> bool:
    (row,) = await rig.rows("mailbox", card)
    return bool(row["barred"])


async def open_doubts(rig: Rig, card: VirtualEuicc) -> list[tuple[object, object]]:
    return [(o["kind"], o["doubt"]) for o in await rig.rows("operations", card) if o["state"] == "in_doubt"]


# Two cards


async def test_a_second_key_of_the_same_issuer_is_an_alarm_and_bars_the_card(rig: Rig) -> None:
    card = rig.cards[0]
    forged = forgery_of(card, rig.fleet.pki, Journal(rigs.now))
    await rig.order(card, Kind.DATA_REQUEST)
    await rig.order(card, Kind.ENABLE, B)
    request = await rig.poll(forged)
    assert request is not None
    await rig.provide(forged, rig.execute(forged, request))
    assert await suspected(rig) == ["second-key"]
    (event,) = [e for e in await rig.rows("events", card) if e["kind"] == "euicc.suspected"]
    evidence = event["data"]["evidence"]  # type: ignore[index]
    assert evidence["known"] != evidence["new"]
    assert (await rig.rows("euiccs", card))[0]["public_key"] is not None
    assert await is_barred(rig, card)
    assert await rig.poll(card) is None
    assert await rig.poll(forged) is None


async def test_a_copy_that_executes_the_same_package_is_seen_by_its_second_result(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    copied = copy_of(card, Journal(rigs.now))
    first = rig.execute(card, package)
    await rig.provide(card, first)
    copied.set_condition(Condition.CAT_BUSY)  # it lives in another device
    second = rig.execute(copied, package)
    assert await rig.provide(copied, second) != ()
    assert await suspected(rig) == ["two-results"]
    assert await is_barred(rig, card)


async def test_the_malleable_twin_of_a_result_is_no_second_result_and_no_suspicion(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    await rig.provide(card, result)
    ended = await rig.operation(order)
    order_of_curve = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = result[:-32] + (order_of_curve - int.from_bytes(result[-32:], "big")).to_bytes(32, "big")
    await rig.provide(card, twin)
    assert await rig.operation(order) == ended
    assert await told(rig, "operation.done") == 3  # with the introduction's
    assert await suspected(rig) == []


async def test_a_rollback_is_no_second_result(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B, rollback=True)
    package = await rig.poll(card)
    assert package is not None
    await rig.send(rig.wrap(card, rig.execute(card, package)))
    reverted = messages.result_in(card.profile_rollback(messages.ROLLBACK_REQUEST))
    assert reverted is not None
    await rig.provide(card, reverted)
    assert await suspected(rig) == []


async def test_a_result_for_a_counter_that_never_went_out_is_told(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    await rig.database.owner().execute("UPDATE mailbox SET highest_handed = 0")
    await rig.database.owner().execute("DELETE FROM packages WHERE state = 'head'")  # as after a restore
    await rig.provide(card, rig.execute(card, package))
    assert await suspected(rig) == ["foreign-counter"]
    assert not await is_barred(rig, card)


async def test_a_sequence_number_that_goes_back_and_an_inventory_of_others_are_told(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.database.owner().execute("UPDATE euiccs SET highest_seq = 100000")
    others = tuple(
        msgspec.structs.replace(p, iccid=bytes([0x98, n]) + p.iccid[2:]) for n, p in enumerate(card.state.profiles)
    )
    card.state = msgspec.structs.replace(card.state, profiles=others)
    await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    assert await suspected(rig) == ["sequence-back", "other-inventory"]
    assert not await is_barred(rig, card)


async def test_the_configuration_says_what_bars(rig: Rig) -> None:
    card = rig.cards[0]
    rules = SuspicionRules(quarantine=(Why.SEQUENCE,))
    rig.results._rules = ResultRules(100, False, rules)
    await rig.database.owner().execute("UPDATE euiccs SET highest_seq = 100000")
    await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    assert await is_barred(rig, card)


# Sources


def test_only_two_sources_that_take_turns_fast_are_suspicious() -> None:
    eid = Eid(bytes(16))
    sources = Sources(SuspicionRules(flips=3, window=60))
    assert [sources.suspicious(eid, "192.0.2.1", None, t) for t in range(100)] == [None] * 100
    assert [sources.suspicious(eid, f"192.0.2.{n}", None, n) for n in range(100)] == [None] * 100  # it moves on
    slow = Sources(SuspicionRules(flips=3, window=60))
    assert not any(slow.suspicious(eid, f"192.0.2.{n % 2}", None, 40 * n) for n in range(100))
    fast = [sources.suspicious(eid, f"198.51.{n % 2}.1", None, 200 + n) for n in range(6)]
    (sign,) = [each for each in fast if each is not None]
    assert sign[0] is Why.SOURCES
    assert sorted(sign[1]["between"]) == ["198.51.0.0/24", "198.51.1.0/24"]  # type: ignore[call-overload]


async def test_polls_from_two_networks_in_turns_are_told_once_a_day(rig: Rig) -> None:
    card = rig.cards[0]
    for n in range(40):
        plmn = bytes.fromhex("62F210" if n % 2 else "130014")
        await rig.send(messages.poll(card.eid, Speaks.V1_2, plmn, None))
    assert await suspected(rig) == ["two-networks"]
    assert not await is_barred(rig, card)


# Quarantine


async def test_in_quarantine_nothing_goes_out_and_what_comes_is_kept(rig: Rig) -> None:
    card = rig.cards[0]
    first, second = await rig.order(card, Kind.ENABLE, B), await rig.order(card, Kind.LIST_PROFILES)
    package = await rig.poll(card)
    assert package is not None
    await desk(rig).quarantine(SETUP, card.eid, "two devices call")
    began = time.monotonic()
    assert await rig.send(messages.poll(card.eid, Speaks.V1_2, None, None)) == NO_PACKAGE
    assert time.monotonic() - began < 1
    assert await rig.poll(card) is None
    assert await open_doubts(rig, card) == [("enable", "quarantined")]
    assert (await rig.operation(second))["state"] == "accepted"
    assert len(await rig.provide(card, rig.execute(card, package))) == 1  # acknowledged, and applied: it verified
    assert (await rig.operation(first))["state"] == "done"
    with pytest.raises(NotFound):
        await desk(rig).quarantine(SETUP, Eid(bytes(16)), "who is it")
    await desk(rig).release(SETUP, card.eid, "it was a test")
    await rig.visit(card)
    assert (await rig.operation(second))["state"] == "done"
    with pytest.raises(Conflict):
        await desk(rig).release(SETUP, card.eid, "again")


async def test_a_hand_out_that_is_under_way_is_seen_by_who_bars(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B)
    await rig.work()
    await desk(rig).quarantine(SETUP, card.eid, "before the hand-out")
    assert await rig.poll(card) is None
    assert await open_doubts(rig, card) == []
    await desk(rig).release(SETUP, card.eid, "after it")
    await rig.visit(card)
    assert await rig.enabled(card) == B


# Orphans


async def test_a_card_that_knows_us_no_more_becomes_an_orphan_and_is_taken_back(rig: Rig) -> None:
    card = rig.cards[0]
    card.memory_reset(bytes.fromhex("BF640482020204"))  # bit 5: its eIMs
    await rig.send(messages.poll(card.eid, Speaks.V1_2, None, 4))
    await rig.order(card, Kind.ENABLE, B)
    for _ in range(12):
        if (package := await rig.poll(card)) is not None:
            await rig.provide(card, rig.execute(card, package))
        await rig.database.owner().execute("UPDATE requests SET not_before = now()")
    assert await told(rig, "euicc.orphaned") == 1
    packages = len(await rig.rows("packages", card))
    await rig.order(card, Kind.LIST_PROFILES)
    await rig.work()
    assert len(await rig.rows("packages", card)) == packages
    card.add_initial_eim(rigs.add_initial_eim(rig.keys.signer.spki))
    await desk(rig).release(SETUP, card.eid, "associated anew")
    await rig.visit(card)
    assert not await open_doubts(rig, card)
    (row,) = await rig.rows("euiccs", card)
    assert (row["orphaned_at"], row["reset_at"], row["token_proven"]) == (None, None, True)


async def test_a_thief_who_answers_for_a_card_blocks_it_no_longer_than_until_it_calls(rig: Rig) -> None:
    card = rig.cards[0]
    before = (await rig.rows("euiccs", card))[0]["counter"]
    order = await rig.order(card, Kind.ENABLE, B)
    for _ in range(12):
        await rig.send(messages.poll(card.eid, Speaks.V1_2, None, 4))  # says that the card was reset
        if (package := await rig.poll(card)) is not None and package[:2] == b"\xbf\x51":
            named = decode(EuiccPackageRequest, package).package.transaction_id
            inside = der.wrap(0x80, rigs.EIM_ID.encode()) + der.wrap(0x82, named or b"")
            await rig.send(rig.wrap(card, der.wrap(0xBF51, der.wrap(0xA2, inside))))
        elif package is not None:
            await rig.send(rig.wrap(card, der.wrap(0xBF52, der.wrap(0xA1, b"\x02\x01\x7f"))), card.eid)
        await rig.database.owner().execute("UPDATE requests SET not_before = now()")
    assert await told(rig, "euicc.orphaned") == 1
    assert (await rig.operation(order))["state"] in ("accepted", "in_doubt")
    for _ in range(3):
        await rig.visit(card)
    assert await told(rig, "euicc.released") == 1
    (row,) = await rig.rows("euiccs", card)
    assert row["orphaned_at"] is None
    assert row["counter"] - before <= 8  # type: ignore[operator]
    assert (await rig.operation(order))["state"] in ("done", "failed")
    await rig.order(card, Kind.LIST_PROFILES)
    assert await rig.visit(card) == 1


async def test_a_stranger_makes_no_orphan_by_errors_that_name_nothing(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B)
    await rig.poll(card)
    inside = der.wrap(0x80, rigs.EIM_ID.encode())
    for n in range(30):
        error = der.wrap(0xBF51, der.wrap(0xA2, inside + der.wrap(0x82, bytes([n]) * 16)))
        await rig.send(rig.wrap(card, error))
    assert await told(rig, "euicc.orphaned") == 0
    assert await rig.visit(card) == 1


# Deny-lists


def marks(card: VirtualEuicc) -> dict[str, str]:
    """One mark of each kind that the card has."""
    of_chain = marks_of(card.credentials.euicc_certificate, card.credentials.eum_certificate)
    found = {mark.partition(":")[0]: mark for mark in reversed(of_chain)}
    return found | {"eid": denial.one(card.eid), "ein": denial.ein(card.eid.hex()[:8])}


async def deny(rig: Rig, mark: str, **more: object) -> Denial:
    eid = Eid(bytes.fromhex(mark[4:])) if mark.startswith("eid:") else None
    return await Denials(rig.database.pool(DbRole.OPERATOR)).add(SETUP, Wanted(mark, "stolen", eid=eid, **more))  # type: ignore[arg-type]


async def act(rig: Rig) -> None:
    """What the worker does of denials."""
    rounds = DenialRounds(rig.database.pool(DbRole.WORKER), rig.leasing, rigs.now)
    while await rounds.round():
        pass


async def lift(rig: Rig, ident: UUID) -> None:
    await Denials(rig.database.pool(DbRole.OPERATOR)).lift(SETUP, ident, "found")


@pytest.mark.parametrize("kind", ["eid", "ein", "eum", "cert", "serial"])
async def test_a_denial_of_each_kind_bites_at_the_next_poll_and_can_be_lifted(rig: Rig, kind: str) -> None:
    card = rig.cards[0]
    first = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    made = await deny(rig, marks(card)[kind])
    assert await rig.send(messages.poll(card.eid, Speaks.V1_2, None, None)) == NO_PACKAGE  # before any worker
    await act(rig)
    assert await open_doubts(rig, card) == [("enable", "denied")]
    assert await rig.poll(card) is None
    await rig.provide(card, rig.execute(card, package))  # kept and acknowledged, and nothing follows of it
    assert (await rig.operation(first))["state"] == "in_doubt"
    assert (await rig.rows("results", card))[-1]["verdict"] == "denied"
    with pytest.raises(Conflict):
        await deny(rig, marks(card)[kind])
    with pytest.raises(Conflict):
        await desk(rig).release(SETUP, card.eid, "not this way")
    await lift(rig, made.id)
    await act(rig)
    await rig.visit(card)
    assert (await rig.operation(first))["state"] == "done"
    assert await rig.enabled(card) == B
    assert await told(rig, "euicc.denied") == await told(rig, "euicc.admitted") == 1


async def test_a_denial_of_others_leaves_a_card_alone(rig: Rig) -> None:
    card = rig.cards[0]
    for mark in ("ein:99999999", "cert:" + "00" * 32, "serial:1@00", "eum:" + "00" * 20):
        await deny(rig, mark)
    await act(rig)
    await rig.order(card, Kind.ENABLE, B)
    assert await rig.visit(card) == 1


async def test_a_denial_ends_by_itself(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B)
    await deny(rig, denial.one(card.eid), expires_at=rigs.now() + timedelta(hours=1))
    await act(rig)
    assert await rig.poll(card) is None
    owner = rig.database.owner()
    await owner.execute("UPDATE denials SET expires_at = now()")
    await owner.execute("UPDATE denial_rounds SET due_at = now()")
    await act(rig)
    assert not await is_barred(rig, card)
    await deny(rig, denial.one(card.eid))  # and may be made anew


async def test_a_card_that_shows_a_denied_certificate_at_its_first_visit_is_barred(database: Database) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    await deny(rig, marks(card)["cert"])
    await act(rig)
    await rig.visit(card)
    assert await is_barred(rig, card)
    assert {o["state"] for o in await rig.rows("operations", card)} == {"done", "accepted"}
    assert await rig.send(messages.poll(card.eid, Speaks.V1_2, None, None), card.eid) == NO_PACKAGE


async def test_a_denied_maker_is_barred_when_its_card_is_onboarded(database: Database) -> None:
    rig = await rigs.start(database)
    await deny(rig, marks(rig.cards[0])["ein"])
    await act(rig)
    await rig.onboard()
    assert await rig.poll(rig.cards[0]) is None
    await act(rig)
    assert await is_barred(rig, rig.cards[0])
