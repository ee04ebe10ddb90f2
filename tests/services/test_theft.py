"""Whoever polls with an EID gets its package (SGP.32 has no way to tell): what that costs, and what it changes."""

import pytest

from eim.asn1.sgp32 import EuiccPackageRequest, decode
from eim.domain.euicc import Speaks
from eim.domain.operation import Kind
from eim.protocol.esipa import NO_PACKAGE, receive
from eim.services.whose import Source
from eim.sim import messages
from eim.sim.clones import forgery_of
from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Journal
from eim.sim.pki import Pki
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig, inner

B = "Carrier B"
_THIEF = "198.51.100.7"


@pytest.fixture
async def rig(database: Database) -> Rig:
    """The card that is stolen from, and a card of the thief's, both introduced and listed."""
    made = await rigs.start(database, 2)
    await made.onboard()
    for card in made.cards:
        await made.visit(card)
    return made


async def steal(rig: Rig, card: VirtualEuicc) -> bytes | None:
    """A poll in the card's name, from somewhere else."""
    await rig.work()
    asked = receive(messages.poll(card.eid, Speaks.V1_2, None, None))
    answer = await rig.esipa.answer(asked, Source(_THIEF, None))
    assert answer is not None
    return None if answer == NO_PACKAGE else inner(answer)


async def bring(rig: Rig, card: VirtualEuicc, result: bytes) -> None:
    """What the thief says in the card's name, on the connection that polled."""
    await rig.esipa.answer(receive(rig.wrap(card, result)), Source(_THIEF, card.eid))


async def counter(rig: Rig, card: VirtualEuicc) -> object:
    return (await rig.rows("euiccs", card))[0]["counter"]


@pytest.mark.parametrize("polls", [50, pytest.param(2_000, marks=pytest.mark.slow)])
async def test_a_thief_who_polls_burns_no_counter_and_the_card_gets_the_same_octets(rig: Rig, polls: int) -> None:
    """Reliability 54."""
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    stolen = {await steal(rig, card) for _ in range(polls)}
    (package,) = stolen
    assert package is not None
    assert await counter(rig, card) == decode(EuiccPackageRequest, package).package.counter
    assert await rig.poll(card) == package
    await rig.provide(card, rig.execute(card, package))
    assert (await rig.operation(order))["state"] == "done"
    assert await rig.enabled(card) == B


async def test_what_a_thief_answers_without_the_cards_key_changes_nothing(rig: Rig) -> None:
    """By a card of its own, by a forged card with this EID, and by a made-up signature."""
    card, other = rig.cards
    order = await rig.order(card, Kind.ENABLE, B)
    package = await steal(rig, card)
    assert package is not None
    before = await counter(rig, card), await rig.rows("profiles", card)
    forged = forgery_of(card, Pki.new(), Journal(rigs.now))
    true = forged.load_euicc_package(package)
    for answer in (true, true[:-64] + bytes(63) + b"\1", true[:-1] + bytes([true[-1] ^ 1])):
        await bring(rig, card, answer)
        assert (await rig.operation(order))["state"] == "out"
    await bring(rig, card, other.load_euicc_package(package))  # not its own: an error that nobody signed
    assert (await rig.operation(order))["state"] in ("out", "in_doubt")
    assert (await counter(rig, card), await rig.rows("profiles", card)) == before
    for _ in range(3):
        await rig.visit(card)
    assert (await rig.operation(order))["state"] in ("done", "failed")
    again = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert (await rig.operation(again))["state"] in ("done", "failed")
    assert await rig.enabled(card) == B
    assert (await counter(rig, card)) <= before[0] + 8  # type: ignore[operator]
