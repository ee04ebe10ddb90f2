"""Counters at their end, cards that are ahead, tokens that changed, keys that follow: with cards that judge."""

from contextlib import suppress

import msgspec
import pytest

from eim.asn1.sgp32 import EuiccPackageRequest, decode
from eim.domain.ids import bucket_of
from eim.domain.operation import Kind
from eim.services import associating
from eim.services.associating import RenewalRule
from eim.services.sealing import Sealer
from eim.sim import euicc
from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Received, Verdict
from eim.store.connect import DbRole, transaction
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

A, B = "Carrier A", "Carrier B"
ALARM = 7_549_746


@pytest.fixture
async def rig(database: Database) -> Rig:
    """One card, introduced and listed."""
    made = await rigs.start(database)
    await made.onboard()
    await made.visit(made.cards[0])
    return made


async def at_counter(rig: Rig, counter: int) -> None:
    """Our counter and the card's are there."""
    card = rig.cards[0]
    known = card.associations.find(rigs.EIM_ID)
    assert known is not None
    card.associations = card.associations.put(msgspec.structs.replace(known, highest=counter))
    await rig.database.owner().execute("UPDATE euiccs SET counter = $1", counter)


def card_key(card: VirtualEuicc) -> bytes:
    known = card.associations.find(rigs.EIM_ID)
    assert known is not None
    return known.key.public_numbers().x.to_bytes(32, "big")


def our_key(rig: Rig, name: str) -> bytes:
    return rig.keys.signers[name].spki[-64:-32]


async def row(rig: Rig, card: VirtualEuicc) -> dict[str, object]:
    (found,) = await rig.rows("euiccs", card)
    return found


async def sealed(rig: Rig, card: VirtualEuicc) -> list[object]:
    """How its packages stand, the first one first."""
    return [p["state"] for p in sorted(await rig.rows("packages", card), key=lambda p: str(p["number"]))]


async def kinds(rig: Rig, card: VirtualEuicc) -> list[object]:
    return [e["kind"] for e in await rig.rows("events", card)]


async def test_what_was_sealed_with_an_old_token_is_taken_back_in_the_transaction_that_learns_the_new_one(
    database: Database,
) -> None:
    rig = await rigs.start(database)
    card = rig.cards[0]
    await rig.onboard()
    await rig.database.owner().execute("UPDATE euiccs SET introduced_at = now(), association_token = 99")  # a wrong one
    question = await rig.poll(card)
    assert question is not None
    assert await sealed(rig, card) == ["head", "waiting"]
    await rig.provide(card, rig.execute(card, question))
    assert await sealed(rig, card) == ["ended", "dead"], "no worker was needed"
    await rig.visit(card)
    refused = [e for e in rig.journal.entries if isinstance(e, Received) and e.verdict is Verdict.BAD_SIGNATURE]
    assert refused == []


async def test_the_last_counter_but_one_works_and_the_next_package_renews_the_association(rig: Rig) -> None:
    card = rig.cards[0]
    await at_counter(rig, 8_388_605)
    await rig.database.owner().execute("UPDATE euiccs SET counter_alarmed_at = now()")
    await rig.order(card, Kind.LIST_PROFILES)
    last = await rig.poll(card)
    assert last is not None
    assert decode(EuiccPackageRequest, last).package.counter == 8_388_606
    await rig.provide(card, rig.execute(card, last))
    await rig.add_key()
    order = await rig.order(card, Kind.ENABLE, B)
    renewal = await rig.poll(card)
    assert renewal is not None
    assert bytes.fromhex("81037FFFFF") in renewal
    await rig.provide(card, rig.execute(card, renewal))
    assert card_key(card) == our_key(rig, "next")
    await rig.visit(card)
    assert (await rig.operation(order))["state"] == "done"
    assert await rig.enabled(card) == B
    now = await row(rig, card)
    assert (now["counter"], now["key_number"], now["association"], now["stalled"]) == (1, 1, 1, None)


async def test_without_a_newer_key_nothing_is_signed_at_the_end_of_the_counter_and_an_operator_is_told(
    rig: Rig,
) -> None:
    card = rig.cards[0]
    await at_counter(rig, 8_388_606)
    order = await rig.order(card, Kind.ENABLE, B)
    for _ in range(3):
        assert await rig.poll(card) is None
    assert (await row(rig, card))["stalled"] == "counterExhausted"
    assert (await kinds(rig, card)).count("euicc.stalled") == 1
    assert (await rig.operation(order))["state"] == "accepted"
    assert max(p["counter"] or 0 for p in await rig.rows("packages", card)) < 8_388_606  # type: ignore[type-var, operator]


