"""What results do: to operations, to the inventory, to doubts. Each with a card that really executes."""

import asyncio
from contextlib import suppress

import msgspec
import pytest

from eim.asn1.sgp32 import IpaEuiccDataRequest, PendingNotification, decode
from eim.domain.euicc import Speaks
from eim.domain.ids import bucket_of, format_eid
from eim.domain.operation import Kind
from eim.errors import Malformed
from eim.protocol import trust
from eim.services import notifications
from eim.services.tokens import SETUP
from eim.sim import messages
from eim.sim.der import integer, tlv
from eim.sim.messages import ROLLBACK_REQUEST, result_in
from eim.sim.psmo import Condition
from eim.store.connect import DbRole
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


async def test_enabling_b_shows_a_disabled(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B, rollback=True)
    assert await rig.visit(card) == 1
    assert await rig.enabled(card) == B
    assert (await rig.operation(order))["state"] == "done"
    assert card.results == ()


async def test_a_lost_answer_is_given_again_with_the_same_octets(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B)
    first = await rig.poll(card)
    assert first is not None
    assert [await rig.poll(card) for _ in range(3)] == [first] * 3


async def test_the_same_result_twice_has_one_effect_and_the_same_answer(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.wrap(card, rig.execute(card, package))
    answers = await asyncio.gather(*(rig.send(result) for _ in range(4)))
    assert len(set(answers)) == 1
    assert await rig.send(result) == answers[0]
    assert (await rig.operation(order))["state"] == "done"
    assert sum(e["kind"] == "operation.done" for e in await rig.rows("events", card)) == 3  # with the introduction's


async def test_an_old_result_after_a_later_operation_overwrites_nothing(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    old = rig.execute(card, package)
    await rig.provide(card, old)
    await rig.order(card, Kind.ENABLE, A)
    await rig.visit(card)
    assert await rig.enabled(card) == A
    await rig.provide(card, old)
    assert await rig.enabled(card) == A


async def test_a_rollback_fails_the_operation_and_the_card_is_listed_again(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B, rollback=True)
    package = await rig.poll(card)
    assert package is not None
    rig.execute(card, package)
    reverted = result_in(card.profile_rollback(ROLLBACK_REQUEST))
    assert reverted is not None
    await rig.provide(card, reverted)
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["reason"]) == ("failed", "rolledBack")  # type: ignore[index]
    assert await rig.enabled(card) == A
    assert await rig.visit(card) == 1  # the inventory
    assert await rig.enabled(card) == A


async def test_a_rollback_after_a_result_we_already_had_takes_the_success_back(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B, rollback=True)
    package = await rig.poll(card)
    assert package is not None
    await rig.send(rig.wrap(card, rig.execute(card, package)))  # the acknowledgement is lost
    assert (await rig.operation(order))["state"] == "done"
    reverted = result_in(card.profile_rollback(ROLLBACK_REQUEST))
    assert reverted is not None
    await rig.provide(card, reverted)
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["reason"]) == ("failed", "rolledBack")  # type: ignore[index]
    assert await rig.enabled(card) == A


async def test_a_refusal_of_the_card_has_the_standards_name(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, A)  # it is enabled already
    await rig.visit(card)
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["reason"]) == ("failed", "profileNotInDisabledState")  # type: ignore[index]


