"""Tokens that are lost, reused or senseless, and results that are somebody else's or not quite the card's."""

from contextlib import suppress

import msgspec
import pytest

from eim.domain.ids import format_eid
from eim.domain.operation import Kind
from eim.errors import Malformed
from eim.services.caring import Care, Guard
from eim.services.onboarding import Candidate, Rules
from eim.services.ordering import Ordering, Target
from eim.services.tokens import SETUP
from eim.sim.der import integer, tlv
from eim.sim.euicc import VirtualEuicc
from eim.sim.messages import transaction_of
from eim.store.connect import DbRole
from tests.database import Database
from tests.model.actions import other_tenant
from tests.services import rig as rigs
from tests.services.rig import Rig

B = "Carrier B"
_WRAPPER = 5  # octets: BF51, its length, A0, its length
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of P-256


@pytest.fixture
async def rig(database: Database) -> Rig:
    """One card, introduced and listed."""
    made = await rigs.start(database)
    await made.onboard()
    await made.visit(made.cards[0])
    return made


def give_token(card: VirtualEuicc, token: int | None) -> None:
    known = card.associations.find(rigs.EIM_ID)
    assert known is not None
    card.associations = card.associations.put(msgspec.structs.replace(known, token=token))


async def row(rig: Rig) -> dict[str, object]:
    (found,) = await rig.rows("euiccs", rig.cards[0])
    return found


async def visits(rig: Rig, times: int) -> None:
    """Visits with all that was put off due; what stays in doubt is given again until then: the device gives up."""
    for _ in range(times):
        await rig.soon()
        try:
            await rig.visit(rig.cards[0])
        except AssertionError:
            continue


@pytest.mark.parametrize("token", [None, 0, 1, 127, 128, 2**31 - 1, 2**31, 2**63 - 1])
async def test_whatever_token_the_card_has_is_learnt_and_pinned(database: Database, token: int | None) -> None:
    rig = await rigs.start(database)
    give_token(rig.cards[0], token)
    await rig.onboard()
    await rig.visit(rig.cards[0])
    order = await rig.order(rig.cards[0], Kind.ENABLE, B)
    await rig.visit(rig.cards[0])
    assert (await rig.operation(order))["state"] == "done"
    assert (await row(rig))["token_proven"] is True


@pytest.mark.parametrize("token", [-1, -5, 2**63, 2**127])
async def test_a_number_that_no_card_draws_as_token_is_not_believed_and_breaks_nothing(rig: Rig, token: int) -> None:
    card = rig.cards[0]
    known = await row(rig)
    asked = await rig.order(card, Kind.DATA_REQUEST)
    question = await rig.poll(card)
    assert question is not None
    give_token(card, token)
    answer = rig.execute(card, question)
    give_token(card, known["association_token"])  # type: ignore[arg-type]
    await rig.provide(card, answer)
    assert (await rig.operation(asked))["state"] == "done"
    assert (await row(rig))["association_token"] == known["association_token"]
    told = "euicc.token_differs" in [e["kind"] for e in await rig.rows("events", card)]
    assert told or token > 0, "one of more than 63 bits reads as none"


async def test_a_report_of_another_token_alone_changes_nothing(rig: Rig) -> None:
    card = rig.cards[0]
    known = await row(rig)
    await rig.order(card, Kind.DATA_REQUEST)
    question = await rig.poll(card)
    assert question is not None
    give_token(card, 77)
    answer = rig.execute(card, question)
    give_token(card, known["association_token"])  # type: ignore[arg-type]
    await rig.provide(card, answer)
    assert (await row(rig))["association_token"] == known["association_token"]
    order = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert (await rig.operation(order))["state"] == "done"


@pytest.mark.parametrize("token", [41, None])
async def test_a_card_that_drew_another_token_is_met_again(rig: Rig, token: int | None) -> None:
    card = rig.cards[0]
    give_token(card, token)  # as if another eIM had deleted and added us
    lost = await rig.order(card, Kind.ENABLE, B)
    await visits(rig, 3)
    assert (await rig.operation(lost))["state"] in ("done", "failed")
    order = await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    assert (await rig.operation(order))["state"] == "done"
    now = await row(rig)
    assert (now["association_token"], now["token_on_trial"], now["former_token"]) == (token, False, None)


async def test_a_lie_about_the_token_costs_a_round_and_no_more(rig: Rig) -> None:
    """Somebody answers the question in the card's place while a package of ours is in doubt."""
    card = rig.cards[0]
    known = await row(rig)
    await rig.order(card, Kind.ENABLE, B)
    assert await rig.poll(card) is not None
    (head,) = await rig.rows("mailbox", card)
    packages = {p["number"]: p for p in await rig.rows("packages", card)}
    named = packages[head["number"]]["transaction"]
    assert isinstance(named, bytes)
    inside = tlv(0x80, rigs.EIM_ID.encode()) + tlv(0x82, named) + integer(0x84, 99)
    await rig.provide(card, tlv(0xBF51, tlv(0xA2, inside)))
    assert (await row(rig))["association_token"] == known["association_token"], "the hint in it is no more than that"
    question = await rig.poll(card)
    assert question is not None
    give_token(card, 99)
    answer = rig.execute(card, question)
    give_token(card, known["association_token"])  # type: ignore[arg-type]
    await rig.provide(card, answer)
    now = await row(rig)
    assert (now["token_on_trial"], now["former_token"]) == (True, known["association_token"])
    await visits(rig, 4)
    order = await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    assert (await rig.operation(order))["state"] == "done"
    now = await row(rig)
    assert (now["association_token"], now["token_on_trial"]) == (known["association_token"], False)


