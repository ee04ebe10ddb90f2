"""Deny-lists: tables `denials`, and `denial_rounds` for the worker that applies them. Few rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db

_INSERT: Final = """
    INSERT INTO denials (id, tenant, mark, reason, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant, mark) WHERE lifted_at IS NULL DO NOTHING
 RETURNING id, mark, reason, created_by, created_at, expires_at, lifted_at, lifted_by, lifted_why
"""
_OVER: Final = """
    UPDATE denials SET lifted_at = expires_at, lifted_by = 'expiry'
     WHERE tenant = $1 AND mark = $2 AND lifted_at IS NULL AND expires_at <= now()
"""
_ROUNDS: Final = """
    INSERT INTO denial_rounds (bucket, tenant, due_at)
    SELECT b, $1, coalesce($3, now()) FROM unnest($2::smallint[]) AS b
        ON CONFLICT (bucket, tenant, due_at) DO NOTHING
"""
_ROUNDS_IF_ANY: Final = """
    INSERT INTO denial_rounds (bucket, tenant, due_at)
    SELECT DISTINCT b, $1::smallint, now() FROM unnest($2::smallint[]) AS b
     WHERE EXISTS (SELECT 1 FROM denials d WHERE d.tenant = $1 AND d.lifted_at IS NULL)
        ON CONFLICT (bucket, tenant, due_at) DO NOTHING
"""
_READ: Final = """
    SELECT id, mark, reason, created_by, created_at, expires_at, lifted_at, lifted_by, lifted_why
      FROM denials WHERE id = $1 AND tenant = $2
"""
_PAGE: Final = """
    SELECT id, mark, reason, created_by, created_at, expires_at, lifted_at, lifted_by, lifted_why
      FROM denials WHERE tenant = $1 AND (created_at, id) > ($2, $3)
       AND ($4 OR lifted_at IS NULL AND (expires_at IS NULL OR expires_at > now()))
     ORDER BY created_at, id LIMIT $5
"""
_LIFT: Final = """
    UPDATE denials SET lifted_at = now(), lifted_by = $3, lifted_why = $4
     WHERE id = $1 AND tenant = $2 AND lifted_at IS NULL
"""
_STANDING: Final = """
    SELECT id FROM denials
     WHERE tenant = $1 AND mark = ANY ($2::text[]) AND lifted_at IS NULL AND (expires_at IS NULL OR expires_at > now())
     ORDER BY created_at LIMIT 1
"""
_DUE: Final = """
    SELECT DISTINCT bucket, tenant FROM denial_rounds WHERE due_at <= now() AND bucket = ANY ($1::smallint[])
     ORDER BY bucket, tenant LIMIT $2
"""
_DONE: Final = "DELETE FROM denial_rounds WHERE bucket = $1 AND tenant = $2 AND due_at <= $3"
_NOW: Final = "SELECT now()"
_UNMARKED: Final = """
    SELECT eid, euicc_certificate, eum_certificate FROM euiccs
     WHERE bucket = $1 AND tenant = $2 AND euicc_certificate IS NOT NULL AND eum_certificate IS NOT NULL
       AND marks IS NULL
     ORDER BY eid LIMIT $3
"""
_MARK: Final = "UPDATE euiccs SET marks = $3 WHERE bucket = $1 AND eid = $2"
# Whom a denial names and is not barred by it, or the reverse. The one it fell under first stays while it stands.
_CHANGED: Final = """
    SELECT e.eid, e.denied_by, d.id AS denial
      FROM euiccs e
      LEFT JOIN LATERAL (
           SELECT s.id FROM denials s
            WHERE s.tenant = $2 AND s.lifted_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > now())
              AND (s.mark = ANY (e.marks) OR s.mark = 'eid:' || encode(e.eid, 'hex')
                   OR s.mark LIKE 'ein:%' AND starts_with('ein:' || encode(e.eid, 'hex'), s.mark))
            ORDER BY s.id = e.denied_by DESC NULLS LAST, s.created_at LIMIT 1) d ON true
     WHERE e.bucket = $1 AND e.tenant = $2 AND e.denied_by IS DISTINCT FROM d.id
     ORDER BY e.eid LIMIT $3
