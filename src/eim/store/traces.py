"""The octets of a device that is traced: table `traces`, and the switch in its row of `euiccs`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import UUID, uuid4

import msgspec
from asyncpg import Record

from eim.domain.ids import Bucket, Eid, TenantId, with_bucket
from eim.store import Db, announcements

Direction = Literal["in", "out"]

# The limit is taken first: two processes that serve the device at once keep no more than allowed between them.
_KEEP: Final = """
    WITH allowed AS (
        UPDATE euiccs SET trace_left = trace_left - 1
         WHERE bucket = $1 AND eid = $2 AND traced_until > now() AND trace_left > 0
     RETURNING tenant, traced_until
    )
    INSERT INTO traces (bucket, id, eid, tenant, at, direction, octets, size, peer, expires_at)
    SELECT $1, u.id, $2, a.tenant, u.at, u.direction, u.octets, u.size, $3, a.traced_until + make_interval(secs => $4)
      FROM allowed a,
           unnest($5::uuid[], $6::timestamptz[], $7::text[], $8::bytea[], $9::integer[])
               AS u (id, at, direction, octets, size)
"""
_SWITCH: Final = """
    UPDATE euiccs SET traced_until = CASE WHEN $4::float8 > 0 THEN now() + make_interval(secs => $4) END,
                      trace_left = $5
     WHERE bucket = $1 AND eid = $2 AND tenant = $3
 RETURNING traced_until, trace_left
"""
_READ: Final = "SELECT traced_until, trace_left FROM euiccs WHERE bucket = $1 AND eid = $2 AND tenant = $3"
_TRACED: Final = (
    "SELECT count(*) FROM euiccs WHERE tenant = $1 AND traced_until > now() AND trace_left > 0 AND eid <> $2"
)
_PAGE: Final = """
    SELECT bucket, id, at, direction, octets, size, peer FROM traces
     WHERE bucket = $1 AND eid = $2 AND tenant = $3 AND (at, id) > ($4, $5) AND expires_at > now()
     ORDER BY at, id LIMIT $6
"""
_CLEAR: Final = "DELETE FROM traces WHERE bucket = $1 AND eid = $2 AND tenant = $3"
_FORGET: Final = "DELETE FROM traces WHERE bucket = $1 AND eid = $2 AND tenant = $3 AND expires_at <= now()"
_PURGE: Final = "DELETE FROM traces WHERE bucket = ANY ($1::smallint[]) AND expires_at <= now()"


class Message(msgspec.Struct, frozen=True):
    """One message as it is kept."""

    at: datetime
    direction: Direction
    octets: bytes  # masked, and cut
    size: int  # octets that travelled


class Switch(msgspec.Struct, frozen=True):
    """Whether a device is traced: until when, and how many exchanges more."""

    until: datetime | None
    left: int


class Traced(msgspec.Struct, frozen=True):
    """One message as it lies in the table."""

    id: UUID
    at: datetime
    direction: Direction
    octets: bytes
    size: int
    peer: str


async def keep(db: Db, bucket: Bucket, eid: Eid, peer: str, kept_for: float, messages: Sequence[Message]) -> None:
    """Keep one exchange, unless the trace has ended or is full. kept_for: seconds behind the trace's end."""
    ids = [with_bucket(bucket, uuid4().bytes[:14]) for _ in messages]
    await db.execute(
        _KEEP,
        bucket,
        eid,
        peer,
        kept_for,
        ids,
        [each.at for each in messages],
        [each.direction for each in messages],
        [each.octets for each in messages],
        [each.size for each in messages],
    )


async def switch(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid, lasts: float, exchanges: int) -> Switch | None:
    """Trace it for `lasts` seconds from now (0: no more); None when the tenant has no such eUICC."""
    row = await db.fetchrow(_SWITCH, bucket, eid, tenant, lasts, exchanges)
    await announcements.announce(db, [bucket])
    return Switch(row["traced_until"], row["trace_left"]) if row else None


async def read_switch(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> Switch | None:
    """None when the tenant has no such eUICC."""
    row = await db.fetchrow(_READ, bucket, eid, tenant)
    return Switch(row["traced_until"], row["trace_left"]) if row else None


async def others(db: Db, tenant: TenantId, eid: Eid) -> int:
    """How many of the tenant's other eUICCs are traced now."""
    return int(await db.fetchval(_TRACED, tenant, eid))


async def page(
    db: Db, tenant: TenantId, at: tuple[Bucket, Eid], after: tuple[datetime, UUID], limit: int
) -> tuple[Traced, ...]:
    """The messages just behind `after`, oldest first."""
    return tuple(map(_traced, await db.fetch(_PAGE, *at, tenant, *after, limit)))


async def clear(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> None:
    """Forget what was kept of one eUICC."""
    await db.execute(_CLEAR, bucket, eid, tenant)


async def forget_expired(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> None:
    """Forget what has expired of one eUICC."""
    await db.execute(_FORGET, bucket, eid, tenant)


async def purge(db: Db, buckets: Sequence[Bucket]) -> None:
    """Forget all that has expired in these buckets."""
    await db.execute(_PURGE, list(buckets))


def _traced(row: Record) -> Traced:
    return Traced(row["id"], row["at"], row["direction"], row["octets"], row["size"], row["peer"])
