"""Who did what: table `audit`, INSERT-only. Written in the transaction of the deed, or the deed fails (design 3.13)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import uuid4

import msgspec

from eim.domain.ids import Bucket, TenantId, with_bucket
from eim.store import Db

_RECORD: Final = """
    INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
    VALUES ($1, gen_random_uuid(), $2, $3, $4, $5, $6)
"""
_WRITE: Final = """
    INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
    SELECT u.bucket, u.id, u.tenant, u.actor, u.action, u.subject, u.data
      FROM unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
        AS u (bucket, id, tenant, actor, action, subject, data)
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
    await db.execute(_RECORD, bucket, tenant, actor, action, subject, dict(data))


async def write(db: Db, records: Sequence[Record]) -> None:
    """Add all of them in one statement, or fail: no deed happens without its record."""
    buckets = [bucket_of_subject(r.subject) if r.bucket is None else r.bucket for r in records]
    ids = [with_bucket(bucket, uuid4().bytes[:14]) for bucket in buckets]
    tenants, actors, actions = [r.tenant for r in records], [r.actor for r in records], [r.action for r in records]
    subjects, data = [r.subject for r in records], [dict(r.data) for r in records]
    await db.execute(_WRITE, buckets, ids, tenants, actors, actions, subjects, data)


def bucket_of_subject(subject: str) -> Bucket:
    """Where the records of a subject without eUICC lie: the first 10 bits of its SHA-256."""
    digest = hashlib.sha256(subject.encode()).digest()
    return Bucket(digest[0] << 2 | digest[1] >> 6)
