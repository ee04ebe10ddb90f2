"""What happened to an eUICC: table `events`, its timeline and the outbox of what leaves us."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
from asyncpg import Record

from eim.domain.ids import Bucket, Eid, TenantId, with_bucket
from eim.store import Db

_CHUNK: Final = 10_000  # events a statement

_RECORD: Final = """
    INSERT INTO events (bucket, id, eid, tenant, kind, data)
    VALUES ($1, gen_random_uuid(), $2, $3, $4, $5)
"""
_APPEND: Final = """
    INSERT INTO events (bucket, id, eid, tenant, kind, data)
    SELECT u.bucket, u.id, u.eid, $1, u.kind, u.data
      FROM unnest($2::smallint[], $3::uuid[], $4::bytea[], $5::text[], $6::jsonb[]) AS u (bucket, id, eid, kind, data)
"""
_OF_EUICC: Final = """
    SELECT bucket, id, eid, at, kind, data FROM events
     WHERE bucket = $1 AND eid = $2 AND tenant = $3 AND (at, id) < ($4, $5)
     ORDER BY at DESC, id DESC LIMIT $6
"""
_LAST: Final = """
    SELECT bucket, id, eid, at, kind, data FROM events WHERE tenant = $1 ORDER BY at DESC, id DESC LIMIT $2
"""
_HINT: Final = "SELECT pg_notify('eim_work', b::text) FROM unnest($1::smallint[]) AS b"


class Event(msgspec.Struct, frozen=True):
    """Something worth knowing about one eUICC. `data` is plain JSON and holds no secret."""

    bucket: Bucket
    eid: Eid
    kind: str  # noun.past: euicc.onboarded, operation.accepted
    data: Mapping[str, object]


class Happened(msgspec.Struct, frozen=True):
    """An event as it lies in the table."""

    id: UUID
    eid: Eid
    at: datetime
    kind: str
    data: Mapping[str, object]


async def record(db: Db, bucket: Bucket, eid: Eid, tenant: TenantId, kind: str, data: Mapping[str, object]) -> None:
    """Add one event. `data` is plain JSON and holds no secret."""
    await db.execute(_RECORD, bucket, eid, tenant, kind, dict(data))


async def append(db: Db, tenant: TenantId, events: Sequence[Event]) -> None:
    """Add `events`, many in a statement; their time is the transaction's."""
    for start in range(0, len(events), _CHUNK):
        some = events[start : start + _CHUNK]
        buckets, eids = [e.bucket for e in some], [e.eid for e in some]
        ids = [with_bucket(bucket, uuid4().bytes[:14]) for bucket in buckets]
        await db.execute(_APPEND, tenant, buckets, ids, eids, [e.kind for e in some], [dict(e.data) for e in some])


async def of_euicc(
    db: Db, tenant: TenantId, at: tuple[Bucket, Eid], before: tuple[datetime, UUID], limit: int
) -> tuple[Happened, ...]:
    """The timeline of one eUICC just before `before`, newest first."""
    return tuple(_happened(row) for row in await db.fetch(_OF_EUICC, *at, tenant, *before, limit))


async def last(db: Db, tenant: TenantId, limit: int) -> tuple[Happened, ...]:
    """The tenant's newest events."""
    return tuple(_happened(row) for row in await db.fetch(_LAST, tenant, limit))


async def hint(db: Db, buckets: Iterable[Bucket]) -> None:
    """Wake whoever holds these buckets when this transaction commits. A hint: who misses it looks anyway."""
    await db.execute(_HINT, sorted(set(buckets)))


def _happened(row: Record) -> Happened:
    return Happened(row["id"], Eid(row["eid"]), row["at"], row["kind"], row["data"])
