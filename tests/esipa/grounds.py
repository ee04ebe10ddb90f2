"""A whole eIM at work on a test's database, and many devices that call it over real HTTPS, each by itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx2
import msgspec

from eim import credentials
from eim.asn1.sgp32 import AddInitialEimRequest, EimConfigurationData, SpkiChoice, encode
from eim.domain.ids import bucket_of, format_eid, format_iccid
from eim.domain.step import Step
from eim.protocol.trust import check_chain, load_roots
from eim.services.onboarding import Candidate, Onboarding, Rules
from eim.services.tokens import SETUP, NewToken, Scope
from eim.sim.behaviour import Backoff, Behaviour
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import Card, Fleet, Make
from eim.sim.https import Line, trusting
from eim.sim.https import Server as Place
from eim.sim.ipa import Counts, Eim, Ended, Ipa
from eim.sim.journal import Entry, Journal
from eim.sim.pki import Pki
from eim.sim.switches import STANDARD, Switches
from eim.store.connect import DbRole
from eim.web.operator import operator_app
from tests.cluster import Cluster
from tests.database import Database, fresh
from tests.esipa.asking import asked
from tests.esipa.server import EIM_ID, configure, logins, serving_device, working
from tests.operator_side import client_of, services_of
from tests.services.rig import now

QUICK: Final = Behaviour(backoff=Backoff(0.01, 0.05), tries=5, attach_pause=0.01, attach_tries=2)
_OPERATORS: Final = 3  # who ask at once: a test's database has few connections
_CALLS: Final = 3  # of a device until its package was sealed: a busy machine may take long
_AT_ONCE: Final = 16  # visits; more would only wait for each other


class Refused(Exception):
    """What the API answered to an order that it doesn't take."""


class Grounds:
    """The eIM and the devices before it. Use `opened`."""

    def __init__(self, database: Database, fleet: Fleet, line: Line, client: httpx2.AsyncClient) -> None:
        self.cards = fleet.cards
        self.journal = fleet.journal
        self.client = client
        self.owner = database.owner()
        self._eim = Eim(EIM_ID, line, Counts())
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._desk = asyncio.Semaphore(_OPERATORS)

    def device(self, number: int) -> "Device":
        return Device(self, self.cards[number], Ipa(self.cards[number].euicc, QUICK, self._eim, random.Random(number)))

    async def visit(self, ipa: Ipa) -> Ended:
        async with self._turns:
            return await ipa.visit()

    async def place(self, body: Mapping[str, object]) -> UUID:
        """Order one operation, as an operator does."""
        async with self._desk:
            answer = await self.client.post("/v1/operations", json=body)
        if answer.status_code != httpx2.codes.ACCEPTED:
            raise Refused(answer.text)
        return UUID(answer.json()["operations"][0]["operation"])

    async def get(self, path: str) -> Mapping[str, object]:
        """What the API shows."""
        async with self._desk:
            answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        shown: Mapping[str, object] = answer.json()
        return shown


