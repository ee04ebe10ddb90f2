"""An eIM's device side and worker on one test database, in one process, and cards that call it by function."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from eim.asn1.sgp32 import (
    AddInitialEimRequest,
    EimConfigurationData,
    IpaEuiccDataRequest,
    SpkiChoice,
    decode,
    encode,
)
from eim.domain.ids import DEFAULT_TENANT, Eid, IdentityId, bucket_of, format_eid
from eim.domain.operation import Kind
from eim.keys.files import Signer, generate
from eim.protocol import trust
from eim.protocol.ecdsa import Curve
from eim.protocol.esipa import NO_PACKAGE, receive
from eim.services.asking import Asking
from eim.services.esipa import Esipa
from eim.services.leasing import Leasing
from eim.services.onboarding import Candidate, Onboarding, Rules
from eim.services.operations import Operations
from eim.services.ordering import Ordering, Target
from eim.services.polls import Polls, Seen
from eim.services.results import ResultRules, Results
from eim.services.sealing import Sealer
from eim.services.tokens import SETUP
from eim.services.waiting import Waiters
from eim.services.whose import Source
from eim.services.worker import Worker, WorkerRules
from eim.sim import messages
from eim.sim.behaviour import Carrier, Naming
from eim.sim.data import data_response
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import Fleet, Make
from eim.sim.journal import Journal
from eim.sim.pki import Pki
from eim.store import identities
from eim.store.connect import DbRole, transaction
from eim.store.identities import NewKey
from tests.database import Database

EIM_ID = "eim.example.com"


class OneKey:
    """The worker's key store with the one key of a test, until another one follows it."""

    def __init__(self) -> None:
        self.signer = self.make("test")
        self.signers = {"test": self.signer}

    def make(self, name: str) -> Signer:
        return Signer(name, generate(Curve.P256), Curve.P256)

    def load(self, name: str) -> Signer:
        return self.signer if name == "test" else self.signers[name]


