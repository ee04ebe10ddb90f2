"""What a tolerant eIM accepts, from cards and IPAs that deviate: nobody is sent away, nothing is taken on trust."""

from collections.abc import Callable

import pytest

from eim.asn1 import der
from eim.asn1.sgp32 import NotificationMetadata, PendingNotification, encode
from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.operation import Kind
from eim.sim import messages
from eim.sim.behaviour import Carrier, Naming
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import Make
from eim.sim.switches import ResultShape, Switches
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

B = "Carrier B"
V1_0_1 = Switches(speaks=Speaks.V1_0_1)
EMPTY = bytes.fromhex("BF50023000")
EMPTY_V1_0_1 = bytes.fromhex("BF5003BF5300")
NO_RESULT = bytes.fromhex("BF5103040100")
CLEAR = bytes.fromhex("A00302017F")


@pytest.fixture
async def rig(database: Database) -> Rig:
    """One card, introduced and listed."""
    return await introduced(database)


async def introduced(database: Database, switches: Switches | None = None, **fields: object) -> Rig:
    made = await rigs.start(database, make=Make(cannot_attach=0, sleepers=0, switches=(switches or Switches(),)))
    await made.onboard(**fields)
    await made.visit(made.cards[0])
    return made


async def executed(rig: Rig, kind: Kind = Kind.ENABLE, carrier: str | None = B) -> bytes:
    """The result of an order, which nobody has told the eIM yet."""
    await rig.order(rig.cards[0], kind, carrier)
    package = await rig.poll(rig.cards[0])
    assert package is not None
    return rig.execute(rig.cards[0], package)


async def last_state(rig: Rig) -> object:
    rows = await rig.rows("operations", rig.cards[0])
    return max(rows, key=lambda row: row["ordinal"])["state"]  # type: ignore[arg-type,return-value]


async def kept_unread(rig: Rig) -> list[object]:
    """What was kept though nobody understands it: refused, and told once on the timeline."""
    rows = [r for r in await rig.rows("results", rig.cards[0]) if r["kind"] == "unreadable"]
    told = [e for e in await rig.rows("events", rig.cards[0]) if e["kind"] == "result.refused"]
    assert {r["verdict"] for r in rows} <= {"refused"}
    assert len(told) == len(rows)
    return [r["octets"] for r in rows]


async def visit_v1_0_1(rig: Rig) -> None:
    """A visit of an IPA that knows no 5A in BF50, and sends each result with a list of notifications in BF2B."""
    card = rig.cards[0]
    while (package := await rig.poll(card)) is not None:
        result = rig.execute(card, package)
        if result.startswith(b"\xbf\x51"):
            result = messages.result_with(result, [n.raw for n in card.notifications], Speaks.V1_0_1)
        message = messages.provide(result, card.eid, Speaks.V1_0_1, Naming.UNNAMED, Carrier.PROVIDE)
        answer = await rig.send(message, card.eid)
        assert answer is not None
        for seq in messages.acknowledged(answer):
            card.remove_notification(seq)


def provide(card: VirtualEuicc, *payload: bytes) -> bytes:
    return der.wrap(0xBF50, b"\x5a\x10" + card.eid + b"".join(payload))


def notification(seq: int, address: str = "smdp.example.com:8443") -> bytes:
    tbs = encode(NotificationMetadata(seq, frozenset({1}), address, bytes(10)))
    return encode(PendingNotification("compactOtherSignedNotification", None, None, None, None, tbs, b"\1" * 64))


def in_a2(listed: bytes) -> bytes:
    return der.wrap(0xA2, listed)


def in_a3(listed: bytes) -> bytes:
    return der.wrap(0xA3, der.wrap(0xA0, notification(900)) + der.wrap(0xA1, listed))


# Lists with results in them, and with what is none


@pytest.mark.parametrize("listed", [in_a2, in_a3])
async def test_a_result_listed_in_bf2b_beside_another_is_settled_and_acknowledged(
    rig: Rig, listed: Callable[[bytes], bytes]
) -> None:
    card = rig.cards[0]
    result = await executed(rig)
    message = der.wrap(0xBF50, der.wrap(0x30, NO_RESULT + der.wrap(0xBF2B, listed(result))))
    answer = await rig.send(message, card.eid)
    assert answer is not None
    assert messages.acknowledged(answer)[0] == card.results[-1].seq
    assert (await last_state(rig), await rig.enabled(card)) == ("done", B)
    assert await kept_unread(rig) == [NO_RESULT]


@pytest.mark.parametrize("listed", [in_a2, in_a3])
async def test_a_result_listed_in_bf2b_of_the_data_is_settled_and_acknowledged(
    rig: Rig, listed: Callable[[bytes], bytes]
) -> None:
    card = rig.cards[0]
    result = await executed(rig)
    data = der.wrap(0xBF52, der.wrap(0xA0, der.wrap(0xBF2B, listed(NO_RESULT + result))))
    answer = await rig.send(der.wrap(0xBF50, data), card.eid)
    assert answer is not None
    assert messages.acknowledged(answer)[0] == card.results[-1].seq
    assert (await last_state(rig), await rig.enabled(card)) == ("done", B)
    assert await kept_unread(rig) == [NO_RESULT]


