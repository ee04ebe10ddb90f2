"""The links that chain audit records, and the checkpoints that sign their heads: INSERT-only (design 3.13)."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.chain import START, Checkpoint, Head, Record
from eim.domain.ids import Bucket
from eim.store import Db

_PATIENCE_S: Final = 3600.0  # for one look at everything
_PREFETCH: Final = 2000
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Tenant by tenant, because that is how the index goes that listings have anyway: no index is kept for linking alone.
# What is ORDERed BY here leaves the planner no other: whatever the tables held when they were last counted, it would
# read a whole index of all that ever was for its order. LIMIT keeps the look for a link to one step for each record.
# Both IN are looked up in a table of hashes, which = ANY would not be: a thousand buckets and ten thousand records
# would be gone through for each record.
_UNLINKED: Final = """
    SELECT a.bucket, a.id, a.tenant, a.at, a.actor, a.action, a.subject, a.data
      FROM tenants t
     CROSS JOIN LATERAL (SELECT r.bucket, r.id, r.tenant, r.at, r.actor, r.action, r.subject, r.data
                           FROM audit r
                          WHERE r.tenant = t.id AND r.at >= $2
                            AND (r.bucket IN (SELECT u.bucket FROM unnest($1::smallint[]) AS u (bucket))) IS TRUE
                            AND r.id NOT IN (SELECT k.id FROM unnest($4::uuid[]) AS k (id))
                          ORDER BY r.at, r.id OFFSET 0) AS a
     WHERE (SELECT l.seq FROM audit_links l WHERE l.bucket = a.bucket AND l.audit = a.id LIMIT 1) IS NULL
     ORDER BY a.bucket, a.at, a.id LIMIT $3
"""
_HEADS: Final = """
    SELECT u.bucket, h.seq, h.hash
      FROM unnest($1::smallint[]) AS u (bucket)
     CROSS JOIN LATERAL (SELECT l.seq, l.hash FROM audit_links l WHERE l.bucket = u.bucket
                          ORDER BY l.seq DESC LIMIT 1) AS h
"""
_FREEZE: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_NOW: Final = "SELECT now()"
_LINK: Final = """
    INSERT INTO audit_links (bucket, seq, audit, linked_at, hash)
    SELECT u.bucket, u.seq, u.audit, $1, u.hash
      FROM unnest($2::smallint[], $3::bigint[], $4::uuid[], $5::bytea[]) AS u (bucket, seq, audit, hash)
"""
_LAST: Final = "SELECT seq, at, hash FROM audit_checkpoints ORDER BY seq DESC LIMIT 1"
_LINKED_AT: Final = """
    SELECT CASE WHEN bool_and(l.linked_at IS NOT NULL) THEN min(l.linked_at) END
      FROM leases l WHERE l.bucket = ANY ($1::smallint[])
"""
_NEWEST: Final = "SELECT seq, at, heads, hash, signature FROM audit_checkpoints ORDER BY seq DESC LIMIT 2"
_SIGN: Final = "INSERT INTO audit_checkpoints (seq, at, heads, hash, signature) VALUES ($1, $2, $3, $4, $5)"
_CHECKPOINTS: Final = "SELECT seq, at, heads, hash, signature FROM audit_checkpoints ORDER BY seq"
_CHAINS: Final = """
    SELECT l.bucket, l.seq, l.audit, l.linked_at, l.hash, a.id, a.tenant, a.at, a.actor, a.action, a.subject, a.data
      FROM audit_links l LEFT JOIN audit a ON a.bucket = l.bucket AND a.id = l.audit
     WHERE l.bucket = ANY ($1::smallint[])
     ORDER BY l.bucket, l.seq
