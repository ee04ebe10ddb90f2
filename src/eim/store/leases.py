"""Who works on which bucket: table `leases`, one row a bucket (design 3.6).

A take-over raises the bucket's epoch. The transaction that writes locks the rows of its epochs FOR SHARE, so a
take-over waits for it, and one that comes after a take-over finds another epoch and writes nothing. Times are the
database's.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket
from eim.errors import LeaseLost
from eim.store import Db

TERM: Final = timedelta(seconds=10)

# Rows that somebody holds FOR SHARE are skipped: their writer is still at it, expired or not.
_TAKE: Final = """
    UPDATE leases l SET holder = $1, epoch = l.epoch + 1, expires_at = now() + $3::interval
      FROM (SELECT bucket FROM leases WHERE expires_at <= now() ORDER BY bucket LIMIT $2 FOR UPDATE SKIP LOCKED) AS free
     WHERE l.bucket = free.bucket
 RETURNING l.bucket, l.epoch
"""
# Rows are locked in bucket order, here as in _HOLD: otherwise two transactions of one worker could wait for each other.
_RENEW: Final = """
    UPDATE leases l SET expires_at = now() + $4::interval
      FROM (SELECT o.bucket FROM leases o JOIN unnest($2::smallint[], $3::bigint[]) AS held (bucket, epoch)
                ON o.bucket = held.bucket AND o.epoch = held.epoch
             WHERE o.holder = $1 ORDER BY o.bucket FOR UPDATE OF o) AS ours
     WHERE l.bucket = ours.bucket
 RETURNING l.bucket, l.epoch
"""
_RELEASE: Final = """
    UPDATE leases l SET holder = NULL, expires_at = '-infinity'
      FROM (SELECT o.bucket FROM leases o JOIN unnest($2::smallint[], $3::bigint[]) AS held (bucket, epoch)
                ON o.bucket = held.bucket AND o.epoch = held.epoch
             WHERE o.holder = $1 ORDER BY o.bucket FOR UPDATE OF o) AS ours
     WHERE l.bucket = ours.bucket
"""
_HOLD: Final = """
    SELECT l.bucket
      FROM leases l JOIN unnest($2::smallint[], $3::bigint[]) AS held (bucket, epoch)
        ON l.bucket = held.bucket AND l.epoch = held.epoch
     WHERE l.holder = $1
     ORDER BY l.bucket
       FOR SHARE OF l
"""
_FENCE_ALL: Final = """
    UPDATE leases l SET holder = NULL, epoch = l.epoch + 1, expires_at = '-infinity'
      FROM (SELECT bucket FROM leases ORDER BY bucket FOR UPDATE) AS every
     WHERE l.bucket = every.bucket
"""


class Lease(msgspec.Struct, frozen=True, order=True):
    """One bucket, held in one epoch."""

    bucket: Bucket
    epoch: int


async def take(db: Db, holder: UUID, wanted: int, term: timedelta = TERM) -> tuple[Lease, ...]:
    """Take up to `wanted` buckets that nobody holds, or whose holder let its term pass; fewer when fewer are free.

    holder  drawn anew by each worker process at its start
    """
    return _leases(await db.fetch(_TAKE, holder, wanted, term))


async def renew(db: Db, holder: UUID, leases: Sequence[Lease], term: timedelta = TERM) -> tuple[Lease, ...]:
    """Those of `leases` that are still ours, for another term from now. Waits for transactions that hold them."""
    return _leases(await db.fetch(_RENEW, holder, *_columns(leases), term))


async def release(db: Db, holder: UUID, leases: Sequence[Lease]) -> None:
    """Give `leases` back; what is no longer ours is left alone. Safe to repeat."""
    await db.execute(_RELEASE, holder, *_columns(leases))


async def hold(db: Db, holder: UUID, leases: Sequence[Lease]) -> None:
    """Keep these buckets ours until the transaction ends: first thing in a transaction that writes for them.

    Raises LeaseLost when one of them was taken over; nothing may then be written.
    """
    kept = {row["bucket"] for row in await db.fetch(_HOLD, holder, *_columns(leases))}
    if lost := [lease.bucket for lease in leases if lease.bucket not in kept]:
        raise LeaseLost(f"another worker has taken over {len(lost)} of our buckets, the first is {min(lost)}")


async def fence_all(db: Db) -> None:
    """Take every bucket from whoever holds it. For the start of the embedded database: what ran before is over."""
    await db.execute(_FENCE_ALL)


def _leases(rows: Sequence[Row]) -> tuple[Lease, ...]:
    return tuple(sorted(Lease(Bucket(row["bucket"]), row["epoch"]) for row in rows))


def _columns(leases: Sequence[Lease]) -> tuple[list[Bucket], list[int]]:
    return [lease.bucket for lease in leases], [lease.epoch for lease in leases]
