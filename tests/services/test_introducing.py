"""How a card is introduced beside others who speak in its name, and by IPAs that refuse our words."""

import pytest

from eim.asn1.sgp32 import IpaEuiccDataRequest, decode
from eim.domain.euicc import Speaks
from eim.domain.operation import Kind
from eim.sim import messages
from eim.sim.der import integer, read, tlv, whole
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

A, B = "Carrier A", "Carrier B"
EMPTY = bytes.fromhex("BF50023000")


@pytest.fixture
async def fresh(database: Database) -> Rig:
    """One card, onboarded by its EID, that has never called."""
    rig = await rigs.start(database)
    await rig.onboard()
    return rig


@pytest.fixture
async def known(fresh: Rig) -> Rig:
    """One card, introduced and listed."""
    await fresh.visit(fresh.cards[0])
    return fresh


async def states(rig: Rig) -> list[tuple[object, object]]:
    rows = sorted(await rig.rows("operations", rig.cards[0]), key=lambda row: row["ordinal"])  # type: ignore[arg-type,return-value]
    return [(row["kind"], row["state"]) for row in rows]


def without_transaction(response: bytes) -> bytes:
    """A data response whose IPA forgot the eimTransactionId."""
    (arm,) = read(whole(response, 0xBF52).value)
    return tlv(0xBF52, tlv(0xA0, *(member.raw for member in read(arm.value) if member.tag != 0x87)))


# Data that anybody could have sent


@pytest.mark.parametrize("said", [tlv(0xA0, integer(0x84, 1)), tlv(0xA0), tlv(0xA1, integer(0x02, 127))])
async def test_data_without_the_transaction_id_that_went_out_answers_nothing(fresh: Rig, said: bytes) -> None:
    card = fresh.cards[0]
    request = await fresh.poll(card)
    assert await fresh.send(tlv(0xBF50, tlv(0x5A, card.eid), tlv(0xBF52, said))) == EMPTY
    assert await fresh.poll(card) == request
    assert [row["verdict"] for row in await fresh.rows("results", card)] == ["foreign"]
    assert await fresh.visit(card) == 2
    assert await fresh.enabled(card) == A


async def test_data_without_a_transaction_id_is_believed_on_the_connection_that_polled(fresh: Rig) -> None:
    card = fresh.cards[0]
    assert await fresh.poll(card) is not None
    await fresh.provide(card, tlv(0xBF52, tlv(0xA0, integer(0x84, 1))))
    assert (await states(fresh))[0] == (Kind.DATA_REQUEST, "done")


async def test_data_without_a_transaction_id_is_believed_with_the_cards_certificate(fresh: Rig) -> None:
    card = fresh.cards[0]
    request = await fresh.poll(card)
    assert request is not None
    await fresh.send(fresh.wrap(card, without_transaction(fresh.execute(card, request))))
    assert (await states(fresh))[0] == (Kind.DATA_REQUEST, "done")
    assert (await fresh.rows("euiccs", card))[0]["public_key"] is not None


async def test_a_certificate_of_another_card_lets_no_data_in(database: Database) -> None:
    rig = await rigs.start(database, devices=2)
    await rig.onboard()
    card, other = rig.cards
    request = await rig.poll(card)
    assert request is not None
    await rig.send(rig.wrap(card, without_transaction(rig.execute(other, request))))
    assert await rig.poll(card) == request


async def test_a_first_answer_without_certificate_costs_no_day(fresh: Rig) -> None:
    card = fresh.cards[0]
    assert await fresh.poll(card) is not None
    await fresh.provide(card, tlv(0xBF52, tlv(0xA0, integer(0x84, 1))))
    await fresh.visit(card)
    assert {state for _, state in await states(fresh)} == {"done"}
    assert await fresh.enabled(card) == A


# IPAs that refuse our words


def refused(request: bytes, code: int = 1) -> bytes:
    """What an IPA says that can't use a data request."""
    return messages.response_error(code, decode(IpaEuiccDataRequest, request).transaction_id, Speaks.V1_2)


@pytest.mark.parametrize(
    ("code", "reason"), [(1, "invalidPackageFormat"), (2, "unknownPackage"), (127, "undefinedError"), (9, "error9")]
)
async def test_a_refused_data_request_fails_and_the_next_package_goes_out(fresh: Rig, code: int, reason: str) -> None:
    card = fresh.cards[0]
    request = await fresh.poll(card)
    assert request is not None
    await fresh.send(fresh.wrap(card, refused(request, code)))
    (first,) = [o for o in await fresh.rows("operations", card) if o["kind"] == Kind.DATA_REQUEST]
    assert (first["state"], first["outcome"]["reason"]) == ("failed", reason)  # type: ignore[index]
    assert (await fresh.rows("euiccs", card))[0]["introduced_at"] is not None
    inventory = await fresh.poll(card)
    assert inventory is not None
    assert inventory[:2] == b"\xbf\x51"


