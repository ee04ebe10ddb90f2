"""Who did what: table `audit`, INSERT-only. Written in the transaction of the deed, or the deed fails (design 3.13)."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, TenantId, bucket_in, bucket_of
from eim.store import Db
from eim.store.drawing import draw

_RECORD: Final = """
    INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
    VALUES ($1, $7, $2, $3, $4, $5, $6)
"""
_WRITE: Final = """
    INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
    SELECT u.bucket, u.id, u.tenant, u.actor, u.action, u.subject, u.data
      FROM unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
        AS u (bucket, id, tenant, actor, action, subject, data)
"""
_SEARCH: Final = """
    SELECT bucket, id, at, actor, action, subject, data FROM audit
     WHERE tenant = $1 AND (at, id) < ($2, $3)
       AND ($4::text IS NULL OR actor = $4)
       AND ($5::text IS NULL OR starts_with(action, $5))
       AND ($6::text IS NULL OR subject = $6 AND bucket = ANY ($7::smallint[]))
       AND ($8::timestamptz IS NULL OR at >= $8)
       AND ($9::timestamptz IS NULL OR at < $9)
     ORDER BY at DESC, id DESC LIMIT $10
"""


class Record(msgspec.Struct, frozen=True):
    """One deed. `bucket` is the device's; None for what belongs to none (then the subject decides)."""

    tenant: TenantId
    actor: str  # token:<name>, device, worker, setup
    action: str  # noun.verb
    subject: str  # an EID, an operation's or order's id, a token's name
    data: Mapping[str, object]
    bucket: Bucket | None = None


async def record(
    db: Db, bucket: Bucket, tenant: TenantId, *, actor: str, action: str, subject: str, data: Mapping[str, object]
) -> None:
    """Add one record. `data` is plain JSON and holds no secret."""
    (ident,) = draw([bucket])
    await db.execute(_RECORD, bucket, tenant, actor, action, subject, dict(data), ident)


async def write(db: Db, records: Sequence[Record]) -> None:
    """Add all of them in one statement, or fail: no deed happens without its record."""
    buckets = [bucket_of_subject(r.subject) if r.bucket is None else r.bucket for r in records]
    tenants, actors, actions = [r.tenant for r in records], [r.actor for r in records], [r.action for r in records]
    subjects, data = [r.subject for r in records], [dict(r.data) for r in records]
    await db.execute(_WRITE, buckets, draw(buckets), tenants, actors, actions, subjects, data)


class Filter(msgspec.Struct, frozen=True):
    """Each None lets everything pass."""

    actor: str | None = None
    action: str | None = None  # what it starts with
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Entry(msgspec.Struct, frozen=True):
    """A record as an operator reads it."""

    id: UUID
    at: datetime
    actor: str
    action: str
    subject: str
    data: Mapping[str, object]


async def search(
    db: Db, tenant: TenantId, wanted: Filter, before: tuple[datetime, UUID], limit: int
) -> tuple[Entry, ...]:
    """The tenant's records just before `before`, newest first."""
    buckets = buckets_of_subject(wanted.subject) if wanted.subject is not None else None
    filters = (wanted.actor, wanted.action, wanted.subject, buckets, wanted.since, wanted.until)
    rows = await db.fetch(_SEARCH, tenant, *before, *filters, limit)
    return tuple(Entry(r["id"], r["at"], r["actor"], r["action"], r["subject"], r["data"]) for r in rows)


def buckets_of_subject(subject: str) -> list[Bucket]:
    """Where records of `subject` can lie: an EID in its bucket, an id of ours in the one it carries."""
    found = {bucket_of_subject(subject)}
    try:
        if len(subject) == 32 and subject.isalnum():
            found.add(bucket_of(Eid(bytes.fromhex(subject))))
        elif (carried := bucket_in(UUID(subject))) is not None:
            found.add(carried)
    except ValueError:
        pass  # a name
    return sorted(found)


def bucket_of_subject(subject: str) -> Bucket:
    """Where the records of a subject without eUICC lie: the first 10 bits of its SHA-256."""
    digest = hashlib.sha256(subject.encode()).digest()
    return Bucket(digest[0] << 2 | digest[1] >> 6)