"""


class Denial(msgspec.Struct, frozen=True):
    """Whom nothing goes out to, why, and until when."""

    id: UUID
    mark: str
    reason: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lifted_why: str | None


class New(msgspec.Struct, frozen=True):
    id: UUID
    mark: str
    reason: str
    by: str
    expires_at: datetime | None


class Unmarked(msgspec.Struct, frozen=True):
    """A card whose certificates nobody has read the marks of."""

    eid: Eid
    euicc_certificate: bytes
    eum_certificate: bytes


class Changed(msgspec.Struct, frozen=True):
    """A card, the denial it is barred by, and the one that names it now."""

    eid: Eid
    denied_by: UUID | None
    denial: UUID | None


async def insert(db: Db, tenant: TenantId, new: New) -> Denial | None:
    """None when the same is denied already."""
    await db.execute(_OVER, tenant, new.mark)
    row = await db.fetchrow(_INSERT, new.id, tenant, new.mark, new.reason, new.by, new.expires_at)
    return msgspec.convert(dict(row), Denial) if row else None


async def look_again(db: Db, tenant: TenantId, buckets: Sequence[Bucket], at: datetime | None) -> None:
    """Have a worker look in these buckets who falls under a denial; `at` None: now."""
    await db.execute(_ROUNDS, tenant, list(buckets), at)


async def look_if_any(db: Db, tenant: TenantId, buckets: Sequence[Bucket]) -> None:
    """The same for cards that are new, where the tenant denies anybody at all."""
    await db.execute(_ROUNDS_IF_ANY, tenant, list(buckets))


async def read(db: Db, tenant: TenantId, denial: UUID) -> Denial | None:
    row = await db.fetchrow(_READ, denial, tenant)
    return msgspec.convert(dict(row), Denial) if row else None


async def page(
    db: Db, tenant: TenantId, after: tuple[datetime, UUID], limit: int, *, ended: bool
) -> tuple[Denial, ...]:
    """The denials behind `after`, oldest first; `ended`: also those that stand no more."""
    rows = await db.fetch(_PAGE, tenant, *after, ended, limit)
    return tuple(msgspec.convert(dict(row), Denial) for row in rows)


async def lift(db: Db, tenant: TenantId, denial: UUID, by: str, why: str) -> None:
    """It stands no more."""
    await db.execute(_LIFT, denial, tenant, by, why)


async def standing(db: Db, tenant: TenantId, marks: Sequence[str]) -> UUID | None:
    """The denial that one of these marks falls under."""
    found: UUID | None = await db.fetchval(_STANDING, tenant, list(marks))
    return found


async def due(db: Db, buckets: Sequence[Bucket], limit: int) -> list[tuple[Bucket, TenantId]]:
    """Where a worker has to look."""
    rows = await db.fetch(_DUE, buckets, limit)
    return [(Bucket(row["bucket"]), TenantId(row["tenant"])) for row in rows]


async def now(db: Db) -> datetime:
    """The database's clock, by which rounds are due."""
    found: datetime = await db.fetchval(_NOW)
    return found


async def done(db: Db, bucket: Bucket, tenant: TenantId, until: datetime) -> None:
    """What was due `until` then has been looked at."""
    await db.execute(_DONE, bucket, tenant, until)


async def unmarked(db: Db, bucket: Bucket, tenant: TenantId, limit: int) -> list[Unmarked]:
    rows = await db.fetch(_UNMARKED, bucket, tenant, limit)
    return [Unmarked(Eid(r["eid"]), r["euicc_certificate"], r["eum_certificate"]) for r in rows]


async def mark(db: Db, bucket: Bucket, eid: Eid, marks: Sequence[str]) -> None:
    """Keep what its certificates may be denied by."""
    await db.execute(_MARK, bucket, eid, list(marks))


async def changed(db: Db, bucket: Bucket, tenant: TenantId, limit: int) -> list[Changed]:
    """Cards of the bucket that fell under a denial, or under none any more, and nobody has acted on it."""
    rows = await db.fetch(_CHANGED, bucket, tenant, limit)
    return [Changed(Eid(r["eid"]), r["denied_by"], r["denial"]) for r in rows]
