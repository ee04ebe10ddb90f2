"""A poll arrives: what waits for this eUICC goes out, or a constant "nothing" (design 3.1, 3.2)."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import anyio
import structlog

from eim.domain.ids import Bucket, Eid, bucket_of, eid_check_digits_hold
from eim.domain.suspicion import SuspicionRules
from eim.errors import DatabaseUnavailable, EimError, Unavailable
from eim.protocol.esipa import NO_PACKAGE, Poll, package_answer, poll_error
from eim.services import barring, reports
from eim.services.again import again
from eim.services.guessing import Guesses
from eim.services.handouts import HandingOut
from eim.services.ports import Clock
from eim.services.sources import Sign, Sources
from eim.services.strangers import Strangers
from eim.services.traces import Exchange, Tracer
from eim.services.visit import Visit
from eim.services.waiting import Waiters
from eim.store import associations, dependents, mailbox, requests
from eim.store.connect import Pool, acquire, transaction
from eim.store.mailbox import Look

_EID_NOT_FOUND: Final = 2
_INVALID_EID: Final = 3
_TAKE_DEADLINE: Final = 0.5  # seconds: a committed stop is final one second later
_FLUSH_EVERY: Final = 2.0  # seconds of last-seen times that a crash may lose
_FLUSH_AT_MOST: Final = 5_000
STALE_AFTER: Final = 300  # seconds: a last-seen time that is younger is not written again
_RULES: Final = SuspicionRules()

_log = structlog.get_logger()


class Polls:
    """Answers GetEimPackage."""

    def __init__(self, pool: Pool, waiters: Waiters, seen: "Seen", clock: Clock, unknown: bytes) -> None:
        self._pool = pool
        self._waiters = waiters
        self._seen = seen
        self._tracer = Tracer(pool)
        self._clock = clock
        self.handing_out = HandingOut(pool)
        self._asides: set[asyncio.Task[None]] = set()
        self._unknown = unknown  # the answer for an EID that nobody onboarded
        self.stale_after = seen.stale_after

    async def answer(self, poll: Poll, peer: str) -> bytes:
        """The octets for one poll; a package is handed out by a commit that has happened when this returns.

        peer  where the poll came from, for a trace
        """
        if (refusal := self.refusal(peer)) is not None:
            raise refusal
        eid = Eid(poll.eid)
        bucket = bucket_of(eid)
        async with acquire(self._pool) as db:
            look = await mailbox.look(db, bucket, eid)
        if look is None:
            return self.answer_stranger(eid, peer)
        came_at = self._clock()
        self._seen.note(bucket, eid, came_at)
        if sign := self.sign_in(eid, poll.plmn, peer):
            await self._suspect(bucket, eid, sign)
        answer = await self._answer(bucket, eid, poll, look)
        if look.traced:
            await self._tracer.keep(bucket, eid, peer, Exchange(poll.raw, came_at, answer, self._clock()))
        return answer

    def refusal(self, peer: str) -> EimError | None:
        """Why polls of `peer` are not answered now, whichever EID they name."""
        return self._seen.guesses.refusal(peer)

    def answer_stranger(self, eid: Eid, peer: str) -> bytes:
        """The octets for an EID that nobody onboarded, which is counted."""
        self._seen.guesses.count(peer)
        if not eid_check_digits_hold(eid):
            return poll_error(_INVALID_EID)
        self._seen.strangers.note(eid, peer)
        return self._unknown

    def note(self, bucket: Bucket, eid: Eid) -> None:
        """It was seen now."""
        self._seen.note(bucket, eid, self._clock())

    def sign_in(self, eid: Eid, plmn: bytes | None, peer: str) -> Sign | None:
        """What is suspicious about a poll from `peer` for an EID that is onboarded."""
        return self._seen.sources.suspicious(eid, peer, plmn, time.monotonic())

    def suspect_beside(self, bucket: Bucket, eid: Eid, sign: Sign, then: Callable[[], None]) -> None:
        """Write down what is suspicious, beside everything else, and call `then`."""
        task = asyncio.get_running_loop().create_task(self._suspect_and(bucket, eid, sign, then))
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _suspect_and(self, bucket: Bucket, eid: Eid, sign: Sign, then: Callable[[], None]) -> None:
        try:
            await again(lambda: self._suspect(bucket, eid, sign))
        except Unavailable as error:  # its sources go on alternating, so the next sign comes soon
            _log.warning("poll.sign_lost", code=error.code)
        finally:
            then()

    async def _answer(self, bucket: Bucket, eid: Eid, poll: Poll, look: Look) -> bytes:
        asked = await self._record(bucket, eid, poll, look)
        if look.barred:
            return NO_PACKAGE  # as if nothing waited
        free = look.awaited or look.stuck
        if free:
            await self._release(bucket, eid, look)
        if asked or free or look.asked or (look.due and not look.ready):
            await self._waiters.wait(bucket, eid)
            together = await self.handing_out.take(bucket, eid)  # what is sealed at once goes out at once
            return await self._take(bucket, eid) if together is None else together
        return await self._take(bucket, eid) if look.ready else NO_PACKAGE

    async def _release(self, bucket: Bucket, eid: Eid, look: Look) -> None:
        """What waited for the card to call is due now; and a head that may not go out makes way for what may."""
        async with transaction(self._pool) as db:
            await associations.lock(db, bucket, eid)
            await dependents.heard(db, bucket, eid)
            if look.stuck:
                await mailbox.take_back_seals(db, bucket, eid)
            await requests.hint(db, bucket)

    async def _suspect(self, bucket: Bucket, eid: Eid, sign: Sign) -> None:
        async with transaction(self._pool) as db:
            card = await associations.lock(db, bucket, eid)
            if card is not None:
                visit = Visit(db, (bucket, eid), card, self._clock(), eid)
                visit.suspicion = self._seen.sources.rules
                await barring.suspect(visit, *sign)

    async def _take(self, bucket: Bucket, eid: Eid) -> bytes:
        async with acquire(self._pool) as db:
            taken = await mailbox.take(db, bucket, eid, _TAKE_DEADLINE)
        return package_answer(taken.sealed) if taken else NO_PACKAGE

    async def _record(self, bucket: Bucket, eid: Eid, poll: Poll, look: Look) -> bool:
        """A state change and a new network are said once, so they are committed before the answer."""
        if not reports.says_something(poll, look):
            return False
        async with transaction(self._pool) as db:
            card = await associations.lock(db, bucket, eid)
            if card is None:
                return False
            await reports.take(Visit(db, (bucket, eid), card, self._clock(), eid), poll, look)
        return poll.state_change


class Seen:
    """Guards the buffer of last-seen times: written in bulk, never one row a poll. A crash loses two seconds.

    One that was written less than `stale_after` seconds ago stays as it is: a device that polls all the time costs a
    write no more often than that.

    `strangers` are those whom nobody onboarded: they have no row that could say when they were seen. `sources` is
    where the others polled from, and `guesses` how many EIDs nobody knew.
    """

    def __init__(
        self,
        pool: Pool,
        rules: SuspicionRules = _RULES,
        guesses: Guesses | None = None,
        stale_after: int = STALE_AFTER,
    ) -> None:
        self._pool = pool
        self.guesses = guesses or Guesses()
        self.stale_after = stale_after
        self.strangers = Strangers(pool)
        self.sources = Sources(rules)
        self._at: dict[tuple[Bucket, Eid], datetime] = {}

    def note(self, bucket: Bucket, eid: Eid, at: datetime) -> None:
        self._at[bucket, eid] = at

    async def run(self) -> None:
        """Write the buffer every two seconds until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_EVERY)
                await self._flush_or_keep()
        finally:
            with anyio.CancelScope(shield=True):
                await self._flush_or_keep()

    async def _flush_or_keep(self) -> None:
        noted, self._at = self._at, {}
        rows = [(bucket, eid, at) for (bucket, eid), at in noted.items()]
        stale_after = timedelta(seconds=self.stale_after)
        try:
            for start in range(0, len(rows), _FLUSH_AT_MOST):
                async with transaction(self._pool) as db:
                    await associations.seen(db, rows[start : start + _FLUSH_AT_MOST], stale_after)
        except DatabaseUnavailable:
            self._at = noted | self._at


def unknown_answer(word: str) -> bytes:
    """The answer for an EID that nobody onboarded: "noEimPackage" is no oracle, "eidNotFound" says it."""
    return poll_error(_EID_NOT_FOUND) if word == "eidNotFound" else NO_PACKAGE
