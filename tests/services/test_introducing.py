"""How a card is introduced beside others who speak in its name, and by IPAs that refuse our words."""

import pytest

from eim.domain.operation import Kind
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
