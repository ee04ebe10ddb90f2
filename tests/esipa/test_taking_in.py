"""What the device side does with results that are unusual, forged, or come at a bad moment."""

import asyncpg
import msgspec
import pytest

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EuiccPackageRequest
from eim.domain.euicc import SignatureCoding, Speaks
from eim.domain.ids import Eid
from eim.domain.operation import Kind
from eim.protocol.esipa import package_answer
from eim.sim import messages
from eim.sim.behaviour import Carrier, Naming
from eim.sim.der import tlv
from eim.sim.psmo import State
from eim.sim.switches import sign
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

B = "Carrier B"
FAIL = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a test says no'; END $$;
    CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION fail();
"""


@pytest.fixture
async def rig(database: Database) -> Rig:
    """One card, introduced and listed."""
    made = await rigs.start(database)
    await made.onboard()
    await made.visit(made.cards[0])
    return made


def unnamed(result: bytes, card_eid: Eid) -> bytes:
    """A result of v1.2 that leaves its EID out."""
    return messages.provide(result, card_eid, Speaks.V1_2, Naming.UNNAMED, Carrier.PROVIDE)


@pytest.mark.parametrize(
    ("table", "when"),
    [
        ("audit", "NEW.action = 'operation.done'"),
        ("events", "NEW.kind = 'operation.done'"),
        ("results", "NEW.kind = 'result'"),
    ],
)
async def test_a_result_and_the_state_it_implies_are_one_transaction(
    rig: Rig, database: Database, table: str, when: str
) -> None:
    """Reliability 68: whichever write fails, none of the others happened, and the same result later has its effect."""
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    result = rig.wrap(card, rig.execute(card, package))
    before = await rig.rows("results", card), await rig.rows("profiles", card), await rig.rows("events", card)
    await database.owner().execute(FAIL.format(table=table, when=when))
    with pytest.raises(asyncpg.RaiseError):
        await rig.send(result)
    assert (await rig.operation(order))["state"] == "out"
    assert (await rig.rows("results", card), await rig.rows("profiles", card), await rig.rows("events", card)) == before
    await database.owner().execute(f"DROP TRIGGER fail ON {table}")
    answer = await rig.send(result)
    assert answer is not None
    assert len(messages.acknowledged(answer)) > 0
    assert (await rig.operation(order))["state"] == "done"
    assert await rig.enabled(card) == B


async def test_a_hundred_unsigned_errors_change_nothing_and_fill_nothing(rig: Rig) -> None:
    """Reliability 70: no signature, no transaction id; anybody can send them, with any octets."""
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    eim_id = tlv(0x80, rigs.EIM_ID.encode())
    for number in range(50):
        error = tlv(0xBF51, tlv(0xA2, eim_id, tlv(0x84, bytes([1 + number]))))
        await rig.send(rig.wrap(card, error))
        await rig.send(rig.wrap(card, messages.response_error(127, bytes([7, number]), Speaks.V1_2)))
    assert (await rig.operation(order))["state"] == "out"
    assert len([row for row in await rig.rows("results", card) if row["verdict"] == "unsigned"]) <= 21
    assert await rig.rows("requests", card) == []
    assert await rig.poll(card) == package
    assert await rig.visit(card) == 1
    assert (await rig.operation(order))["state"] == "done"


async def test_an_error_that_guesses_transaction_ids_of_others_moves_nothing(database: Database) -> None:
    """Reliability 70: the id of another card's package says nothing about this one."""
    rig = await rigs.start(database, 2)
    await rig.onboard()
    mine, other = rig.cards
    for card in rig.cards:
        await rig.visit(card)
        await rig.order(card, Kind.ENABLE, B)
    theirs = await rig.poll(other)
    assert theirs is not None
    await rig.poll(mine)
    named = sgp32.decode(EuiccPackageRequest, theirs).package.transaction_id
    error = tlv(0xBF51, tlv(0xA2, tlv(0x80, rigs.EIM_ID.encode()), tlv(0x82, named or b"")))
    await rig.send(rig.wrap(mine, error))
    for card in rig.cards:
        assert {row["state"] for row in await rig.rows("operations", card)} == {"done", "out"}


async def test_a_result_without_eid_is_found_on_any_connection(database: Database) -> None:
    """Reliability 83: the data response by its transaction id, the signed ones by theirs; nobody polled here."""
    rig = await rigs.start(database, 2)
    await rig.onboard()
    for card in rig.cards:
        while (package := await rig.poll(card)) is not None:
            answer = await rig.send(unnamed(rig.execute(card, package), card.eid))
            assert answer is not None
            assert answer != bytes.fromhex("BF5003020104")
        assert {row["state"] for row in await rig.rows("operations", card)} == {"done"}


