"""How a device's message reaches the services: alone, or through what answers many at once, as `web.door` does it."""

import asyncio
import time
from enum import StrEnum
from typing import Final

from eim._fast.known import Known
from eim.domain.ids import Eid, bucket_of
from eim.errors import EimError
from eim.protocol.esipa import NO_PACKAGE, Poll, Provided, Received, receive
from eim.services.collecting import Collecting
from eim.services.esipa import Esipa
from eim.services.gathering import Gathering
from eim.services.polls import Polls, Seen
from eim.services.waiting import Waiters
from eim.services.whose import Source
from eim.store.connect import Pool
from tests.model.scheduler import Scheduler
from tests.services.rig import Rig, now

_LANES: Final = 2
_PATIENCE_S: Final = 0.2  # of a poll that waits for a seal: in a run, it is over at any time
_STALE_AFTER_S: Final = 1_000_000  # who is known stays known, so that all runs find the same
_SETS: Final = 16
_PEER: Final = "127.0.0.1"


class Way(StrEnum):
    ALONE = "alone"  # as over Hypercorn and CoAP
    TOGETHER = "together"  # with others
    BARE = "bare"  # with others, and the poll says the EID only
    AGAIN = "again"  # .. of a device that was handed a package when it polled before


class Front:
    """Guards what a device process keeps in memory for all devices. `serve` once, and `begin` each run."""

    def __init__(self, pool: Pool, rig: Rig) -> None:
        self._waiters = Waiters(pool, _PATIENCE_S)
        polls = Polls(pool, self._waiters, Seen(pool, stale_after=_STALE_AFTER_S), now, NO_PACKAGE)
        self._esipa = Esipa(polls, rig.results)
        self._gathering = Gathering(pool, polls, _LANES)
        self._collecting = Collecting(pool, rig.results, _LANES)
        self._way = Way.ALONE

    def serve(self, scheduler: Scheduler) -> None:
        """Run what works beside the messages."""
        scheduler.serve("waiters", self._waiters.run)
        scheduler.serve("polls", self._gathering.run)
        scheduler.serve("results", self._collecting.run)

    def begin(self, way: Way, card: Eid) -> None:
        """Messages come this `way`. Of the runs before nothing is remembered: `card` polled once."""
        self._way = way
        known = self._gathering.known = Known(_SETS, 0, 0.0)
        known.note(card, _Heard.source, time.monotonic(), bucket_of(card))
        if way is Way.AGAIN:
            known.note_package(card)

    async def send(self, octets: bytes, polled: Eid | None = None) -> bytes | None:
        received = receive(octets)
        found = await self._of_many(received) if self._way is not Way.ALONE else None
        if isinstance(found, EimError):
            raise found
        return await self._esipa.answer(received, Source(_PEER, polled)) if found is None else found

    async def _of_many(self, received: Received) -> bytes | EimError | None:
        heard = _Heard()
        match received:
            case Poll() if self._way in (Way.BARE, Way.AGAIN):
                self._gathering.ask_bare(Eid(received.eid), heard)
            case Poll():
                self._gathering.ask(received, heard)
            case Provided():
                self._collecting.bring(received, heard.hear)
            case _:
                return None
        return await heard.found


class _Heard:
    """Whoever polled, until it hears an answer."""

    peer = _PEER
    source = 0x7F000001

    def __init__(self) -> None:
        self.found: asyncio.Future[bytes | EimError | None] = asyncio.get_running_loop().create_future()

    def nothing(self) -> None:
        self.hear(NO_PACKAGE)

    def hear(self, found: bytes | EimError | None) -> None:
        self.found.set_result(found)