class Device:
    """One device, its card, and how the eIM's operator sees it."""

    def __init__(self, grounds: Grounds, card: Card, ipa: Ipa) -> None:
        self.grounds = grounds
        self.made = card
        self.ipa = ipa
        self.eid = format_eid(card.euicc.eid)

    @property
    def card(self) -> VirtualEuicc:
        return self.made.euicc

    @property
    def profiles(self) -> Mapping[str, str]:
        return {"A": format_iccid(self.made.profile_a), "B": format_iccid(self.made.profile_b)}

    async def visit(self) -> Ended:
        return await self.grounds.visit(self.ipa)

    async def order(self, *steps: Step, retries: int | None = 0) -> UUID:
        """Past all guards. `retries`: how often it is tried again by itself; None: as the refusal deserves."""
        body = {
            "eid": self.eid,
            "steps": [asked(step) for step in steps],
            "force": True,
            "reason": "the test asks for it",
        }
        return await self.grounds.place(body if retries is None else body | {"retries": retries})

    async def do(self, *steps: Step, retries: int | None = 0) -> Mapping[str, object]:
        """Order, let the device call, and see what the API makes of it. It calls again while nothing came of it."""
        operation = await self.order(*steps, retries=retries)
        shown: Mapping[str, object] = {}
        for _ in range(_CALLS):
            await self.visit()
            shown = await self.grounds.get(f"/v1/operations/{operation}")
            if shown["handed_at"] is not None and shown["state"] != "out":
                break
        return shown

    async def believed(self) -> Mapping[str, str]:
        """Each profile's state, by the name of it, as the API shows it."""
        shown = await self.grounds.get(f"/v1/euiccs/{self.eid}/profiles")
        names = {iccid: name for name, iccid in self.profiles.items()}
        items = msgspec.convert(shown["items"], list[dict[str, object]])
        return {names.get(str(held["iccid"]), str(held["iccid"])): str(held["state"]) for held in items}

    async def row(self) -> Mapping[str, object]:
        """What the eIM keeps of the card."""
        found = await self.grounds.owner.fetchrow(
            "SELECT * FROM euiccs WHERE bucket = $1 AND eid = $2", bucket_of(self.card.eid), self.card.eid
        )
        return dict(found) if found else {}

    async def events(self, kind: str) -> list[Mapping[str, object]]:
        shown = await self.grounds.get(f"/v1/euiccs/{self.eid}/events?limit=1000")
        items = msgspec.convert(shown["items"], list[dict[str, object]])
        return [msgspec.convert(each["data"], dict[str, object]) for each in items if each["kind"] == kind]

    @property
    def entries(self) -> Sequence[Entry]:
        """What the card itself noted."""
        return [entry for entry in self.grounds.journal.entries if entry.eid == self.eid]


@asynccontextmanager
async def opened(
    postgres: Cluster,
    folder: Path,
    devices: int,
    switches: Sequence[Switches] = (STANDARD,),
    ready: Callable[[Card], None] = lambda card: None,
    pki: Pki | None = None,
) -> AsyncIterator[Grounds]:
    """`devices` cards with the identity of a running eIM, onboarded by their EIDs, introduced by their first visits."""
    async with fresh(postgres) as database:
        fleet = Fleet(pki or Pki.new(), devices, Journal(now), Make(cannot_attach=0, sleepers=0, switches=switches))
        (folder / "root.der").write_bytes(fleet.pki.root_der)
        settings = {"TRUST_ROOTS": str(folder / "root.der"), "DEVICE_WAIT_FOR_SEAL": "10"}
        config = configure(folder / "data", logins(database), **settings)
        async with serving_device(config, database.owner()) as served, working(config):
            signer = credentials.key_store(config).load(credentials.own_identity(config).key_name)
            fleet.associate(initial(signer.spki))
            for card in fleet.cards:
                ready(card)
            roots = load_roots([fleet.pki.root_der])
            onboarding = Onboarding(database.pool(DbRole.OPERATOR), lambda e, m: check_chain(e, m, roots, now()))
            known = [Candidate(eid=format_eid(card.euicc.eid)) for card in fleet.cards]
            await onboarding.add_many(SETUP, known, Rules(), None)
            services = services_of(database)
            made = await services.tokens.create(SETUP, NewToken("test", frozenset(Scope)))
            place = Place(served.door.host, served.door.port, "localhost", trusting(served.door.ca_pem))
            async with client_of(operator_app(services), made.secret) as client:
                grounds = Grounds(database, fleet, Line(place), client)
                await asyncio.gather(*(grounds.device(number).visit() for number in range(devices)))
                yield grounds


def initial(spki: bytes) -> bytes:
    """The BF57 with this identity; the card draws the token."""
    ours = EimConfigurationData(eim_id=EIM_ID, id_type=3, counter=0, association_token=-1, public_key=SpkiChoice(spki))
    return encode(AddInitialEimRequest((ours,)))


def change(card: VirtualEuicc, iccid: bytes, **fields: object) -> None:
    """Make one of its profiles another one."""
    profiles: Iterable[object] = (
        msgspec.structs.replace(held, **fields) if held.iccid == iccid else held for held in card.state.profiles
    )
    card.state = msgspec.structs.replace(card.state, profiles=tuple(profiles))