async def test_a_card_onboarded_anew_while_it_was_planned_is_not_taken_for_one_without_counters(rig: Rig) -> None:
    """Nothing was allocated for it, as the row that was planned is gone; the one that is there counts anew."""
    card = rig.cards[0]
    async with transaction(rig.database.pool(DbRole.WORKER)) as db:
        assert not await associating.exhausted(db, bucket_of(card.eid), card.eid, RenewalRule(automatic=True))
    assert (await row(rig, card))["stalled"] is None
    await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert await rig.enabled(card) == B


async def test_passing_nine_tenths_is_told_once_and_the_association_renewed_by_itself(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.add_key()
    await at_counter(rig, ALARM - 1)
    orders = [await rig.order(card, Kind.LIST_PROFILES) for _ in range(4)]
    await rig.visit(card)
    assert [(await rig.operation(o))["state"] for o in orders] == ["done"] * 4
    assert (await kinds(rig, card)).count("euicc.counter_high") == 1
    assert (await kinds(rig, card)).count("euicc.key_turned") == 1
    assert (await row(rig, card))["counter"] < 10  # type: ignore[operator]


async def test_where_renewal_is_not_automatic_passing_nine_tenths_is_only_told(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.add_key()
    rig.worker._sealer = Sealer(rig.database.pool(DbRole.WORKER), rig.keys, 3, RenewalRule(automatic=False))
    await at_counter(rig, ALARM)
    await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    assert (await kinds(rig, card)).count("euicc.counter_high") == 1
    assert (await row(rig, card))["key_number"] == 0


async def visit_soon(rig: Rig, card: VirtualEuicc) -> None:
    """A visit when all that was put off is due. What stays in doubt is given again until then: the device gives up."""
    await rig.soon()
    with suppress(AssertionError):
        await rig.visit(card)


async def test_a_card_far_ahead_is_met_by_growing_margins(rig: Rig) -> None:
    card = rig.cards[0]
    await at_counter(rig, 1_000_000)
    await rig.database.owner().execute("UPDATE euiccs SET counter = 5")
    order = await rig.order(card, Kind.ENABLE, B)
    for _ in range(5):
        await visit_soon(rig, card)
    assert (await rig.operation(order))["outcome"]["reason"] == "notExecuted"  # type: ignore[index]
    jumps = [e["data"] for e in await rig.rows("events", card) if e["kind"] == "euicc.counter_jumped"]
    assert [j["counter"] - j["before"] for j in jumps] == [1_000, 10_000, 100_000, 1_000_000]  # type: ignore[index]
    audits = await rig.database.owner().fetch("SELECT 1 FROM audit WHERE action = 'counter.resynced'")
    assert len(audits) == 4
    assert (await row(rig, card))["resyncs"] == 0
    again = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert (await rig.operation(again))["state"] == "done"


async def test_a_card_out_of_reach_is_left_after_four_tries_with_a_reason(rig: Rig) -> None:
    card = rig.cards[0]
    await at_counter(rig, 8_000_000)
    await rig.database.owner().execute("UPDATE euiccs SET counter = 5")
    order = await rig.order(card, Kind.ENABLE, B)
    for _ in range(8):
        await visit_soon(rig, card)
    now = await row(rig, card)
    assert (now["stalled"], now["resyncs"]) == ("counterUnreachable", 4)
    assert (await rig.operation(order))["state"] == "in_doubt"
    assert await rig.poll(card) is None
    assert (await kinds(rig, card)).count("euicc.stalled") == 1


async def test_a_card_that_counts_less_far_is_met_half_way_back_and_left_after_four_tries(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = rig.cards[0]
    monkeypatch.setattr(euicc, "HIGHEST_COUNTER", 700_000)  # the standard wants more of a card
    await rig.database.owner().execute("UPDATE euiccs SET counter = 1_000_000")  # as after jumps
    order = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert (await rig.operation(order))["state"] == "done"
    now = await row(rig, card)
    assert 499_990 < now["counter"] < 500_100  # type: ignore[operator]
    assert now["resyncs"] == 0
    monkeypatch.setattr(euicc, "HIGHEST_COUNTER", 1)
    refused = await rig.order(card, Kind.LIST_PROFILES)
    for _ in range(6):
        await rig.visit(card)
    now = await row(rig, card)
    assert now["stalled"] == "counterValueOutOfRange"
    assert (await rig.operation(refused))["state"] == "accepted", "the card signed that it did not execute it"
    audits = await rig.database.owner().fetch("SELECT 1 FROM audit WHERE action = 'counter.resynced'")
    assert len(audits) <= 5