async def test_an_ipa_that_refuses_every_data_request_keeps_nobody_busy(database: Database) -> None:
    rig = await rigs.start(database)
    await rig.onboard(association_token=1)
    card = rig.cards[0]
    packages = 0
    while (package := await rig.poll(card)) is not None:
        packages += 1
        assert packages < 10
        await rig.provide(card, refused(package) if package[:2] == b"\xbf\x52" else rig.execute(card, package))
    assert {state for kind, state in await states(rig) if kind == Kind.DATA_REQUEST} == {"failed"}
    assert {state for kind, state in await states(rig) if kind != Kind.DATA_REQUEST} == {"in_doubt"}  # no certificate


async def test_a_refusal_that_names_no_request_ends_none(fresh: Rig) -> None:
    card = fresh.cards[0]
    request = await fresh.poll(card)
    for named in (None, b"\x07" * 16):
        await fresh.provide(card, messages.response_error(1, named, Speaks.V1_2))
    assert await fresh.poll(card) == request


async def test_a_head_in_doubt_is_cleared_while_half_a_recovery_is_open(known: Rig) -> None:
    card = known.cards[0]
    await known.order(card, Kind.ENABLE, B)
    await known.poll(card)
    for row in range(2):  # the order, then the data request that was to clear it, both doubtful
        (out,) = [p for p in await known.rows("packages", card) if p["state"] == "head"]
        await known.database.owner().execute("UPDATE operations SET state = 'in_doubt' WHERE id = $1", out["operation"])
        await known.database.owner().execute(
            "INSERT INTO requests (bucket, id, eid, kind, reason) VALUES ($1, gen_random_uuid(), $2, 'recover', $3)",
            out["bucket"],
            card.eid,
            f"test {row}",
        )
        await known.poll(card)
    recovering = [o for o in await known.rows("operations", card) if o["priority"] == 0]
    assert sorted(str(o["kind"]) for o in recovering) == ["ipaEuiccDataRequest"] * 2 + ["listProfileInfo"]
    await known.visit(card)
    assert {state for kind, state in await states(known) if kind != Kind.DATA_REQUEST} == {"done", "failed"}


@pytest.mark.parametrize("code", [1, 127])
async def test_an_ipa_of_v1_0_1_that_refuses_the_words_of_v1_2_is_asked_in_its_own(fresh: Rig, code: int) -> None:
    card = fresh.cards[0]
    assert await fresh.poll(card) is not None
    await fresh.send(tlv(0xBF50, integer(0x02, code)), card.eid)
    assert await states(fresh) == [(Kind.DATA_REQUEST, "failed"), (Kind.LIST_PROFILES, "accepted")]
    request = await fresh.poll(card)
    assert request is not None
    assert decode(IpaEuiccDataRequest, request).transaction_id is None
    assert (await fresh.rows("euiccs", card))[0]["speaks"] == "1.0.1"


async def test_a_refusal_on_another_connection_does_not_change_the_words(fresh: Rig) -> None:
    card = fresh.cards[0]
    request = await fresh.poll(card)
    await fresh.send(tlv(0xBF50, tlv(0x5A, card.eid), integer(0x02, 1)))
    await fresh.send(tlv(0xBF50, integer(0x02, 1)))
    assert await fresh.poll(card) == request


# What a device speaks


async def speaks(rig: Rig) -> object:
    return (await rig.rows("euiccs", rig.cards[0]))[0]["speaks"]


async def test_nobody_elses_message_changes_what_a_proven_card_speaks(known: Rig) -> None:
    card = known.cards[0]
    before = await speaks(known)
    forged = tlv(0xBF50, tlv(0xBF52, integer(0x81, 127)))
    for polled in (card.eid, None):
        assert await known.send(forged, polled) is not None
    assert await speaks(known) == before


async def test_a_result_that_verified_says_what_its_device_speaks(known: Rig) -> None:
    card = known.cards[0]
    await known.order(card, Kind.ENABLE, B)
    package = await known.poll(card)
    assert package is not None
    executed = known.execute(card, package)
    result = messages.result_with(executed, [], Speaks.V1_0_1)
    broken = messages.result_with(executed[:-8] + bytes(8), [], Speaks.V1_0_1)
    await known.send(tlv(0xBF50, broken), card.eid)
    assert await speaks(known) == "1.2"
    await known.send(tlv(0xBF50, result))
    assert await speaks(known) == "1.0.1"
    audited = await known.database.owner().fetch("SELECT data FROM audit WHERE action = 'euicc.speaks'")
    assert [row["data"] for row in audited][-1] == {"speaks": "1.0.1"}


async def test_a_message_that_anybody_could_send_says_nothing_of_a_card_that_never_called(fresh: Rig) -> None:
    card = fresh.cards[0]
    await fresh.poll(card)
    await fresh.send(tlv(0xBF50, tlv(0x5A, card.eid), integer(0x02, 1)))
    assert await speaks(fresh) is None
