"""Moving eUICCs to a newer key of their identity, as an operator orders it. Operator role, but for the counting."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, IdentityId, TenantId
from eim.store import Db

_COUNTS: Final = """
    SELECT e.key_number AS number, count(*) AS euiccs,
           count(*) FILTER (WHERE e.next_key IS NOT NULL AND EXISTS (
               SELECT 1 FROM operations o
                WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.kind = 'renewAssociation'
                  AND (o.state = 'accepted' OR o.state IN ('sealed', 'out', 'in_doubt')))) AS moving
      FROM euiccs e
     WHERE e.tenant = $1 AND e.identity = $2 AND e.handed_over_at IS NULL
     GROUP BY e.key_number
"""
# Who is on an older key and has no order to leave it. Those named by `eids` are taken whatever key they have, where a
# new count is wanted ($6).
_OLDER: Final = """
    SELECT e.bucket, e.eid
      FROM euiccs e
     WHERE e.tenant = $1 AND e.identity = $2 AND e.key_number < $3 AND e.handed_over_at IS NULL
       AND ($4::text IS NULL OR EXISTS (SELECT 1 FROM euicc_tags g
                                         WHERE g.bucket = e.bucket AND g.eid = e.eid AND g.tag = $4))
       AND ($5::bytea[] IS NULL OR e.eid = ANY ($5))
       AND NOT EXISTS (SELECT 1 FROM operations o
                        WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.kind = 'renewAssociation'
                          AND (o.state = 'accepted' OR o.state IN ('sealed', 'out', 'in_doubt')))
     ORDER BY e.bucket, e.eid
     LIMIT $6
"""
_LOCK: Final = """
    SELECT eid, counter, key_number FROM euiccs
     WHERE bucket = $1 AND eid = ANY ($2::bytea[]) AND tenant = $3 ORDER BY eid FOR UPDATE
"""
# Asked under the lock: who ordered at the same time has committed by then.
_ON_THEIR_WAY: Final = """
    SELECT DISTINCT o.eid FROM operations o
     WHERE o.bucket = $1 AND o.eid = ANY ($2::bytea[]) AND o.kind = 'renewAssociation'
       AND (o.state = 'accepted' OR o.state IN ('sealed', 'out', 'in_doubt'))
"""
_PLACE: Final = """
    WITH moved AS (
        UPDATE euiccs e
           SET next_key = $4, next_counter = u.start,
               ordinals = 1 + greatest(e.ordinals, (SELECT max(o.ordinal) FROM operations o
                                                     WHERE o.bucket = e.bucket AND o.eid = e.eid))
          FROM unnest($1::smallint[], $2::bytea[], $5::uuid[], $6::integer[]) AS u (bucket, eid, id, start)
         WHERE e.bucket = u.bucket AND e.eid = u.eid AND e.tenant = $3
     RETURNING e.bucket, e.eid, e.tenant, e.identity, e.ordinals, u.id
    )
    INSERT INTO operations (bucket, id, eid, tenant, identity, order_id, ordinal, kind, priority, ordered_by)
    SELECT m.bucket, m.id, m.eid, m.tenant, m.identity, $7, m.ordinals, 'renewAssociation', $8, $9 FROM moved m
"""
_ORDER: Final = """
    INSERT INTO orders (id, tenant, kind, size, ordered_by) VALUES ($1, $2, 'renewAssociation', $3, $4)
"""
_RESUME: Final = """
    UPDATE euiccs SET stalled = NULL, stalled_at = NULL, resyncs = 0
     WHERE bucket = $1 AND eid = $2 AND tenant = $3 AND stalled IS NOT NULL
"""
_STALLED: Final = "SELECT stalled, stalled_at FROM euiccs WHERE bucket = $1 AND eid = $2 AND tenant = $3 FOR UPDATE"


class Count(msgspec.Struct, frozen=True):
    """How many eUICCs obey one key; `moving`: of them, those with an order to leave it."""

    number: int
    euiccs: int
    moving: int


class Older(msgspec.Struct, frozen=True):
    """An eUICC on an older key."""

    bucket: Bucket
    eid: Eid


class Mover(msgspec.Struct, frozen=True):
    """One that is to move, and where its count begins then; None: it goes on."""

    bucket: Bucket
    eid: Eid
    operation: UUID
    start: int | None


class Which(msgspec.Struct, frozen=True):
    """Of an identity's eUICCs: those with a tag, those named, or all."""

    tag: str | None = None
    eids: tuple[Eid, ...] | None = None


class Terms(msgspec.Struct, frozen=True):
    key: int
    order: UUID
    priority: int
    by: str


class Stall(msgspec.Struct, frozen=True):
    stalled: str | None
    stalled_at: datetime | None


async def counts(db: Db, tenant: TenantId, identity: IdentityId) -> tuple[Count, ...]:
    """How many eUICCs of the identity obey each of its keys."""
    return tuple(msgspec.convert(dict(row), Count) for row in await db.fetch(_COUNTS, tenant, identity))


async def older(
    db: Db, tenant: TenantId, identity: IdentityId, key: int, which: Which, limit: int
) -> tuple[Older, ...]:
    """Those on a key before `key` that have no order to leave it, in bucket order."""
    eids = list(which.eids) if which.eids is not None else None
    rows = await db.fetch(_OLDER, tenant, identity, key, which.tag, eids, limit)
    return tuple(msgspec.convert(dict(row), Older) for row in rows)


async def lock(db: Db, tenant: TenantId, bucket: Bucket, eids: Sequence[Eid]) -> dict[Eid, tuple[int, int]]:
    """(counter, key) of those of one bucket that are the tenant's, locked until the transaction ends."""
    rows = await db.fetch(_LOCK, bucket, list(eids), tenant)
    return {Eid(row["eid"]): (row["counter"], row["key_number"]) for row in rows}


async def on_their_way(db: Db, bucket: Bucket, eids: Sequence[Eid]) -> frozenset[Eid]:
    """Which of them have an order to leave their key by now. Lock them before."""
    return frozenset(Eid(row["eid"]) for row in await db.fetch(_ON_THEIR_WAY, bucket, list(eids)))


async def place(db: Db, tenant: TenantId, terms: Terms, movers: Sequence[Mover]) -> None:
    """Order the updateEim of each. Lock them before."""
    await db.execute(_ORDER, terms.order, tenant, len(movers), terms.by)
    await db.execute(
        _PLACE,
        [m.bucket for m in movers],
        [m.eid for m in movers],
        tenant,
        terms.key,
        [m.operation for m in movers],
        [m.start for m in movers],
        terms.order,
        terms.priority,
        terms.by,
    )


async def stalled(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> Stall | None:
    """Whether it is stalled, locked until the transaction ends; None when the tenant has none of this EID."""
    row = await db.fetchrow(_STALLED, bucket, eid, tenant)
    return msgspec.convert(dict(row), Stall) if row else None


async def resume(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> None:
    """Signed packages may be made for it again; tries are counted anew."""
    await db.execute(_RESUME, bucket, eid, tenant)
