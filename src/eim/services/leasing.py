"""The buckets this worker process holds: taken, renewed in time, given back (design 3.6)."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import anyio
import structlog

from eim.domain.ids import BUCKETS, Bucket
from eim.errors import LeaseLost, Unavailable
from eim.store import Db, leases
from eim.store.connect import Pool, transaction
from eim.store.leases import Lease

_RENEW_EVERY: Final = leases.TERM.total_seconds() / 3

_log = structlog.get_logger()


class Leasing:
    """Guards this process's leases. One worker alone takes them all; a second takes what becomes free."""

    def __init__(self, pool: Pool, holder: UUID) -> None:
        self._pool = pool
        self._holder = holder
        self._held: dict[Bucket, Lease] = {}

    @property
    def buckets(self) -> Sequence[Bucket]:
        """What we hold, as far as we know; a writing transaction finds out for certain by `hold`."""
        return list(self._held)

    @property
    def leases(self) -> Sequence[Lease]:
        """What we hold, each in its epoch: another epoch means that somebody else may have worked in between."""
        return list(self._held.values())

    async def fence_all(self) -> None:
        """Whatever ran before on this database is over: only where we alone start its workers."""
        async with transaction(self._pool) as db:
            await leases.fence_all(db)

    async def hold(self, db: Db, buckets: Sequence[Bucket]) -> None:
        """Lock the lease rows of `buckets` in the caller's transaction. Raises LeaseLost."""
        wanted = sorted(set(buckets))
        if lost := [bucket for bucket in wanted if bucket not in self._held]:
            raise LeaseLost(f"bucket {lost[0]} is not ours any more")
        await leases.hold(db, self._holder, [self._held[bucket] for bucket in wanted])

    async def refresh(self) -> None:
        """Renew what we hold and take what is free."""
        async with transaction(self._pool) as db:
            kept = await leases.renew(db, self._holder, list(self._held.values())) if self._held else ()
            taken = await leases.take(db, self._holder, BUCKETS - len(kept))
        if taken:
            _log.info("leases.taken", buckets=len(taken))
        self._held = {lease.bucket: lease for lease in (*kept, *taken)}

    async def run(self) -> None:
        """Refresh until cancelled, then give everything back."""
        try:
            while True:
                await asyncio.sleep(_RENEW_EVERY)
                await self._refresh_or_wait()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                await self._give_back()

    async def _refresh_or_wait(self) -> None:
        try:
            await self.refresh()
        except Unavailable as error:
            _log.warning("leases.not_renewed", why=error.code)

    async def _give_back(self) -> None:
        try:
            async with transaction(self._pool) as db:
                await leases.release(db, self._holder, list(self._held.values()))
        except Unavailable:
            pass  # they end by themselves
        self._held = {}
