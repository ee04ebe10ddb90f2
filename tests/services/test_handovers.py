"""Cards change their eIM, in both directions, with cards that keep a list of eIMs and obey it."""

import pytest

from eim.asn1.sgp32 import EimConfigurationData, SpkiChoice, encode
from eim.domain.handover import Direction, Proof, Stage
from eim.domain.operation import Kind
from eim.errors import Conflict, InvalidRequest, Unconfirmed
from eim.services.handovers import Handovers, New
from eim.services.tokens import SETUP
from eim.sim import associations
from eim.sim.euicc import VirtualEuicc
from eim.store.connect import DbRole
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import OneKey, Rig

OTHER = "eim.other.example"


@pytest.fixture
async def rig(database: Database) -> Rig:
    """Three cards, introduced and listed."""
    made = await rigs.start(database, 3)
    await made.onboard()
    for card in made.cards:
        await made.visit(card)
    return made


def other() -> EimConfigurationData:
    return EimConfigurationData(
        eim_id=OTHER,
        fqdn=OTHER,
        id_type=2,
        counter=0,
        association_token=-1,
        public_key=SpkiChoice(OneKey().signer.spki),
    )


def desk(rig: Rig) -> Handovers:
    return Handovers(rig.database.pool(DbRole.OPERATOR), 100)


def given(rig: Rig, **more: object) -> New:
    eids = tuple(card.eid.hex() for card in rig.cards)
    return New(Direction.OUT, eids, "sold", encode(other()), **more)  # type: ignore[arg-type]


async def stages(rig: Rig, handover: object) -> dict[Stage, int]:
    return dict((await desk(rig).read(SETUP, handover, None, 10)).stages)  # type: ignore[arg-type]


def eims(card: VirtualEuicc) -> list[str]:
    return [entry.eim_id for entry in card.associations.entries]


async def test_cards_given_away_have_the_other_eim_alone_and_our_record_of_them_is_closed(rig: Rig) -> None:
    begun = await desk(rig).begin(SETUP, given(rig), None)
    for card in rig.cards:
        await rig.visit(card)
    await rig.work()
    assert [eims(card) for card in rig.cards] == [[OTHER]] * 3
    assert await stages(rig, begun.id) == {Stage.DONE: 3}
    for card in rig.cards:
        (row,) = await rig.rows("euiccs", card)
        assert row["handed_over_at"] is not None
        assert await rig.poll(card) is None


async def test_before_the_confirmation_both_eims_are_on_the_card_and_an_abort_takes_the_new_one_off(rig: Rig) -> None:
    first, second, third = rig.cards
    begun = await desk(rig).begin(SETUP, given(rig, proof=Proof.CONFIRMED), None)
    for card in rig.cards:
        await rig.visit(card)
    await rig.work()
    assert eims(first) == [rigs.EIM_ID, OTHER]
    assert await stages(rig, begun.id) == {Stage.WAITING: 3}
    await desk(rig).confirm(SETUP, begun.id, [first.eid.hex()])
    await rig.visit(first)
    await rig.work()
    assert eims(first) == [OTHER]
    await desk(rig).abort(SETUP, begun.id, "not sold")
    for card in (second, third):
        await rig.visit(card)
    await rig.work()
    assert [eims(card) for card in (second, third)] == [[rigs.EIM_ID]] * 2
    assert await stages(rig, begun.id) == {Stage.DONE: 1, Stage.UNDONE: 2}
    order = await rig.order(second, Kind.LIST_PROFILES)
    await rig.visit(second)
    assert (await rig.operation(order))["state"] == "done"


async def test_a_card_that_does_not_take_the_new_eim_stays_ours(rig: Rig) -> None:
    card = rig.cards[0]
    card.associations = associations.add(card.associations, other())
    begun = await desk(rig).begin(SETUP, given(rig), None)
    for each in rig.cards:
        await rig.visit(each)
    await rig.work()
    assert await stages(rig, begun.id) == {Stage.DONE: 2, Stage.FAILED: 1}
    (failed,) = (await desk(rig).read(SETUP, begun.id, Stage.FAILED, 10)).cards
    assert (failed.eid, failed.reason) == (card.eid, "associatedEimAlreadyExists")
    assert rigs.EIM_ID in eims(card)


async def test_a_card_that_came_from_another_eim_proves_that_it_obeys_us_and_loses_the_other(
    database: Database,
) -> None:
    rig = await rigs.start(database)
    card = rig.cards[0]
    card.associations = associations.add(card.associations, other())
    await rig.onboard()  # neither its token nor its certificate is known yet
    new = New(Direction.IN, (card.eid.hex(),), "bought", eim_id=OTHER, delete_other=True)
    begun = await desk(rig).begin(SETUP, new, None)
    await rig.visit(card)
    await rig.work()
    assert eims(card) == [rigs.EIM_ID]
    assert await stages(rig, begun.id) == {Stage.DONE: 1}
    (row,) = await rig.rows("euiccs", card)
    assert (row["handed_over_at"], row["token_proven"]) == (None, True)


async def test_what_makes_no_sense_is_refused_before_any_card_is_asked(rig: Rig) -> None:
    with pytest.raises(InvalidRequest, match="configuration"):
        await desk(rig).begin(SETUP, New(Direction.OUT, (rig.cards[0].eid.hex(),), "sold"), None)
    with pytest.raises(InvalidRequest, match="eimId"):
        await desk(rig).begin(SETUP, New(Direction.IN, (rig.cards[0].eid.hex(),), "bought"), None)
    with pytest.raises(Unconfirmed, match='"confirm": 3'):
        await Handovers(rig.database.pool(DbRole.OPERATOR), 2).begin(SETUP, given(rig), None)
    await desk(rig).begin(SETUP, given(rig), None)
    with pytest.raises(Conflict, match="in another hand-over"):
        await desk(rig).begin(SETUP, given(rig), None)
