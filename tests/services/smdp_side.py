"""SM-DP+ on real sockets, the worker's forwarder that calls them, and notifications as cards sign them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec

from eim.connectors.rsp import Es9Plus
from eim.connectors.transport import CallRules, Transport, Trusting
from eim.domain.ids import DEFAULT_TENANT, TenantId
from eim.domain.smdp import Binding, RootsOf
from eim.keys.tls import smdp_context
from eim.protocol import trust
from eim.protocol.ecdsa import Curve
from eim.services.forwarding import Forwarder, ForwardRules
from eim.sim import messages
from eim.sim.der import bits, integer, text, tlv
from eim.sim.dp_tls import Flaw, server_context
from eim.sim.euicc import VirtualEuicc
from eim.sim.pki import Pki
from eim.sim.servers import SmdpServer, serving
from eim.sim.switches import sign
from eim.store import smdps
from eim.store.connect import DbRole, transaction
from eim.store.smdps import Settings
from tests.services.rig import Rig, now

QUICK = CallRules(timeout=1.0, pauses=(0.05, 0.1, 0.2))
LOOPBACK = ("127.0.0.0/8",)
ICCID = bytes.fromhex("98001032547698103214")
EVENTS = {"install": 0, "enable": 1, "disable": 2, "delete": 3}


class SmdpSide:
    """What joins them. Use `smdp_side`. Every name resolves to this machine."""

    def __init__(self, rig: Rig, stack: AsyncExitStack, folder: Path, calls: CallRules) -> None:
        self.rig = rig
        self.pki: Pki = rig.fleet.pki
        self.worker = rig.database.pool(DbRole.WORKER)
        self._stack = stack
        self._folder = folder
        self.rules = ForwardRules(longest_pause=timedelta(milliseconds=50), interval=0.02)
        self.roots = trust.load_roots([self.pki.root_der])
        trusting = {
            RootsOf.GSMA.value: Trusting(smdp_context(self.roots, Curve.P256), trust.check_smdp_tls),
            RootsOf.GSMA_BRAINPOOL.value: Trusting(smdp_context(self.roots, Curve.BRAINPOOL), trust.check_smdp_tls),
        }
        self.transport = Transport(trusting, calls, to_this_machine)

    async def start(self) -> None:
        await self._stack.enter_async_context(self.transport)

    async def server(self, name: str = "smdp.example.com", flaw: Flaw | None = None) -> SmdpServer:
        """One more SM-DP+; `address(server)` is what cards call it."""
        made = SmdpServer(self.pki)
        context = server_context(self.pki, (name,), self._folder, flaw)
        return await self._stack.enter_async_context(serving(made, context))

    async def allow(self, address: str, tenant: TenantId = DEFAULT_TENANT, **settings: object) -> None:
        wanted = msgspec.convert({"networks": LOOPBACK} | settings, Settings)
        async with transaction(self.rig.database.pool(DbRole.OPERATOR), tenant=tenant) as db:
            assert await smdps.insert(db, tenant, uuid4(), address, wanted)

    async def allowed(self, name: str = "smdp.example.com", binding: Binding = Binding.JSON) -> SmdpServer:
        """A sound server that may be called."""
        made = await self.server(name)
        await self.allow(f"{name}:{made.port}", binding=binding.value)
        return made

    def forwarder(self, **rules: object) -> Forwarder:
        wanted = msgspec.structs.replace(self.rules, **rules)
        return Forwarder(self.worker, self.rig.leasing, Es9Plus(self.transport), (self.roots, now), wanted)

    async def hand_in(self, card: VirtualEuicc, notification: bytes) -> None:
        """As an IPA does: HandleNotification; returning is the 204."""
        assert await self.rig.send(messages.notification(notification), card.eid) is None

    async def forward(self, forwarder: Forwarder, rounds: int = 60) -> None:
        """Rounds until there have been three with nothing to do."""
        idle = 0
        for _ in range(rounds):
            idle = 0 if await forwarder.round() else idle + 1
            if idle == 3:
                return
            await asyncio.sleep(0.03)

    async def states(self, card: VirtualEuicc) -> list[tuple[object, object]]:
        """(seqNumber, state) in the card's order."""
        found = [(row["seq_number"], row["state"]) for row in await self.rig.rows("notifications", card)]
        return sorted(found, key=lambda each: (each[0] is None, each[0]))

    async def told(self, card: VirtualEuicc, kind: str) -> list[dict[str, object]]:
        """The data of the card's events of this kind."""
        return [row["data"] for row in await self.rig.rows("events", card) if row["kind"] == kind]  # type: ignore[misc]


@asynccontextmanager
async def smdp_side(rig: Rig, folder: Path, calls: CallRules = QUICK) -> AsyncIterator[SmdpSide]:
    async with AsyncExitStack() as stack:
        side = SmdpSide(rig, stack, folder, calls)
        await side.start()
        yield side


async def to_this_machine(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def metadata(seq: int, event: str, address: str, iccid: bytes | None = ICCID) -> bytes:
    """BF2F."""
    named = tlv(0x5A, iccid) if iccid else b""
    return tlv(0xBF2F, integer(0x80, seq), bits(0x81, EVENTS[event]), text(0x0C, address), named)


def signed_by(card: VirtualEuicc, octets: bytes) -> bytes:
    """5F37."""
    return tlv(0x5F37, sign(card.credentials.key, octets, card.switches.coding))


def other(card: VirtualEuicc, seq: int, event: str, address: str, iccid: bytes | None = ICCID) -> bytes:
    """An OtherSignedNotification."""
    data = metadata(seq, event, address, iccid)
    certificates = card.credentials.euicc_certificate + card.credentials.eum_certificate
    return tlv(0x30, data, signed_by(card, data), certificates)


def compact(card: VirtualEuicc, seq: int, event: str, address: str) -> bytes:
    """A CompactOtherSignedNotification."""
    data = metadata(seq, event, address)
    return tlv(0xA1, tlv(0x5A, card.eid), data, signed_by(card, data))


def installation(card: VirtualEuicc, seq: int, address: str, iccid: bytes = ICCID) -> bytes:
    """A ProfileInstallationResult of a download that went well."""
    success = tlv(0xA2, tlv(0xA0, tlv(0x4F, bytes(16)), tlv(0x04, bytes.fromhex("3007A0053003800100"))))
    oid = tlv(0x06, bytes.fromhex("8837"))
    data = tlv(0xBF27, tlv(0x80, bytes(16)), metadata(seq, "install", address, iccid), oid, success)
    return tlv(0xBF37, data, signed_by(card, data))


def address(server: SmdpServer, name: str = "smdp.example.com") -> str:
    return f"{name}:{server.port}"