async def test_an_unreadable_result_between_two_others_is_kept_and_they_are_settled(rig: Rig) -> None:
    card = rig.cards[0]
    first = await executed(rig)
    await rig.provide(card, first)
    second = await executed(rig, Kind.LIST_PROFILES, None)
    data = der.wrap(0xBF52, der.wrap(0xA0, der.wrap(0xA2, first + NO_RESULT + second)))
    answer = await rig.send(provide(card, data))
    assert answer is not None
    assert len(messages.acknowledged(answer)) == 2
    assert await last_state(rig) == "done"
    assert await kept_unread(rig) == [NO_RESULT]


# Messages that nobody understands


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(NO_RESULT, id="a result"),
        pytest.param(bytes.fromhex("BF5202A100"), id="data"),
        pytest.param(bytes.fromhex("BF5404 3002 8000"), id="a trigger result"),
        pytest.param(bytes.fromhex("9F7F00"), id="an unknown element"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_a_sound_message_that_says_nothing_known_is_kept_and_answered(rig: Rig, content: bytes) -> None:
    message = provide(rig.cards[0], content)
    assert [await rig.send(message) for _ in range(3)] == [EMPTY] * 3
    rows = [r for r in await rig.rows("results", rig.cards[0]) if r["octets"] in (content, message)]
    assert len(rows) == 1


async def test_unreadable_messages_cannot_fill_the_database(rig: Rig) -> None:
    card = rig.cards[0]
    for number in range(30):
        assert await rig.send(provide(card, der.wrap(0xBF51, b"\x04\x01" + bytes([number])))) == EMPTY
    assert len(await kept_unread(rig)) == 20


async def test_an_unreadable_notification_is_kept_and_wants_nothing_more(rig: Rig) -> None:
    message = der.wrap(0xBF3D, der.wrap(0xA0, b"\x30\x02\x04\x00"))
    assert await rig.send(message, rig.cards[0].eid) is None
    assert [n["octets"] for n in await rig.rows("notifications", rig.cards[0])] == [b"\x30\x02\x04\x00"]


@pytest.mark.parametrize(("poll", "code"), [("BF4F00", 4), ("BF4F028000", 4), ("BF4F025A00", 3), ("BF4F035A0189", 3)])
async def test_a_poll_that_names_no_card_is_told_so(rig: Rig, poll: str, code: int) -> None:
    assert await rig.send(bytes.fromhex(poll)) == bytes.fromhex("BF4F030201") + bytes([code])


async def test_a_result_with_an_eid_of_another_size_is_its_who_polled_or_is_told_so(rig: Rig) -> None:
    result = await executed(rig)
    message = der.wrap(0xBF50, b"\x5a\x01\x89" + NO_RESULT)
    assert await rig.send(message) == bytes.fromhex("BF5003020103")
    answer = await rig.send(der.wrap(0xBF50, b"\x5a\x01\x89" + result))
    assert answer is not None
    assert messages.acknowledged(answer) == (rig.cards[0].results[-1].seq,)


# The list of what is to be tolerated, by its numbers. 8 and 12 are of HTTP, 11 of the other side


@pytest.mark.parametrize("shape", list(ResultShape))
async def test_1_results_with_another_tag_around_them_verify(database: Database, shape: ResultShape) -> None:
    rig = await introduced(database, Switches(shape=shape))
    await rig.provide(rig.cards[0], await executed(rig))
    assert await rig.enabled(rig.cards[0]) == B


async def test_2_nested_certificates_are_believed_like_others(database: Database) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    package = await rig.poll(card)
    assert package is not None
    data = rig.execute(card, package)
    (arm,) = der.inside(data, der.read_one(data))
    members = der.value(data, arm)
    credentials = card.credentials
    for tag, certificate in ((0xA5, credentials.eum_certificate), (0xA6, credentials.euicc_certificate)):
        flat = der.wrap(tag, der.value(certificate, der.read_one(certificate)))
        assert flat in members
        members = members.replace(flat, der.wrap(tag, certificate))
    await rig.provide(card, der.wrap(0xBF52, der.wrap(0xA0, members)))
    assert await rig.visit(card) == 1
    assert (await rig.rows("euiccs", card))[0]["public_key"] is not None


async def test_3_signatures_in_der_verify(database: Database) -> None:
    rig = await introduced(database, Switches(coding=SignatureCoding.DER))
    assert (await rig.rows("euiccs", rig.cards[0]))[0]["signature_coding"] == "der"


async def test_3_signatures_as_of_v1_0_x_verify(database: Database) -> None:
    switches = Switches(speaks=Speaks.V1_0_1, form=SignatureForm.EIM_SIGNATURE)
    rig = await rigs.start(database, make=Make(cannot_attach=0, sleepers=0, switches=(switches,)))
    await rig.onboard()
    await visit_v1_0_1(rig)
    assert (await rig.rows("euiccs", rig.cards[0]))[0]["signature_form"] == SignatureForm.EIM_SIGNATURE.value


@pytest.mark.parametrize("flagged", [True, False])
async def test_3_a_placeholder_counts_only_for_a_flagged_device(database: Database, flagged: bool) -> None:
    switches = Switches(form=SignatureForm.NONE)
    rig = await rigs.start(database, make=Make(cannot_attach=0, sleepers=0, switches=(switches,)))
    await rig.onboard(unverifiable=flagged)
    card = rig.cards[0]
    for _ in range(2):
        package = await rig.poll(card)
        if package is not None:
            await rig.provide(card, rig.execute(card, package))
    assert (len(await rig.rows("profiles", card)) == 2) is flagged


async def test_5_an_unknown_kind_of_result_is_acknowledged(rig: Rig) -> None:
    card = rig.cards[0]
    result = await executed(rig)
    unknown = result.replace(b"\x30\x03\x83\x01\x00", b"\x30\x03\x9a\x01\x00")
    assert unknown != result
    assert await rig.send(provide(card, unknown)) == EMPTY  # its signature is wrong now: kept, and no more
    assert "refused" in {r["verdict"] for r in await rig.rows("results", card)}


@pytest.mark.parametrize("carrier", list(Carrier))
@pytest.mark.parametrize("naming", list(Naming))
async def test_6_a_result_without_eid_or_in_a_notification_is_settled_once(
    rig: Rig, naming: Naming, carrier: Carrier
) -> None:
    card = rig.cards[0]
    message = messages.provide(await executed(rig), card.eid, Speaks.V1_2, naming, carrier)
    answers = [await rig.send(message) for _ in range(3)]
    assert len(set(answers)) == 1
    assert (answers[0] is None) == (carrier is Carrier.HANDLE_NOTIFICATION)
    assert await rig.enabled(card) == B
    done = [e for e in await rig.rows("events", card) if e["kind"] == "operation.done"]
    assert len(done) == 3


async def test_6_a_trigger_result_with_an_unknown_reason_is_kept(rig: Rig) -> None:
    assert await rig.send(provide(rig.cards[0], bytes.fromhex("BF5405 3003 80017B"))) == EMPTY
    assert "trigger" in {r["kind"] for r in await rig.rows("results", rig.cards[0])}


@pytest.mark.parametrize(
    ("content", "answer"),
    [(CLEAR, EMPTY), (bytes.fromhex("02017F"), EMPTY), (bytes.fromhex("020101"), EMPTY)],
)
@pytest.mark.parametrize("named", [True, False])
async def test_10_a_clear_ack_of_a_known_card_is_answered_empty(
    rig: Rig, content: bytes, answer: bytes, named: bool
) -> None:
    card = rig.cards[0]
    message = provide(card, content) if named else der.wrap(0xBF50, content)
    assert await rig.send(message, card.eid) == answer
    assert (await rig.rows("euiccs", card))[0]["speaks"] == "1.2"


@pytest.mark.parametrize(("content", "answer"), [(CLEAR, EMPTY), (bytes.fromhex("02017F"), EMPTY_V1_0_1)])
async def test_10_a_clear_ack_of_nobody_is_answered_empty(rig: Rig, content: bytes, answer: bytes) -> None:
    assert await rig.send(der.wrap(0xBF50, content)) == answer


async def test_13_a_notification_before_any_order_is_kept_with_its_port(rig: Rig) -> None:
    card = rig.cards[0]
    assert await rig.send(der.wrap(0xBF3D, der.wrap(0xA0, notification(7))), card.eid) is None
    assert [n["address"] for n in await rig.rows("notifications", card)] == ["smdp.example.com:8443"]


async def test_14_a_result_never_sent_is_recovered(rig: Rig) -> None:
    card = rig.cards[0]
    await executed(rig)  # the IPA sends the notification alone, and polls
    assert await rig.send(der.wrap(0xBF3D, der.wrap(0xA0, notification(8))), card.eid) is None
    package = await rig.poll(card)
    assert package is not None
    await rig.provide(card, rig.execute(card, package))  # replayError
    await rig.visit(card)
    assert await rig.enabled(card) == B


async def test_15_lengths_longer_than_need_be_outside_of_what_is_signed_hinder_nothing(rig: Rig) -> None:
    card = rig.cards[0]
    result = await executed(rig)
    inside = result[3:] if result[2] < 0x80 else result[4:]
    longer = b"\xbf\x51\x83" + len(inside).to_bytes(3, "big") + inside
    await rig.provide(card, longer)
    assert await rig.enabled(card) == B


async def test_16_a_whole_visit_in_v1_0_1(database: Database) -> None:
    rig = await rigs.start(database, make=Make(cannot_attach=0, sleepers=0, switches=(V1_0_1,)))
    await rig.onboard()
    card = rig.cards[0]
    await visit_v1_0_1(rig)
    await rig.order(card, Kind.ENABLE, B)
    await visit_v1_0_1(rig)
    assert (await rig.rows("euiccs", card))[0]["speaks"] == "1.0.1"
    assert await rig.enabled(card) == B
    assert (card.results, card.notifications) == ((), ())
