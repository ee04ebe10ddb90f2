"""Polls that wait a moment for work being sealed: an IPA that hears "nothing" sleeps for a day (design 3.1)."""

import asyncio
from collections import defaultdict
from typing import Final

from eim.domain.ids import Bucket, Eid
from eim.errors import DatabaseUnavailable
from eim.store import mailbox
from eim.store.connect import Pool, acquire

_LOOK_EVERY: Final = 0.05  # seconds


class Waiters:
    """Guards the polls waiting in this process; one look-up serves all of them."""

    def __init__(self, pool: Pool, patience: float) -> None:
        self._pool = pool
        self._patience = patience  # seconds
        self._waiting: dict[tuple[Bucket, Eid], set[asyncio.Future[None]]] = defaultdict(set)
        self._somebody = asyncio.Event()

    async def wait(self, bucket: Bucket, eid: Eid) -> None:
        """Return when something may go out for `eid`, or when the patience is over."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[bucket, eid].add(ready)
        self._somebody.set()
        try:
            async with asyncio.timeout(self._patience):
                await ready
        except TimeoutError:
            pass  # the take that follows finds out what there is
        finally:
            self._forget(bucket, eid, ready)

    async def run(self) -> None:
        """Look every 50 ms while somebody waits, until cancelled."""
        while True:
            await self._somebody.wait()
            await asyncio.sleep(_LOOK_EVERY)
            try:
                async with acquire(self._pool) as db:
                    self._wake(await mailbox.ready(db, list(self._waiting)))
            except DatabaseUnavailable:
                continue  # they run into their patience, and their take says that the database is away

    def _wake(self, ready: set[Eid]) -> None:
        for (_, eid), futures in self._waiting.items():
            if eid in ready:
                for future in futures:
                    if not future.done():
                        future.set_result(None)

    def _forget(self, bucket: Bucket, eid: Eid, ready: asyncio.Future[None]) -> None:
        futures = self._waiting[bucket, eid]
        futures.discard(ready)
        if not futures:
            del self._waiting[bucket, eid]
        if not self._waiting:
            self._somebody.clear()