class Rig:
    """The services as `app` joins them. Use `Rig.start`."""

    def __init__(self, database: Database, fleet: Fleet, keys: OneKey) -> None:
        self.database = database
        self.fleet = fleet
        self.journal = fleet.journal
        self.keys = keys
        self.cards = [card.euicc for card in fleet.cards]
        roots = trust.load_roots([fleet.pki.root_der])
        device, operator, worker = (database.pool(r) for r in (DbRole.DEVICE, DbRole.OPERATOR, DbRole.WORKER))
        self.keys = keys
        self.waiters = Waiters(device, 0.0)
        self.seen = Seen(device)
        polls = Polls(device, self.waiters, self.seen, now, NO_PACKAGE)
        self.results = Results(device, roots, ResultRules(100, False), now)
        self.esipa = Esipa(polls, self.results)
        self.onboarding = Onboarding(operator, lambda euicc, eum: trust.check_chain(euicc, eum, roots, now()))
        self.operations = Operations(operator)
        self.leasing = Leasing(worker, uuid4())
        self.worker = self.new_worker()

    def new_worker(self) -> Worker:
        """A worker that remembers nothing, with the leases of this one."""
        pool, rules = self.database.pool(DbRole.WORKER), WorkerRules(batch=1000, ahead=3, interval=0.05)
        return Worker(pool, self.leasing, Sealer(pool, self.keys, rules.ahead), Asking(pool), rules)

    async def work(self) -> int:
        """Rounds of the worker until it finds nothing to do."""
        done = 0
        while made := await self.worker.round():
            done += made
        return done

    async def onboard(self, **fields: object) -> None:
        for card in self.cards:
            await self.onboarding.add(SETUP, Candidate(eid=format_eid(card.eid), **fields), Rules(), None)  # type: ignore[arg-type]

    async def send(self, octets: bytes, polled: Eid | None = None) -> bytes | None:
        return await self.esipa.answer(receive(octets), Source("127.0.0.1", polled))

    async def poll(self, card: VirtualEuicc) -> bytes | None:
        """What the eIM hands out: the inner TLV, None for "nothing"."""
        await self.work()
        answer = await self.send(messages.poll(card.eid, card.switches.speaks, None, None))
        assert answer is not None
        return None if answer == NO_PACKAGE else inner(answer)

    def execute(self, card: VirtualEuicc, package: bytes) -> bytes:
        """What the card (or its IPA) answers to a package."""
        if package[:2] == b"\xbf\x52":
            return data_response(card, decode(IpaEuiccDataRequest, package), EIM_ID)
        return card.load_euicc_package(package)

    def wrap(self, card: VirtualEuicc, result: bytes) -> bytes:
        return messages.provide(result, card.eid, card.switches.speaks, Naming.NAMED, Carrier.PROVIDE)

    async def visit(self, card: VirtualEuicc) -> int:
        """One visit: poll and execute until there is nothing more; how many packages that were."""
        packages = 0
        while (package := await self.poll(card)) is not None:
            packages += 1
            assert packages < 20, "the eIM never runs out of packages"
            await self.provide(card, self.execute(card, package))
        return packages

    async def provide(self, card: VirtualEuicc, result: bytes) -> tuple[int, ...]:
        """Hand in a result as its IPA would, and let the card forget what is acknowledged."""
        answer = await self.send(self.wrap(card, result), card.eid)
        assert answer is not None
        acknowledged = messages.acknowledged(answer)
        for seq in acknowledged:
            card.remove_notification(seq)
        return acknowledged

    async def order(self, card: VirtualEuicc, kind: Kind, carrier: str | None = None, **more: object) -> UUID:
        """Ask for one operation on the profile of `carrier`."""
        asked = Ordering(kind, (Target(format_eid(card.eid)),), service_provider=carrier, **more)  # type: ignore[arg-type]
        return (await self.operations.place(SETUP, asked, None)).placed[0].operation

    async def add_key(self, name: str = "next") -> int:
        """Another key of our identity, as `eim keys rotate` makes it; its number."""
        signer = self.keys.signers[name] = self.keys.make(name)
        async with transaction(self.database.owner()) as db:
            new = NewKey(name, signer.curve.value, signer.spki)
            return await identities.add_key(db, DEFAULT_TENANT, IdentityId(1), new)

    async def soon(self) -> None:
        """What workers are asked to do later is due now."""
        await self.database.owner().execute("UPDATE requests SET not_before = now()")
        await self.database.owner().execute("UPDATE operations SET not_before = now() WHERE state = 'accepted'")

    async def operation(self, id: UUID) -> dict[str, object]:  # noqa: A002 - what it is
        row = await self.database.owner().fetchrow("SELECT * FROM operations WHERE id = $1", id)
        assert row is not None
        return dict(row)

    async def enabled(self, card: VirtualEuicc) -> str | None:
        """The carrier whose profile the eIM believes to be enabled."""
        found = [p["service_provider"] for p in await self.rows("profiles", card) if p["state"] == "enabled"]
        assert len(found) <= 1, "a card has one enabled profile at most"
        return str(found[0]) if found else None

    async def rows(self, table: str, card: VirtualEuicc) -> list[dict[str, object]]:
        found = await self.database.owner().fetch(
            f"SELECT * FROM {table} WHERE bucket = $1 AND eid = $2", bucket_of(card.eid), card.eid
        )
        return [dict(row) for row in found]


async def start(database: Database, devices: int = 1, make: Make | None = None) -> Rig:
    """A rig with `devices` cards associated with its identity, none of them onboarded yet."""
    keys = OneKey()
    await database.seed_identity(eim_id=EIM_ID, public_key=keys.signer.spki)
    fleet = Fleet(Pki.new(), devices, Journal(now), make or Make(cannot_attach=0, sleepers=0))
    fleet.associate(add_initial_eim(keys.signer.spki))
    rig = Rig(database, fleet, keys)
    await rig.leasing.refresh()
    return rig


def add_initial_eim(spki: bytes) -> bytes:
    """The BF57 that a factory loads: our identity, counter 0, and the card draws the token."""
    config = EimConfigurationData(
        eim_id=EIM_ID, id_type=2, counter=0, association_token=-1, public_key=SpkiChoice(spki)
    )
    return encode(AddInitialEimRequest((config,)))


def inner(answer: bytes) -> bytes:
    """The package in a GetEimPackageResponse (BF4F, a length of one to three octets)."""
    head = 3 if answer[2] < 0x80 else 3 + (answer[2] & 0x7F)
    return answer[head:]


def now() -> datetime:
    return datetime.now(UTC)
