"""Who polls and was never onboarded, as one device process hears it: counted in memory, written every few seconds.

A poll of a stranger costs one entry in a dictionary. A flood of random EIDs fills the share of its own network and no
more; what does not fit is counted and dropped.
"""

import asyncio
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

import anyio
import structlog

from eim.domain.ids import Eid
from eim.errors import EimError
from eim.store import unknown
from eim.store.connect import Pool, transaction
from eim.store.unknown import Noted

FLUSH_EVERY: Final = 5.0  # seconds; a crash forgets what was heard in them
MOST: Final = 2_000  # EIDs between two writes
MOST_OF_ONE: Final = 500  # of them from one network
_V4, _V6 = 24, 48  # bits that make a network

_log = structlog.get_logger()


class Strangers:
    """Guards the counts of EIDs that nobody onboarded, until they are written. Holds the device role's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._polls: dict[Eid, int] = {}
        self._source: dict[Eid, str] = {}
        self._of_source: dict[str, int] = {}
        self._dropped = 0

    def note(self, eid: Eid, peer: str) -> None:
        """`eid`, whose check digits hold, polled from `peer`."""
        if eid in self._polls:
            self._polls[eid] += 1
            return
        source = network_of(peer)
        of_source = self._of_source.get(source, 0)
        if len(self._polls) >= MOST or of_source >= MOST_OF_ONE:
            self._dropped += 1
            return
        self._polls[eid], self._source[eid], self._of_source[source] = 1, source, of_source + 1

    async def run(self) -> None:
        """Write every few seconds until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY)
                await self.flush()
        finally:
            with anyio.CancelScope(shield=True):
                await self.flush()

    async def flush(self) -> None:
        """Write what was heard. It is only worth one try: who is there calls again."""
        heard = [Noted(eid, self._source[eid], polls) for eid, polls in self._polls.items()]
        dropped, self._dropped = self._dropped, 0
        self._polls, self._source, self._of_source = {}, {}, {}
        if dropped:
            _log.warning("unknown_callers.dropped", polls=dropped)
        if not heard:
            return
        try:
            async with transaction(self._pool) as db:
                await unknown.note(db, heard)
        except EimError as error:
            _log.warning("unknown_callers.lost", eids=len(heard), why=error.code)


@lru_cache(maxsize=4096)
def network_of(peer: str) -> str:
    """The network of an address, as 192.0.2.0/24 or 2001:db8::/48; what is no address stays as it is."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer[:64]
    mapped = getattr(address, "ipv4_mapped", None)
    bits = _V4 if address.version == 4 or mapped else _V6
    return str(ip_network(f"{mapped or address}/{bits}", strict=False))
