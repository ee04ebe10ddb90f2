"""The buckets this worker process holds: its fair share, taken, kept by being alive, given back (design 3.6)."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import anyio
import msgspec
import structlog

from eim import instruments
from eim.domain.ids import BUCKETS, Bucket
from eim.errors import LeaseLost, Unavailable
from eim.store import Db, leases
from eim.store.connect import Pool, transaction
from eim.store.leases import Lease

# Of a term: how often we give a sign of life, after how long without one the database says that we have expired, and
# how long others then wait by their own clocks. A step of the database's clock expires everybody at once, but whoever
# is alive gives its next sign within that wait; so nobody loses anything.
_BEAT: Final = 0.25
_EXPIRES: Final = 2 / 3
_GRACE: Final = 1 / 3
_LONGEST: Final = timedelta(minutes=2)  # of a worker's row, more than any term: otherwise the clock was set back
_HUNGRY: Final = 1.0  # seconds between looks for free buckets while we have fewer than our share
_SOONEST: Final = 0.05  # seconds between two looks, however often we are woken
_RENEW_EVERY: Final = leases.KEPT.total_seconds() / 3

_log = structlog.get_logger()


def share_of(alive: int) -> int:
    """How many buckets one of `alive` workers holds at most."""
    return -(-BUCKETS // max(alive, 1))


class _Crew(msgspec.Struct, frozen=True):
    """The workers, as one look found them."""

    alive: int
    dead: tuple[UUID, ...]
    next_end: float | None  # seconds until the next of the others may have ended or be dead


class Leasing:
    """Guards this process's leases. Alone it takes all buckets; of N workers each has an N-th, rounded up.

    What is too much is given up between two rounds of those who write, and taken by others at once. Fencing does not
    rest on any of this: each writing transaction finds out for itself by `hold`.
    """

    def __init__(self, pool: Pool, holder: UUID, term: timedelta = leases.TERM) -> None:
        self._pool = pool
        self._holder = holder
        self._term = term
        self._held: dict[Bucket, Lease] = {}
        self._leaving: frozenset[Bucket] = frozenset()  # ours until the rounds that may use them have ended
        self._generation = 0
        self._rounds: dict[int, int] = {}  # generation in which it began: how many run
        self._expired: dict[UUID, float] = {}  # the others that have, and since when we know
        self._crew = _Crew(0, (), None)
        self._linked_at: datetime | None = None
        self._renewed = time.monotonic()
        self._woken = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    @property
    def buckets(self) -> Sequence[Bucket]:
        """What we hold, as far as we know; a writing transaction finds out for certain by `hold`."""
        return [bucket for bucket in self._held if bucket not in self._leaving]

    @property
    def leases(self) -> Sequence[Lease]:
        """What we hold, each in its epoch: another epoch means that somebody else may have worked in between."""
        return [lease for bucket, lease in self._held.items() if bucket not in self._leaving]

    @property
    def holder(self) -> UUID:
        return self._holder

    @property
    def alive(self) -> int:
        """How many workers there are, this one included."""
        return self._crew.alive

    def holds(self, bucket: Bucket) -> bool:
        """Whether `bucket` is ours, as far as we know."""
        return bucket in self._held

    @contextmanager
    def round(self) -> Iterator[Sequence[Bucket]]:
        """The buckets of a round: none of them is given up on purpose before it ends."""
        began = self._generation
        self._rounds[began] = self._rounds.get(began, 0) + 1
        try:
            yield self.buckets
        finally:
            self._rounds[began] -= 1
            if not self._rounds[began]:
                del self._rounds[began]
            if self._leaving and self._may_leave():
                self.wake()

    def linked(self, at: datetime, buckets: Sequence[Bucket]) -> None:
        """All audit records of `buckets` written before `at` are linked: told to whoever takes them over."""
        if self._held.keys() <= set(buckets):
            self._linked_at = at

    def wake(self) -> None:
        """Look now: another worker came, went, or gave up buckets."""
        self._woken.set()

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
        """Stay alive, take what is free up to our share, give up what is above it."""
        async with self._one_at_a_time:
            async with transaction(self._pool) as db:
                crew = await self._beat(db)
                kept = await self._kept(db)
                taken = await leases.take(db, self._holder, max(share_of(crew.alive) - len(kept), 0), crew.dead)
                if taken:
                    await leases.unlinked(db, self._holder)
                if crew.dead:
                    await leases.forget(db, crew.dead)
                if not self._crew.alive:
                    await leases.hint(db, self._holder)
            if taken:
                self._linked_at = None
            self._note(crew, {lease.bucket: lease for lease in (*kept, *taken)}, len(taken))
            if self._leaving and self._may_leave():
                await self._give_up()

    async def run(self) -> None:
        """Refresh until cancelled, then give everything back."""
        try:
            while True:
                await self._pause()
                await self._refresh_or_wait()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                await self._give_back()

    async def _beat(self, db: Db) -> _Crew:
        left = await leases.beat(db, self._holder, self._term * _EXPIRES, self._linked_at)
        if max(left.values()) > _LONGEST.total_seconds():
            await leases.shorten(db, _LONGEST)
        now, grace = time.monotonic(), self._term.total_seconds() * _GRACE
        self._expired = {each: self._expired.get(each, now) for each, seconds in left.items() if seconds <= 0}
        waits = {each: since + grace - now for each, since in self._expired.items()}
        dead = tuple(each for each, wait in waits.items() if wait <= 0)
        others = {each: waits.get(each, seconds) for each, seconds in left.items() if each != self._holder}
        next_end = min((wait for wait in others.values() if wait > 0), default=None)
        return _Crew(len(left) - len(dead), dead, next_end)

    async def _kept(self, db: Db) -> tuple[Lease, ...]:
        kept = await leases.of(db, self._holder)
        if kept and time.monotonic() - self._renewed > _RENEW_EVERY:
            kept = await leases.renew(db, self._holder, kept)
            self._renewed = time.monotonic()
        return kept

    def _note(self, crew: _Crew, held: dict[Bucket, Lease], taken: int) -> None:
        lost = sum(lease != held.get(bucket) for bucket, lease in self._held.items())
        if taken or crew.alive != self._crew.alive:
            _log.info("leases.taken", buckets=taken, held=len(held), workers=crew.alive)
        if lost:
            _log.warning("leases.lost", buckets=lost, held=len(held), workers=crew.alive)
        instruments.LEASES_LOST.inc(lost)
        instruments.LEASES_HELD.set(len(held))
        instruments.WORKERS_ALIVE.set(crew.alive)
        self._crew = crew
        self._held = held
        leaving = frozenset(sorted(held)[share_of(crew.alive) :])
        if leaving - self._leaving:
            self._generation += 1
        self._leaving = leaving

    def _may_leave(self) -> bool:
        return all(began >= self._generation for began in self._rounds)

    async def _give_up(self) -> None:
        surplus = [self._held.pop(bucket) for bucket in self._leaving]
        self._leaving = frozenset()
        async with transaction(self._pool) as db:
            await leases.release(db, self._holder, surplus, self._linked_at)
            await leases.hint(db, self._holder)
        instruments.LEASES_HELD.set(len(self._held))
        _log.info("leases.given_up", buckets=len(surplus), held=len(self._held))

    async def _pause(self) -> None:
        """Until somebody wakes us, or it is time to renew, to look for free buckets, or because another may be dead."""
        await asyncio.sleep(_SOONEST)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience()):
                await self._woken.wait()
        self._woken.clear()

    def _patience(self) -> float:
        patience = self._term.total_seconds() * _BEAT
        if len(self._held) < BUCKETS // max(self._crew.alive, 1):
            patience = min(patience, _HUNGRY)
        if self._crew.next_end is not None:
            patience = min(patience, self._crew.next_end)
        return patience

    async def _refresh_or_wait(self) -> None:
        try:
            await self.refresh()
        except Unavailable as error:
            _log.warning("leases.not_renewed", why=error.code)

    async def _give_back(self) -> None:
        try:
            async with transaction(self._pool) as db:
                await leases.release(db, self._holder, list(self._held.values()), self._linked_at)
                await leases.leave(db, self._holder)
                await leases.hint(db, self._holder)
        except Unavailable:
            pass  # they end by themselves
        self._held = {}
        instruments.LEASES_HELD.set(0)
