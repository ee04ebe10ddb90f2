"""Whether work that comes is surely heard of: then a poll for which nothing was found needs no question.

Postgres stays the truth. A process listens for the buckets in which work may have come, and sends itself a beat over
another connection, time and again: a beat that was heard says that all was heard that was committed before it was sent.
Without one that is younger than a second every poll is asked for. So what is remembered delays a package by the second
at most in which its announcement was under way, and a connection that breaks, hangs or only looks like one (a pooler)
delays none any longer. Where few polls come there is little to gain: no beat is sent, and each finds what was committed
before it came.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg
import structlog

from eim._fast.known import Known
from eim.domain.ids import Bucket
from eim.errors import Contended, Unavailable
from eim.store import Db, announcements
from eim.store.connect import Pool, acquire

_BEAT_EVERY: Final = 0.25  # seconds, while many polls come
_AGAIN: Final = 0.5  # seconds before a lost connection is made again
_DEAF: Final = 3.0  # seconds of beats unheard that are worth a line in the log
_TELL_EVERY: Final = 300.0  # seconds
_LOST: Final = (Unavailable, Contended, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

_log = structlog.get_logger()


class Lookout:
    """Guards the connection that listens. It tells `known` what it hears.

    ears   a pool of its own, of one connection
    pool   where the beats are sent
    polls  how many have come so far
    above  as many a second have to come for beats to be sent, and so for anything to be answered from memory
    """

    def __init__(self, ears: Pool, pool: Pool, known: Known, polls: Callable[[], int], above: int) -> None:
        self._ears = ears
        self._pool = pool
        self._known = known
        self._polls = polls
        self._busy = max(1, round(above * _BEAT_EVERY))  # polls between two beats
        self._beats = f"eim_beat_{secrets.token_hex(8)}"
        self._heard_at = time.monotonic()
        self._deaf = False
        self._told = (time.monotonic(), 0, 0)  # when, and how many had polled and were answered from memory

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async with acquire(self._ears) as db:
                    await self._listen(db)
            except _LOST as error:
                self._say_deaf(type(error).__name__)
            await asyncio.sleep(_AGAIN)

    async def _listen(self, db: Db) -> None:
        """Until the connection is lost. What was found before it listened is doubted: work may have come unheard."""
        gone = asyncio.Event()

        def lost(_: object) -> None:
            self._known.deafen()
            gone.set()

        db.add_termination_listener(lost)
        try:
            await announcements.listen(db, self._came, self._beats, self._beaten)
            self._known.doubt_all(time.monotonic())
            await self._beat_until(gone)
        finally:
            self._known.deafen()
            db.terminate()

    async def _beat_until(self, gone: asyncio.Event) -> None:
        before = self._polls()
        self._heard_at = time.monotonic()
        while not gone.is_set():
            polls = self._polls()
            if polls != before:
                self._tell(polls)
            if polls - before >= self._busy:
                async with acquire(self._pool) as db:
                    await announcements.send_beat(db, self._beats, repr(time.monotonic()))
                if time.monotonic() - self._heard_at > _DEAF:
                    self._say_deaf("unheard")
            else:
                self._known.deafen()
                self._heard_at = time.monotonic()
            before = polls
            with suppress(TimeoutError):
                async with asyncio.timeout(_BEAT_EVERY):
                    await gone.wait()

    def _tell(self, polls: int) -> None:
        """Every few minutes: how many polled, how many of them were answered from memory, whether that goes on."""
        now, hits = time.monotonic(), self._known.hits
        at, polls_then, hits_then = self._told
        if now - at >= _TELL_EVERY:
            self._told = now, polls, hits
            live = self._known.is_live(now)
            _log.info("lookout.share", polls=polls - polls_then, remembered=hits - hits_then, live=live)

    def _came(self, bucket: Bucket) -> None:
        self._known.work_came(bucket, time.monotonic())

    def _beaten(self, sent: str) -> None:
        self._known.heard(float(sent))
        self._heard_at = time.monotonic()
        if self._deaf:
            self._deaf = False
            _log.info("lookout.hears")

    def _say_deaf(self, why: str) -> None:
        if not self._deaf:
            self._deaf = True
            _log.warning("lookout.deaf", why=why, so="every poll is asked for")
