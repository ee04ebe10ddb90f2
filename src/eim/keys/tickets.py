"""TLS session tickets that every process of a port can open, whichever of them gave them out.

The keys come from one secret and the day (UTC). The secret goes forward only: from today's nobody can compute
yesterday's. At midnight every process takes the next keys, and whoever comes with a ticket from before makes one full
handshake. The secret is drawn in memory, handed to the processes through a pipe, and neither stored nor logged.
"""

import _ssl
import asyncio
import contextlib
import hmac
import secrets
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from eim._fast import tls
from eim.errors import KeyUnusable
from eim.keys.disk import read

PACKED: Final = 40  # octets of a secret on its way to another process: the day, then the secret itself
_SIZE: Final = 32
_DAY: Final = 86_400.0  # seconds
_LOOK_EVERY: Final = 600.0  # seconds: a clock that was set is noticed
_FIRST_DAY: Final = 20_454  # of a secret from a file: 1 January 2026
_HEAD: Final = object.__basicsize__
# SGP.32 section 6.1 has P-256 and brainpoolP256r1. A device that can chooses X25519, by far the cheapest here.
_GROUPS: Final = b"X25519:P-256:brainpoolP256r1"

_log = structlog.get_logger()


class Secret:
    """Guards what the keys of a day come from, and of the days after it."""

    def __init__(self, day: int, octets: bytes) -> None:
        self._day = day
        self._octets = octets

    @classmethod
    def fresh(cls) -> "Secret":
        """A new one, which nobody else has."""
        return cls(_today(), secrets.token_bytes(_SIZE))

    @classmethod
    def unpack(cls, packed: bytes) -> "Secret":
        """What `pack` gave. Raises ValueError."""
        if len(packed) != PACKED:
            raise ValueError(f"a ticket secret is {PACKED} octets")
        return cls(int.from_bytes(packed[:8], "big"), packed[8:])

    @classmethod
    def from_file(cls, path: Path) -> "Secret":
        """The one that all who read this file agree on. Raises KeyUnusable for less than 32 octets."""
        content = read(path, "the secret of the TLS tickets")
        if len(content) < _SIZE:
            raise KeyUnusable(f"{path} is too short for a secret: write 32 random octets or more (openssl rand 48)")
        return cls(_FIRST_DAY, hmac.digest(b"eim tls tickets", content, "sha256"))

    def __repr__(self) -> str:
        return "Secret(...)"

    def pack(self) -> bytes:
        """The secret as it is today, for a process of ours."""
        self.go_on(_today())
        return self._day.to_bytes(8, "big") + self._octets

    def keys(self, day: int) -> bytes:
        """The 80 octets of `day`; of a day that is over, those of the last one that was asked for."""
        self.go_on(day)
        parts = (hmac.digest(self._octets, b"keys %d" % number, "sha256") for number in range(3))
        return b"".join(parts)[:80]

    def go_on(self, day: int) -> None:
        """Forget the days before `day`."""
        while self._day < day:
            self._day, self._octets = self._day + 1, hmac.digest(self._octets, b"next day", "sha256")

    async def run(self) -> None:
        """Forget each day when it is over, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self.go_on(_today())


class Tickets:
    """Guards the ticket keys of one port in one process.

    make  gives another context like `context`, to try everything on first
    """

    def __init__(self, context: ssl.SSLContext, make: Callable[[], ssl.SSLContext], secret: Secret) -> None:
        self._context = context
        self._secret = secret
        self.fault = fault_of(make)
        if self.fault is not None:
            _log.warning("tls.tickets_not_shared", why=self.fault, instead="each process opens its own tickets only")
            return
        tls.set_groups(context, _HEAD, _GROUPS)
        self.renew(_today())

    def renew(self, day: int) -> None:
        """Take the keys of `day`."""
        if self.fault is None:
            tls.set_ticket_keys(self._context, _HEAD, self._secret.keys(day))

    async def run(self) -> None:
        """Take the keys of each day when it begins, until cancelled."""
        while self.fault is None:
            await asyncio.sleep(min(_LOOK_EVERY, _DAY - time.time() % _DAY))
            self.renew(_today())


def fault_of(make: Callable[[], ssl.SSLContext]) -> str | None:
    """Why this Python's contexts can't be given ticket keys; None when they can, proved by handshakes in memory."""
    if not tls.bind(getattr(_ssl, "__file__", "")):
        return "Python's libssl can't be reached"
    issuing, other = make(), make()
    if not (_is_seen_through(issuing) and _is_seen_through(other)):
        return "a context does not lie where it was expected"
    try:
        return _fault_of_pair(issuing, other)
    except (ssl.SSLError, ValueError) as error:
        return f"the trial failed: {error}"


def _is_seen_through(context: ssl.SSLContext) -> bool:
    """Whether libssl finds this context's options where we take its SSL_CTX to be, also after they were changed."""
    if not _is_writable(tls.address(context, _HEAD)):
        return False
    for option in (ssl.OP_NO_TICKET, ssl.OP_NO_RENEGOTIATION):
        context.options ^= option
        found = tls.seen(context, _HEAD)
        expected = (int(context.options), int(context.verify_mode))
        context.options ^= option
        if found != expected:
            return False
    return True


def _is_writable(address: int) -> bool:
    """Whether `address` may be read and written by this process: what stands there is read only then."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        place, rights = line.split()[:2]
        first, _, last = place.partition("-")
        if int(first, 16) <= address < int(last, 16) - 1024:
            return rights.startswith("rw")
    return False


def _fault_of_pair(issuing: ssl.SSLContext, other: ssl.SSLContext) -> str | None:
    keys = Secret.fresh().keys(_today())
    for context in (issuing, other):
        if not tls.set_groups(context, _HEAD, _GROUPS):
            return "libssl does not know the groups"
        if not tls.set_ticket_keys(context, _HEAD, keys) or tls.ticket_keys(context, _HEAD) != keys:
            return "libssl does not take ticket keys"
    outcomes = [_outcome(issuing, other, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    if not any(outcomes):
        return "no handshake came about"
    return "a ticket of one context was not taken by another" if False in outcomes else None


def _outcome(issuing: ssl.SSLContext, other: ssl.SSLContext, version: ssl.TLSVersion) -> bool | None:
    """Whether `other` takes what `issuing` gave; None where this version is not served (1.3 from brainpool)."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # our own contexts, in memory: there is nobody to verify
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    tls.set_groups(client, _HEAD, _GROUPS)
    try:
        given = shake_hands(client, issuing).session
    except ssl.SSLError:
        return None
    return given is not None and bool(shake_hands(client, other, given).session_reused)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """The client's end of a connection between two contexts of this process, its ticket received. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, session=session)
    waiting = [ours.do_handshake, theirs.do_handshake]
    for _ in range(8):  # flights; a handshake has four at most
        for step in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                step()
                waiting.remove(step)
        if not waiting:
            break
    theirs.write(b".")
    ours.read(1)  # what TLS 1.3 sends after the handshake has come before it
    return ours


def _today() -> int:
    return int(time.time() // _DAY)
