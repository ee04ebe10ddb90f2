"""Who works on which bucket: tables `leases`, one row a bucket, and `workers`, one row a live process (design 3.6).

A worker renews its own row; while that has not expired, all that it holds is its own. A take-over raises the bucket's
epoch. The transaction that writes locks the rows of its epochs FOR SHARE, so a take-over waits for it, and one that
comes after a take-over finds another epoch and writes nothing. Times are the database's.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket
from eim.errors import LeaseLost
from eim.store import Db

TERM: Final = timedelta(seconds=10)
# Beside its holder's row, a lease has an end of its own: the only one that workers of the previous release know.
KEPT: Final = timedelta(minutes=3)

_BEAT: Final = """
    INSERT INTO workers (id, expires_at, linked_at) VALUES ($1, now() + $2::interval, $3)
    ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, linked_at = excluded.linked_at
"""
_CREW: Final = "SELECT id, extract(epoch FROM expires_at - now())::float8 AS left FROM workers"
# The clock was set back: what was to end soon would last for hours.
_SHORTEN: Final = "UPDATE workers SET expires_at = now() + $1::interval WHERE expires_at > now() + $1::interval"
# One that froze in the middle of its refresh has its row locked: the others go on, and strike it out later.
_FORGET: Final = """
    DELETE FROM workers
     WHERE id IN (SELECT w.id FROM workers w
                   WHERE w.id = ANY ($1::uuid[]) AND w.expires_at <= now()
                     AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.holder = w.id) FOR UPDATE OF w SKIP LOCKED)
"""
_LEAVE: Final = "DELETE FROM workers WHERE id = $1"
_LEAVE_ALL: Final = "DELETE FROM workers"
_UNLINKED: Final = "UPDATE workers SET linked_at = NULL WHERE id = $1"
_HINT: Final = "SELECT pg_notify('eim_leases', $1)"
_OF: Final = "SELECT bucket, epoch FROM leases WHERE holder = $1"
# Rows that somebody holds FOR SHARE are skipped: their writer is still at it, expired or not.
_TAKE: Final = """
    UPDATE leases l SET holder = $1, epoch = l.epoch + 1, expires_at = now() + $3::interval,
                        linked_at = coalesce((SELECT w.linked_at FROM workers w WHERE w.id = free.holder), l.linked_at)
      FROM (SELECT f.bucket, f.holder FROM leases f
             WHERE f.holder = ANY ($4::uuid[])
                OR f.expires_at <= now() AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = f.holder)
             ORDER BY f.bucket LIMIT $2 FOR UPDATE OF f SKIP LOCKED) AS free
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
    UPDATE leases l SET holder = NULL, expires_at = '-infinity', linked_at = coalesce($4, l.linked_at)
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


async def beat(db: Db, worker: UUID, term: timedelta = TERM, linked_at: datetime | None = None) -> dict[UUID, float]:
    """Say that `worker` is alive for another `term`. The seconds that each has left, negative when it is over.

    linked_at  all audit records of its buckets written before are linked; None: that isn't known
    """
    await db.execute(_BEAT, worker, term, linked_at)
    return {row["id"]: row["left"] for row in await db.fetch(_CREW)}


async def shorten(db: Db, most: timedelta) -> None:
    """Nobody is alive for longer than `most` without a sign of life."""
    await db.execute(_SHORTEN, most)


async def forget(db: Db, dead: Sequence[UUID]) -> None:
    """Strike out the dead that hold nothing any more."""
    await db.execute(_FORGET, dead)


async def unlinked(db: Db, worker: UUID) -> None:
    """It took buckets over: up to when all of its buckets are linked isn't known any more."""
    await db.execute(_UNLINKED, worker)


async def leave(db: Db, worker: UUID) -> None:
    """`worker` ends; what it still holds is not given back by this."""
    await db.execute(_LEAVE, worker)


async def hint(db: Db, worker: UUID) -> None:
    """Tell the other workers, when this commits, that there are more or fewer of us, or free buckets. A hint only."""
    await db.execute(_HINT, str(worker))


async def of(db: Db, holder: UUID) -> tuple[Lease, ...]:
    """What `holder` holds."""
    return _leases(await db.fetch(_OF, holder))


async def take(
    db: Db, holder: UUID, wanted: int, dead: Sequence[UUID] = (), kept: timedelta = KEPT
) -> tuple[Lease, ...]:
    """Take up to `wanted` buckets that nobody holds, or one of the `dead`; fewer when fewer are free.

    holder  drawn anew by each worker process at its start
    """
    return _leases(await db.fetch(_TAKE, holder, wanted, kept, dead))


async def renew(db: Db, holder: UUID, leases: Sequence[Lease], kept: timedelta = KEPT) -> tuple[Lease, ...]:
    """Those of `leases` that are still ours, kept from now. Waits for transactions that hold them."""
    return _leases(await db.fetch(_RENEW, holder, *_columns(leases), kept))


async def release(db: Db, holder: UUID, leases: Sequence[Lease], linked_at: datetime | None = None) -> None:
    """Give `leases` back; what is no longer ours is left alone. Safe to repeat."""
    await db.execute(_RELEASE, holder, *_columns(leases), linked_at)


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
    await db.execute(_LEAVE_ALL)


def _leases(rows: Sequence[Row]) -> tuple[Lease, ...]:
    return tuple(sorted(Lease(Bucket(row["bucket"]), row["epoch"]) for row in rows))


def _columns(leases: Sequence[Lease]) -> tuple[list[Bucket], list[int]]:
    return [lease.bucket for lease in leases], [lease.epoch for lease in leases]