"""


class NewLink(msgspec.Struct, frozen=True):
    bucket: Bucket
    seq: int
    audit: UUID
    hash: bytes


class Link(msgspec.Struct, frozen=True):
    """A link as it lies in the table, and the record it names; None when there is no such record."""

    bucket: Bucket
    seq: int
    audit: UUID
    linked_at: datetime
    hash: bytes
    record: Record | None


class Last(msgspec.Struct, frozen=True):
    """The newest checkpoint."""

    seq: int
    at: datetime
    hash: bytes


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint as it lies in the table: nothing of it is proven yet."""

    seq: int
    at: datetime
    heads: bytes
    hash: bytes
    signature: bytes


async def freeze(db: Db) -> None:
    """From here on this transaction sees what was there at its first look, and changes nothing."""
    await db.execute(_FREEZE)


async def now(db: Db) -> datetime:
    """When this transaction began, by the database's clock."""
    found: datetime = await db.fetchval(_NOW)
    return found


async def unlinked(
    db: Db, buckets: Sequence[Bucket], since: datetime, limit: int, known: Collection[UUID] = ()
) -> list[Record]:
    """Records of these buckets, written since, that have no link yet; in the order in which they are linked.

    known  records that surely have one: they aren't looked for
    """
    rows = await db.fetch(_UNLINKED, buckets, since, limit, known, timeout=_PATIENCE_S)
    return [Record(*row) for row in rows]


async def heads(db: Db, buckets: Sequence[Bucket]) -> dict[Bucket, Head]:
    """The last link of each bucket that has one."""
    return {row["bucket"]: Head(row["seq"], row["hash"]) for row in await db.fetch(_HEADS, buckets)}


async def add(db: Db, linked_at: datetime, links: Sequence[NewLink]) -> None:
    """A place or a record that is linked already is a UniqueViolationError: somebody else went first."""
    columns = ([k.bucket for k in links], [k.seq for k in links], [k.audit for k in links], [k.hash for k in links])
    await db.execute(_LINK, linked_at, *columns)


async def last(db: Db) -> Last:
    """The newest checkpoint; before the first one seq 0 with START, a very long time ago."""
    row = await db.fetchrow(_LAST)
    return Last(row["seq"], row["at"], row["hash"]) if row else Last(0, _LONG_AGO, START)


async def linked_at(db: Db, buckets: Sequence[Bucket]) -> datetime | None:
    """Up to when all of `buckets` were linked by who held them before; None: that isn't known."""
    found: datetime | None = await db.fetchval(_LINKED_AT, buckets)
    return found


async def newest(db: Db) -> tuple[Signed | None, bytes]:
    """The newest checkpoint, if there is any, and the hash of the one before it."""
    rows = await db.fetch(_NEWEST)
    if not rows:
        return None, START
    row = rows[0]
    signed = Signed(row["seq"], row["at"], row["heads"], row["hash"], row["signature"])
    return signed, rows[1]["hash"] if len(rows) > 1 else START


async def sign(db: Db, checkpoint: Checkpoint, signature: bytes) -> None:
    """Add it; of two at once one is a UniqueViolationError."""
    await db.execute(_SIGN, checkpoint.seq, checkpoint.at, checkpoint.heads, checkpoint.hash, signature)


async def checkpoints(db: Db) -> AsyncIterator[Signed]:
    """All of them in order, inside a transaction."""
    async for row in db.cursor(_CHECKPOINTS, prefetch=_PREFETCH, timeout=_PATIENCE_S):
        yield Signed(row["seq"], row["at"], row["heads"], row["hash"], row["signature"])


async def chains(db: Db, buckets: Sequence[Bucket]) -> AsyncIterator[Link]:
    """The links of these buckets, chain by chain in order, inside a transaction."""
    async for row in db.cursor(_CHAINS, buckets, prefetch=_PREFETCH, timeout=_PATIENCE_S):
        record = _record(row) if row["id"] is not None else None
        yield Link(row["bucket"], row["seq"], row["audit"], row["linked_at"], row["hash"], record)


def _record(row: Row) -> Record:
    who = (row["actor"], row["action"], row["subject"], row["data"])
    return Record(row["bucket"], row["id"], row["tenant"], row["at"], *who)