async def provide_broken(rig: Rig, card: VirtualEuicc, octets: bytes) -> None:
    with suppress(Malformed):  # refused as no message
        await rig.provide(card, octets)


async def every_bit(rig: Rig, result: bytes, step: int) -> None:
    """From the signed data on: the five octets before it are not signed, and read leniently."""
    card = rig.cards[0]
    for bit in range(_WRAPPER * 8, len(result) * 8, step):
        broken = bytearray(result)
        broken[bit // 8] ^= 0x80 >> bit % 8
        await provide_broken(rig, card, bytes(broken))
        if bit % (step * 15) == 0:  # what can't be believed is kept for an hour's twenty only
            await rig.database.owner().execute("UPDATE results SET received_at = now() - interval '2 hours'")


async def nothing_but_the_true_one(rig: Rig, step: int) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    before = await rig.rows("profiles", card)
    await every_bit(rig, result, step)
    assert [r for r in await rig.rows("results", card) if r["operation"] == order and r["verdict"] == "verified"] == []
    assert (await rig.operation(order))["state"] in ("out", "in_doubt")
    assert await rig.rows("profiles", card) == before
    await rig.provide(card, result)
    assert (await rig.operation(order))["state"] == "done"


async def test_a_result_with_one_bit_flipped_is_never_applied(rig: Rig) -> None:
    await nothing_but_the_true_one(rig, 29)


@pytest.mark.slow
async def test_a_result_with_any_bit_flipped_is_never_applied(rig: Rig) -> None:
    await nothing_but_the_true_one(rig, 1)


@pytest.mark.parametrize("values", [(0, 0), (0, 1), (1, 0), (N, 1), (1, N), (N + 1, 1), (2**256 - 1, 2**256 - 1)])
async def test_a_signature_out_of_range_is_never_applied(rig: Rig, values: tuple[int, int]) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    forged = result[:-64] + b"".join(value.to_bytes(32, "big") for value in values)
    await provide_broken(rig, card, forged)
    assert (await rig.operation(order))["state"] == "out"


async def test_the_malleable_twin_of_a_signature_is_no_second_result(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    twin = result[:-32] + (N - int.from_bytes(result[-32:], "big")).to_bytes(32, "big")
    await rig.provide(card, result)
    ended = await rig.operation(order)
    await rig.provide(card, twin)
    assert await rig.operation(order) == ended
    assert sum(e["kind"] == "operation.done" for e in await rig.rows("events", card)) == 3


async def test_a_result_for_another_card_or_another_counter_is_never_applied(database: Database) -> None:
    rig = await rigs.start(database, 2)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    one, other = rig.cards
    orders = [await rig.order(card, Kind.ENABLE, B) for card in rig.cards]
    packages = [await rig.poll(card) for card in rig.cards]
    assert packages[0] is not None
    assert packages[1] is not None
    results = [rig.execute(card, package) for card, package in zip(rig.cards, packages, strict=True) if package]
    await provide_broken(rig, other, results[0])
    await provide_broken(rig, one, results[1])
    assert [(await rig.operation(o))["state"] for o in orders] == ["out", "out"], format_eid(one.eid)
    await rig.provide(one, results[0])
    again = await rig.order(one, Kind.ENABLE, "Carrier A")
    assert await rig.poll(one) is not None
    await rig.provide(one, results[0])  # the same card, an older counter and transaction
    assert (await rig.operation(again))["state"] == "out"


async def test_a_result_signed_for_another_tenant_or_another_transaction_is_never_applied(database: Database) -> None:
    """The card moved to another tenant with a result on its way; there, the same octets end nothing."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    await rig.visit(card)
    await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    other = await other_tenant(database)
    left = await Care(database.pool(DbRole.OPERATOR)).offboard(SETUP, card.eid, "a move", Guard.FORCED)
    candidate = Candidate(format_eid(card.eid), counter=left.counter, association_token=left.association_token)
    await rig.onboarding.add(other, candidate, Rules(), None)
    await rig.visit(card)
    asked = Ordering(Kind.ENABLE, (Target(format_eid(card.eid)),), service_provider="Carrier A")
    placed = (await rig.operations.place(other, asked, None)).placed[0].operation
    now_out = await rig.poll(card)
    assert now_out is not None
    named, before = transaction_of(now_out), transaction_of(package)
    assert named is not None
    assert before is not None
    for replayed in (result, result.replace(before, named)):
        await rig.provide(card, replayed)
        assert (await rig.operation(placed))["state"] == "out"
        assert await rig.enabled(card) == B
    await rig.provide(card, rig.execute(card, now_out))
    assert (await rig.operation(placed))["state"] == "done"
    assert await rig.enabled(card) == "Carrier A"