async def test_a_data_response_without_eid_and_transaction_id_is_found_by_its_certificate(database: Database) -> None:
    """Reliability 83."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    package = await rig.poll(card)
    assert package is not None
    without = package[: package.index(b"\x83\x10")]
    response = rig.execute(card, without[:2] + bytes([len(without) - 3]) + without[3:])
    assert await rig.send(unnamed(response, card.eid)) != bytes.fromhex("BF5003020104")
    assert (await rig.rows("euiccs", card))[0]["introduced_at"] is not None


async def test_a_result_that_is_no_der_is_verified_over_its_own_octets(rig: Rig) -> None:
    """Reliability 31: the card writes long lengths and signs them; encoding it anew would break the signature."""
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    rig.execute(card, package)
    signed = sgp32.decode(EuiccPackageRequest, package).package
    assert signed.transaction_id is not None
    content = b"".join(
        (
            b"\x80\x81" + bytes([len(rigs.EIM_ID)]) + rigs.EIM_ID.encode(),
            b"\x81\x82\x00\x03\x00\x00" + bytes([signed.counter]),
            b"\x82\x10" + signed.transaction_id,
            b"\x83\x01\x63",
            b"\x30\x83\x00\x00\x03\x83\x01\x00",
        )
    )
    data = b"\x30\x84" + len(content).to_bytes(4, "big") + content
    signature = sign(card.credentials.key, data + b"\x84\x01\x01", SignatureCoding.RAW)
    result = tlv(0xBF51, tlv(0xA0, data, tlv(0x5F37, signature)))
    assert await rig.provide(card, result) == (0x63,)
    ended = await rig.operation(order)
    assert (ended["state"], ended["outcome"]["reason"]) == ("done", "ok")  # type: ignore[index]


TRAPS = {
    "NUL": "a\0b",
    "right to left": "evil\u202egnp.exe",
    "128 characters": "x" * 128,
    "129 characters": "x" * 129,
    "markup": "<script>alert(1)</script>",
    "every plane": "\u00e4\u20ac\U0001f600\ufffe",
    "nothing": "",
}


@pytest.mark.parametrize("name", TRAPS)
async def test_a_profiles_name_that_is_a_trap_costs_only_itself(database: Database, name: str) -> None:
    """Reliability 30: the card is onboarded and its profiles are known, whatever they are called."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    first, second = card.state.profiles
    renamed = msgspec.structs.replace(first, name=TRAPS[name], nickname=TRAPS[name], provider=TRAPS[name])
    card.state = msgspec.structs.replace(card.state, profiles=(renamed, second))
    assert isinstance(card.state, State)
    assert await rig.visit(card) == 2
    rows = await rig.rows("profiles", card)
    assert {bytes(row["iccid"]) for row in rows} == {first.iccid, second.iccid}  # type: ignore[call-overload]
    assert {row["service_provider"] for row in rows} <= {TRAPS[name], "Carrier B", None}


@pytest.mark.parametrize("address", ["a\0b", "\u202e", "x" * 5000])
async def test_data_of_a_card_that_is_a_trap_costs_only_itself(database: Database, address: str) -> None:
    """Reliability 30: what can't be stored as text must not keep the card from being introduced."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    card.state = msgspec.structs.replace(card.state, default_smdp=address)
    assert await rig.visit(card) == 2


@pytest.mark.parametrize("address", ["a\0b", "\u202e.example.com", "x" * 5000])
async def test_a_notification_for_a_trap_is_stored_all_the_same(rig: Rig, address: str) -> None:
    """Reliability 30, 84."""
    card = rig.cards[0]
    profiles = tuple(msgspec.structs.replace(p, notify=address) for p in card.state.profiles)
    card.state = msgspec.structs.replace(card.state, profiles=profiles)
    package_asked = await rig.order(card, Kind.ENABLE, B)
    package = await rig.poll(card)
    assert package is not None
    assert package_answer(package)
    await rig.provide(card, rig.execute(card, package))
    for kept in card.notifications:
        assert await rig.send(messages.notification(kept.raw), polled=card.eid) is None
    assert len(await rig.rows("notifications", card)) == 2
    assert (await rig.operation(package_asked))["state"] == "done"


async def test_the_eim_id_in_a_forged_result_may_be_anything(rig: Rig) -> None:
    card = rig.cards[0]
    for name in ("\0", "\u202e", "x" * 128, "another.eim.example.com"):
        data = tlv(0x30, tlv(0x80, name.encode()), tlv(0x81, b"\x01"), tlv(0x83, b"\x70"), tlv(0x30))
        signature = sign(card.credentials.key, data + b"\x84\x01\x01", SignatureCoding.RAW)
        assert await rig.send(rig.wrap(card, tlv(0xBF51, tlv(0xA0, data, tlv(0x5F37, signature))))) is not None


async def test_numbers_as_large_as_they_come_are_no_fault_of_ours(rig: Rig) -> None:
    """Counters, sequence numbers and tokens of eight octets fit no column; the answer is one all the same."""
    card = rig.cards[0]
    for size in (1, 2, 3, 4, 5, 7, 8):
        for top in (b"\x7f", b"\x80"):
            number = top + b"\xff" * (size - 1)
            head = tlv(0x80, rigs.EIM_ID.encode()) + tlv(0x81, number)
            for data in (tlv(0x30, head, tlv(0x83, number), tlv(0x30)), tlv(0x30, head, tlv(0x02, number))):
                arm = 0xA1 if b"\x83" not in data[-12:] else 0xA0
                signature = sign(card.credentials.key, data + b"\x84\x01\x01", SignatureCoding.RAW)
                octets = tlv(0xBF51, tlv(arm, data, tlv(0x5F37, signature)))
                assert await rig.send(rig.wrap(card, octets)) is not None
            unsigned = tlv(0xBF51, tlv(0xA2, tlv(0x80, b"x"), tlv(0x84, number)))
            assert await rig.send(rig.wrap(card, unsigned)) is not None
            data_response = tlv(0xBF52, tlv(0xA0, tlv(0x84, number)))
            assert await rig.send(rig.wrap(card, data_response)) is not None
