"""Is the audit what was written? Every record against its link, every link against the one before, the heads against
what was signed. Reads only; needs no secret, but the public half of the checkpoint key from outside the database.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

from eim.domain.chain import START, Checkpoint, Head, link_hash, read_heads
from eim.domain.ids import BUCKETS, Bucket
from eim.errors import Malformed
from eim.store import Db, links
from eim.store.connect import Pool, transaction
from eim.store.links import Link, Signed

_FRESH: Final = timedelta(seconds=60)  # what is younger may not be linked and signed yet
_LATE: Final = timedelta(minutes=10)  # linked so much later than it was written: no worker ran, or it was put there
_EVERY_BUCKET: Final = tuple(Bucket(number) for number in range(BUCKETS))
_NAMED: Final = 1000  # faults that are given one by one
_ONCE: Final = datetime(1970, 1, 1, tzinfo=UTC)

Verify: TypeAlias = Callable[[bytes, bytes], bool]  # (tbs, signature) under the checkpoint key


class What(StrEnum):
    RECORD_CHANGED = "record-changed"  # the record, or its link, is not what was linked
    RECORD_MISSING = "record-missing"
    RECORD_NOT_LINKED = "record-not-linked"
    LINK_MISSING = "link-missing"
    TAIL_MISSING = "tail-missing"
    REWRITTEN = "rewritten"
    NOT_SIGNED = "not-signed"
    CHECKPOINT_FORGED = "checkpoint-forged"
    CHECKPOINT_MISSING = "checkpoint-missing"


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    what: What
    text: str
    bucket: Bucket | None = None
    place: int | None = None  # of the chain; of the control chain when `bucket` is None
    audit: UUID | None = None


class Anchor(msgspec.Struct, frozen=True):
    """A checkpoint that was kept outside the database."""

    seq: int
    hash: bytes


class Report(msgspec.Struct, frozen=True):
    """What was found. `late` counts records linked long after they say they were written."""

    records: int
    checkpoints: int
    late: int
    head: Anchor | None  # the newest checkpoint: keep it somewhere else, and the tail can't be cut unseen
    faults: tuple[Fault, ...]


async def verify(pool: Pool, is_signed: Verify, anchor: Anchor | None) -> Report:
    """Look at all of it. Takes some seconds a million records."""
    async with transaction(pool) as db:
        await links.freeze(db)
        look = _Look(await links.now(db))
        await look.at_checkpoints(db, is_signed, anchor)
        await look.at_chains(db)
        await look.at_rewritten(db)
        for record in await links.unlinked(db, _EVERY_BUCKET, _ONCE, _NAMED):
            if record.at < look.now - _FRESH:
                text = f"record {record.id} ({record.at:%Y-%m-%d %H:%M:%S} {record.action}) has no link: put in, or cut"
                look.faults.append(Fault(What.RECORD_NOT_LINKED, text, record.bucket, None, record.id))
    return look.report()


class _Look:
    """Guards what one verification has seen so far."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.faults: list[Fault] = []
        self._seen: Counter[str] = Counter()
        self._signed: dict[Bucket, Head] = {}  # the last signed head of each bucket
        self._last: Anchor | None = None
        self._rewritten: set[Bucket] = set()

    def report(self) -> Report:
        seen = self._seen
        return Report(seen["records"], seen["checkpoints"], seen["late"], self._last, tuple(self.faults[:_NAMED]))

    async def at_checkpoints(self, db: Db, is_signed: Verify, anchor: Anchor | None) -> None:
        """The control chain: complete, in order, each signed. What is forged is not believed further."""
        previous, expected, kept = START, 1, anchor
        async for found in links.checkpoints(db):
            self._seen["checkpoints"] += 1
            if found.seq != expected:
                self._checkpoint(What.CHECKPOINT_MISSING, expected, "it is missing")
            elif not _is_sound(found, previous, is_signed):
                self._checkpoint(What.CHECKPOINT_FORGED, found.seq, "its signature, or what it follows, is not ours")
            else:
                self._signed.update(read_heads(found.heads))
            if anchor is not None and found.seq == anchor.seq:
                kept = None
                if found.hash != anchor.hash:
                    self._checkpoint(What.CHECKPOINT_FORGED, found.seq, "it is not the one that was kept outside")
            previous, expected = found.hash, found.seq + 1
            self._last = Anchor(found.seq, found.hash)
        if kept is not None:
            self._checkpoint(What.CHECKPOINT_MISSING, expected, f"the one kept outside is {kept.seq}: the rest is cut")

    async def at_chains(self, db: Db) -> None:
        before: Link | None = None
        async for link in links.chains(db, _EVERY_BUCKET):
            if before is not None and before.bucket != link.bucket:
                self._end(before)
                before = None
            self._follow(before, link)
            before = link
        if before is not None:
            self._end(before)
        for bucket, head in sorted(self._signed.items()):
            self._tail(bucket, 0, head)

    def _follow(self, before: Link | None, link: Link) -> None:
        self._seen["records"] += 1
        seq, previous = (before.seq, before.hash) if before else (0, START)
        if link.seq != seq + 1:
            self._add(What.LINK_MISSING, link.bucket, seq + 1, f"places {seq + 1} to {link.seq - 1} are missing")
        elif link.record is None:
            self._add(What.RECORD_MISSING, link.bucket, link.seq, f"record {link.audit} is missing", link.audit)
        elif link_hash(previous, link.seq, link.linked_at, link.record) != link.hash:
            text = f"record {link.audit}, or its link, is not what was written"
            self._add(What.RECORD_CHANGED, link.bucket, link.seq, text, link.audit)
        elif link.linked_at - link.record.at > _LATE:
            self._seen["late"] += 1
        signed = self._signed.get(link.bucket)
        if signed is not None and signed.seq == link.seq and signed.hash != link.hash:
            self._rewritten.add(link.bucket)

    def _end(self, last: Link) -> None:
        signed = self._signed.pop(last.bucket, Head(0, START))
        self._tail(last.bucket, last.seq, signed)
        if last.seq > signed.seq and last.linked_at < self.now - _FRESH:
            text = f"places {signed.seq + 1} to {last.seq} are under no checkpoint"
            self._add(What.NOT_SIGNED, last.bucket, signed.seq + 1, text, last.audit)

    def _tail(self, bucket: Bucket, last: int, signed: Head) -> None:
        if signed.seq > last:
            self._add(What.TAIL_MISSING, bucket, last + 1, f"places {last + 1} to {signed.seq} were signed and are cut")

    async def at_rewritten(self, db: Db) -> None:
        """Between which two checkpoints a chain was made anew: the first signed head that it does not go through."""
        if not self._rewritten:
            return
        marks = await _marks(db, self._rewritten)
        held: dict[Bucket, int] = {}
        async for link in links.chains(db, sorted(self._rewritten)):
            mark = marks.get((link.bucket, link.seq))
            if mark == link.hash:
                held[link.bucket] = link.seq
            elif mark is not None and link.bucket in self._rewritten:
                self._rewritten.discard(link.bucket)
                since = held.get(link.bucket, 0) + 1
                text = f"places {since} to {link.seq} are not those that were signed: the chain was made anew"
                self._add(What.REWRITTEN, link.bucket, since, text, link.audit)

    def _add(self, what: What, bucket: Bucket, place: int, text: str, audit: UUID | None = None) -> None:
        self.faults.append(Fault(what, f"bucket {bucket}, place {place}: {text}", bucket, place, audit))

    def _checkpoint(self, what: What, seq: int, text: str) -> None:
        self.faults.append(Fault(what, f"checkpoint {seq}: {text}", None, seq))


def _is_sound(found: Signed, previous: bytes, is_signed: Verify) -> bool:
    checkpoint = Checkpoint(found.seq, found.at, previous, found.heads)
    try:
        read_heads(found.heads)
    except Malformed:
        return False
    return checkpoint.hash == found.hash and is_signed(checkpoint.tbs, found.signature)


async def _marks(db: Db, buckets: Collection[Bucket]) -> Mapping[tuple[Bucket, int], bytes]:
    marks: dict[tuple[Bucket, int], bytes] = {}
    async for found in links.checkpoints(db):
        for bucket, head in read_heads(found.heads):
            if bucket in buckets:
                marks[bucket, head.seq] = head.hash
    return marks
