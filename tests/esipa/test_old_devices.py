"""Devices that speak SGP.32 v1.0.1, and cards that deviate, onboarded and switched over real HTTPS."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest

from eim import credentials
from eim.asn1.sgp32 import AddInitialEimRequest, EimConfigurationData, SpkiChoice, encode
from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.ids import bucket_of, format_eid
from eim.domain.operation import Kind
from eim.protocol.trust import check_chain, load_roots
from eim.services.onboarding import Candidate, Onboarding, Rules
from eim.services.operations import Operations
from eim.services.ordering import Ordering, Target
from eim.services.tokens import SETUP
from eim.sim.behaviour import Backoff, Behaviour, Carrier, Connections, Notifications
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import CARRIER_B, Fleet, Make
from eim.sim.https import Line, trusting
from eim.sim.https import Server as Place
from eim.sim.ipa import Counts, Eim, Ended, Ipa
from eim.sim.journal import Executed, Journal
from eim.sim.pki import Pki
from eim.sim.switches import ResultShape, Switches
from eim.store.connect import DbRole
from tests.database import Database
from tests.esipa.server import EIM_ID, Served, configure, logins, serving_device, working
from tests.services import rig as rigs
from tests.services.rig import now

OLD: Final = Speaks.V1_0_1
QUICK: Final = Behaviour(backoff=Backoff(0.01, 0.05), tries=5, attach_pause=0.01)
TOKEN: Final = -1  # the card is to draw one


class Device(msgspec.Struct, frozen=True):
    """One device before a server that is at work."""

    ipa: Ipa
    card: VirtualEuicc
    served: Served
    journal: Journal
    operations: Operations

    async def switch(self) -> None:
        """Order the other profile, and let the device call once."""
        asked = Ordering(Kind.ENABLE, (Target(format_eid(self.card.eid)),), service_provider=CARRIER_B, rollback=True)
        placed = await self.operations.place(SETUP, asked, None)
        assert await self.ipa.visit() is Ended.NOTHING
        row = await self.served.row("SELECT state, outcome FROM operations WHERE id = $1", placed.placed[0].operation)
        assert (row["state"], row["outcome"]["reason"]) == ("done", "ok")  # type: ignore[index]

    async def known(self) -> dict[str, object]:
        return await self.served.row(
            "SELECT introduced_at, association_token, token_proven, signature_form, signature_coding, speaks,"
            " public_key FROM euiccs WHERE bucket = $1 AND eid = $2",
            bucket_of(self.card.eid),
            self.card.eid,
        )

    async def carriers(self) -> dict[object, object]:
        rows = await self.served.rows("SELECT service_provider, state FROM profiles WHERE eid = $1", self.card.eid)
        return {row["service_provider"]: row["state"] for row in rows}


@asynccontextmanager
async def before_a_server(
    database: Database, folder: Path, switches: Switches, behaviour: Behaviour = QUICK, token: int | None = TOKEN
) -> AsyncIterator[Device]:
    """A device whose card has our identity, onboarded by its EID alone."""
    journal = Journal(now)
    fleet = Fleet(Pki.new(), 1, journal, Make(cannot_attach=0, sleepers=0, switches=(switches,)))
    (folder / "root.der").write_bytes(fleet.pki.root_der)
    settings = {"TRUST_ROOTS": str(folder / "root.der"), "DEVICE_WAIT_FOR_SEAL": "5"}
    config = configure(folder / "data", logins(database), **settings)
    async with serving_device(config, database.owner()) as served, working(config):
        signer = credentials.key_store(config).load(credentials.own_identity(config).key_name)
        ours = EimConfigurationData(
            eim_id=EIM_ID, id_type=3, counter=0, association_token=token, public_key=SpkiChoice(signer.spki)
        )
        fleet.associate(encode(AddInitialEimRequest((ours,))))
        roots = load_roots([fleet.pki.root_der])
        onboarding = Onboarding(database.pool(DbRole.OPERATOR), lambda e, m: check_chain(e, m, roots, now()))
        card = fleet.cards[0].euicc
        emulated = switches.form is SignatureForm.NONE
        await onboarding.add(SETUP, Candidate(eid=format_eid(card.eid), unverifiable=emulated), Rules(), None)
        line = Line(Place(served.door.host, served.door.port, "localhost", trusting(served.door.ca_pem)))
        ipa = Ipa(card, behaviour, Eim(EIM_ID, line, Counts()), random.Random(1))
        yield Device(ipa, card, served, journal, Operations(database.pool(DbRole.OPERATOR)))


CARDS: Final = {
    "v1.2": Switches(),
    "token form": Switches(speaks=OLD),
    "over the request's signature": Switches(speaks=OLD, form=SignatureForm.EIM_SIGNATURE),
    "DER signatures": Switches(speaks=OLD, coding=SignatureCoding.DER),
    "results without their arm": Switches(speaks=OLD, shape=ResultShape.BARE),
    "emulated": Switches(speaks=OLD, form=SignatureForm.NONE),
    "everything at once": Switches(
        speaks=OLD, form=SignatureForm.EIM_SIGNATURE, coding=SignatureCoding.DER, shape=ResultShape.BARE
    ),
}


@pytest.mark.parametrize("name", CARDS)
async def test_its_first_visit_onboards_it_and_the_next_switches_it(
    database: Database, tmp_path: Path, name: str
) -> None:
    switches = CARDS[name]
    async with before_a_server(database, tmp_path, switches) as device:
        assert await device.ipa.visit() is Ended.NOTHING
        known = await device.known()
        assert known["introduced_at"] is not None
        assert await device.carriers() == {"Carrier A": "enabled", "Carrier B": "disabled"}
        await device.switch()
        assert await device.carriers() == {"Carrier A": "disabled", "Carrier B": "enabled"}
        assert device.card.state.enabled_label == device.card.state.profiles[1].label
        known = await device.known()
        assert known["speaks"] == switches.speaks.value
        if switches.form is SignatureForm.NONE:
            assert (known["signature_form"], known["public_key"]) == (None, None)
        else:
            assert known["token_proven"] is True
            assert known["association_token"] == 1
            assert (known["signature_form"], known["signature_coding"]) == (switches.form.value, switches.coding.value)
            assert device.card.results == ()  # each acknowledged
        executed = [entry for entry in device.journal.entries if isinstance(entry, Executed)]
        assert len(executed) == len({entry.counter for entry in executed}) == 2


async def test_a_card_without_a_token_is_served_with_zero(database: Database, tmp_path: Path) -> None:
    async with before_a_server(database, tmp_path, Switches(speaks=OLD), token=None) as device:
        assert await device.ipa.visit() is Ended.NOTHING
        await device.switch()
        known = await device.known()
        assert (known["association_token"], known["signature_form"], known["speaks"]) == (None, "zero", "1.0.1")


HABITS: Final = {
    "a connection for each request": Behaviour(connections=Connections.PER_REQUEST),
    "results in notifications": Behaviour(carrier=Carrier.HANDLE_NOTIFICATION),
    "notifications by themselves": Behaviour(notifications=Notifications.SEPARATE),
    "the network in each poll": Behaviour(plmn=bytes.fromhex("62F210")),
    "every message twice": Behaviour(duplicating=1.0),
}


@pytest.mark.parametrize("name", HABITS)
async def test_the_habits_of_its_ipa_change_nothing(database: Database, tmp_path: Path, name: str) -> None:
    """Reliability 83: v1.0.1 names no card in its results, yet each is found, on whatever connection it comes."""
    behaviour = msgspec.structs.replace(HABITS[name], backoff=QUICK.backoff, tries=5, attach_pause=0.01)
    async with before_a_server(database, tmp_path, Switches(speaks=OLD), behaviour) as device:
        assert await device.ipa.visit() is Ended.NOTHING
        await device.switch()
        assert await device.carriers() == {"Carrier A": "disabled", "Carrier B": "enabled"}
        assert (await device.known())["speaks"] == "1.0.1"
        assert await device.served.rows("SELECT * FROM strays") == []
        notified = await device.served.rows("SELECT event FROM notifications")
        assert sorted(str(row["event"]) for row in notified) == ["disable", "enable"]


async def test_one_that_calls_the_words_of_v1_2_an_incorrect_list_is_asked_in_its_own(database: Database) -> None:
    """In the same visit: the error is unsigned and ends only the question."""
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    first = await rig.poll(card)
    assert first is not None
    assert b"\x83\x10" in first
    await rig.send(bytes.fromhex("BF5006BF5203810101"), card.eid)
    second = await rig.poll(card)
    assert second == bytes.fromhex("BF520F5C0D80BF20BF228384A5A688A9BF2B")
    assert (await rig.rows("euiccs", card))[0]["speaks"] == "1.0.1"
