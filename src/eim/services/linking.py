"""Chains new audit records by hash, and signs the heads of the chains: the worker's part (design 3.13).

Nobody waits for it: records are written without it, and are linked about a second later by who holds their bucket.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import asyncpg
import structlog

from eim.domain.chain import START, Checkpoint, Head, Record, link_hash, write_heads
from eim.domain.ids import Bucket
from eim.errors import KeyUnusable, LeaseLost, Unavailable
from eim.services.leasing import Leasing
from eim.store import events, links
from eim.store.connect import Pool, acquire, transaction
from eim.store.links import NewLink

_EVERY: Final = 1.0  # seconds between two rounds
_BATCH: Final = 5000  # records a round
# A record shows when its transaction commits, with the time at which that began: so a round looks back to where all
# that was still under way at the look before had not begun yet, and a little further, for a transaction is numbered at
# the first thing that it writes or locks. Now and then it looks further than any transaction lasts.
_BACK: Final = timedelta(seconds=2)
_MOST_BACK: Final = 60  # rounds that are remembered
_FAR_BACK: Final = timedelta(minutes=10)
_FAR_EVERY: Final = 600  # rounds
_FROM_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FEW: Final = 64  # heads: so many are signed at once, more wait a little, for each costs 42 octets for ever
_SIGN_MANY_EVERY: Final = 10.0  # seconds

_log = structlog.get_logger()


class Signer(Protocol):
    """The checkpoint key."""

    def sign(self, tbs: bytes) -> bytes: ...


class Pen(NamedTuple):
    """What signs checkpoints, in this process."""

    signer: Signer
    is_ours: Callable[[bytes, bytes], bool]  # whether (what was signed, signature) is of the signer's key
    keep: Callable[[int, bytes], None]  # a checkpoint's seq and hash, put where the database's owner can't reach


class _Look(NamedTuple):
    """A look that found all that there was to find."""

    at: datetime
    oldest: int  # every transaction with a number below had ended
    next: int  # none with this number or a higher one had begun


class Linker:
    """Guards the heads that are linked and not signed yet. What it did is found in the tables by the next process."""

    def __init__(self, pool: Pool, leasing: Leasing, pen: Pen) -> None:
        self._pool = pool
        self._leasing = leasing
        self._pen = pen
        self._seen: set[Bucket] = set()  # buckets whose heads were looked at since we hold them
        self._unsigned: dict[Bucket, Head] = {}
        self._signed_at = 0.0
        self._since: datetime | None = None  # everything written before is linked
        self._linked: dict[UUID, datetime] = {}  # what we linked of the last seconds, and when it was written
        self._looks: deque[_Look] = deque(maxlen=_MOST_BACK)
        self._rounds = 0

    async def check(self, *, others: int) -> None:
        """Two keys in one chain can't be verified: refuse to be the second beside `others` that are alive.

        Raises KeyUnusable.
        """
        async with acquire(self._pool) as db:
            newest, before = await links.newest(db)
        if newest is None:
            return
        signed = Checkpoint(newest.seq, newest.at, before, newest.heads)
        if self._pen.is_ours(signed.tbs, newest.signature):
            return
        _log.error("audit.signed_by_another_key", checkpoint=newest.seq)
        if others:
            raise KeyUnusable(
                "keys/audit-checkpoint.pem is not the key that the other workers sign the audit with: "
                "give this worker a copy of their folder keys/"
            )

    async def run(self) -> None:
        """Link and sign until cancelled. Each round looks at the last seconds anew, so it comes again at once only when
        it could not link all that there is."""
        while True:
            if await _survive(self.round) < _BATCH:
                await asyncio.sleep(_EVERY)

    async def round(self) -> int:
        """One round; how many records it linked. 0: there was nothing, or not all of it could be had."""
        buckets = list(self._leasing.buckets)
        await self._take_in(buckets)
        look_from = await self._look_from()
        self._linked = {record: at for record, at in self._linked.items() if at >= look_from}
        async with acquire(self._pool) as db:
            began, running = await links.now(db), await events.running(db)
            found = await links.unlinked(db, buckets, look_from, _BATCH, list(self._linked))
        if found:
            await self._link(found)
        if len(found) < _BATCH:
            self._since = began
            self._looks.append(_Look(began, running.oldest, running.next))
            self._rounds += 1
            self._leasing.linked(began, buckets)
        if self._unsigned and self._is_time():
            await self._sign()
        return len(found)

    async def _take_in(self, buckets: Sequence[Bucket]) -> None:
        """What we have just taken over may have links that its former holder didn't live to sign, or to make."""
        self._seen &= set(buckets)
        if new := [bucket for bucket in buckets if bucket not in self._seen]:
            async with acquire(self._pool) as db:
                self._unsigned |= await links.heads(db, new)
                left = await links.linked_at(db, new)
            known = self._since if self._seen else left
            self._since = None if known is None or left is None else min(known, left)
            self._seen |= set(new)
            self._looks.clear()
            self._rounds = 0  # the first look goes further back

    async def _look_from(self) -> datetime:
        if self._since is not None:
            return self._since - _FAR_BACK if self._rounds % _FAR_EVERY == 0 else self._all_ended() - _BACK
        async with acquire(self._pool) as db:
            last = await links.last(db)
        return last.at - _FAR_BACK if last.seq else _FROM_START

    def _all_ended(self) -> datetime:
        """The last look before which nothing had begun that the newest one could not see yet."""
        newest = self._looks[-1]
        return next((look.at for look in reversed(self._looks) if look.next <= newest.oldest), self._looks[0].at)

    async def _link(self, records: Sequence[Record]) -> None:
        """Chain them behind their heads; refused when one of their buckets is not ours any more."""
        buckets = sorted({record.bucket for record in records})
        async with transaction(self._pool) as db:
            await self._leasing.hold(db, buckets)
            heads, now = await links.heads(db, buckets), await links.now(db)
            made = _chain(heads, now, records)
            await links.add(db, now, made)
        self._unsigned |= {link.bucket: Head(link.seq, link.hash) for link in made}
        self._linked |= {record.id: record.at for record in records}

    def _is_time(self) -> bool:
        return len(self._unsigned) <= _FEW or time.monotonic() - self._signed_at >= _SIGN_MANY_EVERY

    async def _sign(self) -> None:
        heads = dict(self._unsigned)
        async with transaction(self._pool) as db:
            last, now = await links.last(db), await links.now(db)
            checkpoint = Checkpoint(last.seq + 1, now, last.hash, write_heads(heads))
            await links.sign(db, checkpoint, self._pen.signer.sign(checkpoint.tbs))
        self._signed_at = time.monotonic()
        self._unsigned = {b: head for b, head in self._unsigned.items() if heads.get(b) != head}
        await asyncio.to_thread(self._pen.keep, checkpoint.seq, checkpoint.hash)


def _chain(heads: dict[Bucket, Head], now: datetime, records: Sequence[Record]) -> list[NewLink]:
    made = []
    for record in records:
        before = heads.get(record.bucket, Head(0, START))
        seq = before.seq + 1
        head = Head(seq, link_hash(before.hash, seq, now, record))
        heads[record.bucket] = head
        made.append(NewLink(record.bucket, seq, record.id, head.hash))
    return made


async def _survive(deed: Callable[[], Awaitable[int]]) -> int:
    """Run a round; what the database or another worker did to it ends that round only."""
    try:
        return await deed()
    except LeaseLost as error:
        _log.info("audit.not_linked", why=error.code)
    except asyncpg.UniqueViolationError:
        _log.info("audit.linked_by_another")
    except Unavailable as error:
        _log.warning("audit.not_linked", why=error.code)
    return 0