async def test_a_lost_result_is_fetched_when_the_card_says_replay(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    rig.execute(card, package)  # its result never arrives
    assert await rig.poll(card) == package
    await rig.provide(card, rig.execute(card, package))  # replayError, signed
    assert (await rig.operation(order))["state"] == "in_doubt"
    await rig.visit(card)
    ended = await rig.operation(order)
    assert ended["state"] == "done"
    assert ended["outcome"]["late"] is True  # type: ignore[index]
    assert await rig.enabled(card) == B


async def test_a_replay_whose_result_is_gone_is_resolved_by_the_inventory(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    rig.execute(card, package)
    for result in card.results:
        card.remove_notification(result.seq)
    await rig.provide(card, rig.execute(card, package))
    await rig.visit(card)
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["resolved_by"]) == ("done", "inventory")  # type: ignore[index]


async def test_an_unsigned_error_that_names_its_package_makes_it_doubtful_and_no_more(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    transaction = max(await rig.rows("packages", card), key=lambda p: p["number"])["transaction"]  # type: ignore[arg-type, return-value]
    assert isinstance(transaction, bytes)
    eim_id = rigs.EIM_ID.encode()
    inside = b"\x80" + bytes([len(eim_id)]) + eim_id + b"\x82\x10" + transaction
    await rig.provide(card, b"\xbf\x51" + bytes([len(inside) + 2]) + b"\xa2" + bytes([len(inside)]) + inside)
    assert (await rig.operation(order))["state"] == "in_doubt"
    await rig.visit(card)  # data request, inventory: the card never executed it
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["reason"]) == ("failed", "notExecuted")  # type: ignore[index]
    assert await rig.enabled(card) == A


async def test_an_unsigned_error_without_transaction_changes_nothing(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    eim_id = rigs.EIM_ID.encode()
    inside = b"\x80" + bytes([len(eim_id)]) + eim_id
    for _ in range(3):
        await rig.provide(card, b"\xbf\x51" + bytes([len(inside) + 2]) + b"\xa2" + bytes([len(inside)]) + inside)
    assert (await rig.operation(order))["state"] == "out"
    assert await rig.poll(card) == package
    assert [r["verdict"] for r in await rig.rows("results", card) if r["kind"] == "errorUnsigned"] == ["unsigned"]


async def test_a_flipped_bit_anywhere_in_a_result_is_never_applied(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    for at in range(len(result) - 70, len(result), 3):  # the results and the signature
        broken = bytearray(result)
        broken[at] ^= 1
        with suppress(Malformed):  # refused as no message, or stored as refused: either is right
            await rig.provide(card, bytes(broken))
    assert (await rig.operation(order))["state"] == "out"
    await rig.provide(card, result)
    assert (await rig.operation(order))["state"] == "done"


async def test_a_key_verifies_results_of_its_own_eid_only(database: Database) -> None:
    rig = await rigs.start(database, devices=2)
    await rig.onboard()
    one, other = rig.cards
    await rig.visit(one)
    await rig.visit(other)
    order = await rig.order(one, Kind.ENABLE, B)
    package = await rig.poll(one)
    assert package is not None
    result = rig.execute(one, package)
    await rig.provide(other, result)  # said to be the other's
    assert (await rig.operation(order))["state"] == "out"
    await rig.provide(one, result)
    assert (await rig.operation(order))["state"] == "done"


async def test_withdrawn_before_the_hand_out_it_never_goes_out(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    await rig.work()
    await rig.operations.withdraw(SETUP, order)
    assert await rig.poll(card) is None
    assert (await rig.operation(order))["state"] == "withdrawn"


async def test_withdrawn_while_out_it_stays_doubtful_until_the_card_has_spoken(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    await rig.operations.withdraw(SETUP, order)
    assert (await rig.operation(order))["state"] == "in_doubt"
    assert await rig.poll(card) != package
    await rig.visit(card)
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["reason"]) == ("failed", "withdrawn")  # type: ignore[index]
    assert await rig.enabled(card) == A


async def test_an_emergency_call_postpones_the_operation(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    card.set_condition(Condition.ECALL)
    await rig.provide(card, rig.execute(card, package))
    assert (await rig.operation(order))["state"] == "accepted"
    assert await rig.poll(card) is None


async def test_operations_reach_the_card_in_the_order_placed(rig: Rig) -> None:
    card = rig.cards[0]
    placed = [await rig.order(card, Kind.ENABLE, carrier) for carrier in (B, A, B, A, B)]
    assert await rig.visit(card) == 5
    assert await rig.enabled(card) == B
    assert [(await rig.operation(o))["state"] for o in placed] == ["done"] * 5
    handed = [(await rig.operation(o))["handed_at"] for o in placed]
    assert handed == sorted(handed)  # type: ignore[type-var]


async def test_no_counter_ever_goes_out_below_one_already_out(rig: Rig) -> None:
    card = rig.cards[0]

    async def place(n: int) -> None:
        await rig.order(card, Kind.LIST_PROFILES, priority=50 if n % 7 == 0 else 100)

    out: list[bytes] = []
    for start in range(0, 48, 8):
        await asyncio.gather(*(place(n) for n in range(start, start + 8)))
        package = await rig.poll(card)
        assert package is not None
        out.append(package)
        await rig.provide(card, rig.execute(card, package))
    while (package := await rig.poll(card)) is not None:
        out.append(package)
        await rig.provide(card, rig.execute(card, package))
    assert len(set(out)) == 48
    counters = [r["counter"] for r in await rig.rows("results", card) if r["kind"] == "result"]
    assert len(counters) == 49  # with the introduction's
    assert not any(r["kind"] == "errorSigned" for r in await rig.rows("results", card))


async def test_a_state_change_makes_an_inventory_in_the_same_visit(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.send(bytes.fromhex("BF4F145A10") + card.eid + bytes.fromhex("8000"))
    assert await rig.visit(card) == 2  # it did not say what changed
    last = sorted(await rig.rows("operations", card), key=lambda row: row["ordinal"])[-2:]  # type: ignore[arg-type,return-value]
    assert {row["kind"] for row in last} == {"listProfileInfo", "ipaEuiccDataRequest"}


async def test_the_device_role_cannot_make_an_operation(rig: Rig) -> None:
    card = rig.cards[0]
    bucket = bucket_of(card.eid)
    with pytest.raises(Exception, match="permission denied for table operations"):
        await rig.database.pool(DbRole.DEVICE).execute(
            "INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by)"
            " VALUES ($1, gen_random_uuid(), $2, 1, 1, 99, 'enable', 'thief')",
            bucket,
            card.eid,
        )
    assert format_eid(card.eid)


async def test_a_card_whose_root_is_not_configured_keeps_nobody_busy_and_is_verified_later(database: Database) -> None:
    rig = await rigs.start(database)
    trusted = rig.results._roots
    rig.results._roots = trust.load_roots([])
    card = rig.cards[0]
    await rig.onboard()
    assert await rig.visit(card) == 4  # a first answer might be forged: it is asked three times
    assert sorted(str(o["state"]) for o in await rig.rows("operations", card)) == ["done"] * 3 + ["in_doubt"]
    assert await rig.visit(card) == 0  # asked again tomorrow, not now
    rig.results._roots = trusted
    await rig.order(card, Kind.DATA_REQUEST)
    assert await rig.visit(card) == 1
    assert {o["state"] for o in await rig.rows("operations", card)} == {"done"}
    assert await rig.enabled(card) == A


async def test_a_card_ahead_of_us_is_caught_up_with(rig: Rig) -> None:
    card = rig.cards[0]
    ahead = card.associations.find(rigs.EIM_ID)
    assert ahead is not None
    card.associations = card.associations.put(msgspec.structs.replace(ahead, highest=700))
    order = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)  # the recovery is called a replay too, so the next one passes over 1,000 counters
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["reason"]) == ("failed", "notExecuted")  # type: ignore[index]
    again = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert (await rig.operation(again))["state"] == "done"


async def test_a_card_that_lost_our_association_is_left_in_peace(rig: Rig) -> None:
    card = rig.cards[0]
    card.associations = msgspec.structs.replace(card.associations, entries=())
    order = await rig.order(card, Kind.ENABLE, B)
    with pytest.raises(AssertionError, match="never runs out"):
        await rig.visit(card)  # the recovery's package stays out until its time; the device stops by its own cap
    requests = await rig.rows("requests", card)
    assert [r["kind"] for r in requests] == ["recover"]
    assert len(await rig.rows("operations", card)) == 2 + 1 + 2 * 2  # introduced, ordered, recovered twice
    assert (await rig.operation(order))["state"] == "in_doubt"


async def test_a_flood_of_results_that_prove_nothing_is_bounded_and_stops_nobody(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    for n in range(60):
        await rig.provide(card, result[:-2] + n.to_bytes(2, "big"))  # another signature each time
    assert sum(r["verdict"] == "refused" for r in await rig.rows("results", card)) <= 20
    await rig.provide(card, result)
    assert (await rig.operation(order))["state"] == "done"


async def test_a_flood_does_not_hide_the_error_that_names_the_package_out(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    await rig.poll(card)
    for n in range(25):
        await rig.provide(card, messages.no_download(bytes([7, n]), Speaks.V1_2))
    (out,) = [p for p in await rig.rows("packages", card) if p["state"] == "head"]
    transaction = out["transaction"]
    assert isinstance(transaction, bytes)
    await rig.provide(card, messages.response_error(1, transaction, Speaks.V1_2))
    assert (await rig.operation(order))["state"] == "in_doubt"


async def test_a_flood_of_what_no_card_signed_is_bounded(database: Database) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    for n in range(30):
        await rig.provide(card, messages.no_download(bytes([7, n]), Speaks.V1_2))
        await rig.provide(card, _forged(n, counter=9))
    assert len(await rig.rows("results", card)) <= 20


async def test_a_forged_result_with_a_guessed_counter_moves_nothing(database: Database) -> None:
    rig = await _listed_without_certificates(database)
    card = rig.cards[0]
    (out,) = [p for p in await rig.rows("packages", card) if p["state"] == "head"]
    await rig.provide(card, _forged(1, int(str(out["counter"]))))
    assert await rig.poll(card) == out["sealed"]


async def test_a_forged_result_from_before_the_certificate_leaves_no_doubt(database: Database) -> None:
    rig = await _listed_without_certificates(database)
    card = rig.cards[0]
    (out,) = [p for p in await rig.rows("packages", card) if p["state"] == "head"]
    assert isinstance(out["transaction"], bytes)
    await rig.provide(card, _forged(1, int(str(out["counter"])), out["transaction"]))
    assert "in_doubt" in [o["state"] for o in await rig.rows("operations", card)]
    await rig.order(card, Kind.DATA_REQUEST)
    await rig.visit(card)
    ended = [(o["state"], (o["outcome"] or {}).get("reason")) for o in await rig.rows("operations", card)]  # type: ignore[attr-defined]
    assert set(ended) == {("done", "ok"), ("failed", "superseded")}  # the inventory is known by a later one
    assert await rig.enabled(card) == A


async def _listed_without_certificates(database: Database) -> Rig:
    """A card of which somebody told us the token only, and whose inventory is out."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    request = await rig.poll(card)
    assert request is not None
    named = decode(IpaEuiccDataRequest, request).transaction_id
    assert named is not None
    await rig.provide(card, tlv(0xBF52, tlv(0xA0, integer(0x84, 1), tlv(0x87, named))))
    assert await rig.poll(card) is not None
    return rig


def _forged(seq: int, counter: int, transaction: bytes | None = None) -> bytes:
    """A result whose signature anybody could have made."""
    named = b"" if transaction is None else tlv(0x82, transaction)
    head = tlv(0x80, rigs.EIM_ID.encode()), integer(0x81, counter), named, integer(0x83, seq)
    data = tlv(0x30, *head, tlv(0x30, integer(0x83, 0)))
    return tlv(0xBF51, tlv(0xA0, data, tlv(0x5F37, bytes(64))))


@pytest.mark.parametrize("transaction", [None, b"\x07"])
async def test_the_same_error_again_is_kept_once_and_answered(rig: Rig, transaction: bytes | None) -> None:
    card = rig.cards[0]
    error = rig.wrap(card, messages.response_error(127, transaction, Speaks.V1_2))
    answers = {await rig.send(error) for _ in range(3)}
    assert answers == {bytes.fromhex("BF50023000")}
    assert len([r for r in await rig.rows("results", card) if r["kind"] == "responseError"]) == 1


async def test_a_flood_of_notifications_keeps_no_result_from_us(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_AN_HOUR", 0)
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.execute(card, package)
    listed = [stored.raw for stored in card.notifications]
    assert listed
    forged = listed[0].replace(decode(PendingNotification, listed[0]).signature, bytes(range(64)))
    acknowledged = await rig.provide(card, messages.result_with(result, [forged, *listed], Speaks.V1_2))
    assert (await rig.operation(order))["state"] == "done"
    assert len(acknowledged) == 1 + len(listed)  # what the card signed is kept, flood or not
    assert forged not in [row["octets"] for row in await rig.rows("notifications", card)]


async def test_a_card_that_repeats_its_state_change_is_listed_once(rig: Rig) -> None:
    card = rig.cards[0]
    before = len(await rig.rows("events", card))
    for _ in range(30):
        await rig.send(bytes.fromhex("BF4F145A10") + card.eid + bytes.fromhex("8000"))
        await rig.worker.round()
    assert len([o for o in await rig.rows("operations", card) if o["kind"] == "listProfileInfo"]) <= 3
    assert len(await rig.rows("events", card)) - before <= 4


async def test_a_second_answer_to_a_data_request_changes_nothing(database: Database) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    package = await rig.poll(card)
    assert package is not None
    answer = rig.execute(card, package)
    await rig.provide(card, answer)
    await rig.provide(card, answer.replace(b"\x84\x01\x01", b"\x84\x01\x07"))  # somebody else's token
    (row,) = await rig.rows("euiccs", card)
    assert row["association_token"] == 1


async def test_a_card_whose_sequence_begins_anew_is_still_believed(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.database.owner().execute("UPDATE euiccs SET highest_seq = 100000")
    await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert await rig.enabled(card) == B


async def test_an_emergency_call_lets_nothing_overtake(rig: Rig) -> None:
    card = rig.cards[0]
    enable = await rig.order(card, Kind.ENABLE, B)
    listing = await rig.order(card, Kind.LIST_PROFILES)
    package = await rig.poll(card)
    assert package is not None
    card.set_condition(Condition.ECALL)
    await rig.provide(card, rig.execute(card, package))
    card.set_condition(Condition.READY)
    assert await rig.poll(card) is None
    await rig.database.owner().execute("UPDATE operations SET not_before = now() WHERE state = 'accepted'")
    assert await rig.visit(card) == 2
    ended = [await rig.operation(o) for o in (enable, listing)]
    assert [o["state"] for o in ended] == ["done", "done"]
    assert ended[0]["handed_at"] < ended[1]["handed_at"]  # type: ignore[operator]


async def test_the_last_counter_but_one_is_used_and_none_after_it(rig: Rig) -> None:
    card = rig.cards[0]
    await rig.database.owner().execute("UPDATE euiccs SET counter = 8388605")
    orders = [await rig.order(card, Kind.LIST_PROFILES) for _ in range(2)]
    asked = await rig.order(card, Kind.DATA_REQUEST)
    assert await rig.visit(card) == 1
    assert [(await rig.operation(o))["state"] for o in (*orders, asked)] == ["done", "accepted", "accepted"]


async def test_flipping_networks_fill_no_table(rig: Rig) -> None:
    card = rig.cards[0]
    before = len(await rig.rows("events", card))
    for n in range(90):
        await rig.send(bytes.fromhex("BF4F175A10") + card.eid + bytes.fromhex("8203") + n.to_bytes(3, "big"))
    assert len(await rig.rows("events", card)) - before <= 60
    (row,) = await rig.rows("euiccs", card)
    assert row["plmn"] == (89).to_bytes(3, "big")
