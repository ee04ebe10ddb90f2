"""The jump of all counters after a restore: table `counter_jumps`, and one bucket of it. Worker role."""

from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import BUCKETS, Bucket
from eim.store import Db

_OPEN: Final = "SELECT id, margin, next_bucket, euiccs, started_at FROM counter_jumps WHERE finished_at IS NULL"
_BEGIN: Final = """
    INSERT INTO counter_jumps (id, margin) VALUES ($1, $2) RETURNING id, margin, next_bucket, euiccs, started_at
"""
# The place is taken first: of two that work on one jump, the second waits here and finds the bucket done.
_PLACE: Final = """
    UPDATE counter_jumps SET next_bucket = next_bucket + 1
     WHERE id = $1 AND next_bucket = $2 AND finished_at IS NULL
 RETURNING next_bucket
"""
_COUNT: Final = """
    UPDATE counter_jumps SET euiccs = euiccs + $2, finished_at = CASE WHEN next_bucket = $3 THEN now() END
     WHERE id = $1
"""
_EUICCS: Final = "SELECT count(*) FROM unnest($1::smallint[]) AS b (bucket) JOIN euiccs e ON e.bucket = b.bucket"
# Lock order as everywhere: eUICC, mailbox, operation.
_RAISE: Final = """
    WITH cards AS (
        SELECT eid FROM euiccs WHERE bucket = $1 ORDER BY eid FOR UPDATE
    ), raised AS (
        UPDATE euiccs e SET counter = greatest(e.counter, least(e.counter + $2, 8388606))
          FROM cards c
         WHERE e.bucket = $1 AND e.eid = c.eid
     RETURNING e.eid
    )
    SELECT count(*) FROM raised
"""
_HOLD: Final = "SELECT eid FROM mailbox WHERE bucket = $1 ORDER BY eid FOR UPDATE"
_KILL_WAITING: Final = """
    UPDATE packages SET state = 'dead', queued = false WHERE bucket = $1 AND queued AND state = 'waiting'
"""
_KILL_HEADS: Final = """
    UPDATE packages p SET state = 'dead'
      FROM mailbox m
     WHERE m.bucket = $1 AND m.sealed IS NOT NULL AND m.handed_at IS NULL
       AND p.bucket = $1 AND p.eid = m.eid AND p.number = m.number AND p.state = 'head'
"""
_REOPEN: Final = """
    UPDATE operations o SET state = 'accepted'
     WHERE o.bucket = $1 AND o.state = 'sealed'
       AND NOT EXISTS (SELECT 1 FROM mailbox m
                        WHERE m.bucket = $1 AND m.eid = o.eid AND m.operation = o.id AND m.handed_at IS NOT NULL)
"""
_EMPTY: Final = """
    UPDATE mailbox
       SET number = NULL, operation = NULL, counter = NULL, sealed = NULL, handed_at = NULL, deliveries = 0
     WHERE bucket = $1 AND sealed IS NOT NULL AND handed_at IS NULL
"""


class Jump(msgspec.Struct, frozen=True):
    """One jump that is not finished."""

    id: UUID
    margin: int
    next_bucket: Bucket
    euiccs: int
    started_at: datetime


async def unfinished(db: Db) -> Jump | None:
    """The jump that was begun and has not ended, of which there is one at most."""
    row = await db.fetchrow(_OPEN)
    return _jump(row) if row else None


async def begin(db: Db, margin: int) -> Jump:
    """A new jump. Fails by its unique index when another was begun meanwhile."""
    return _jump(await db.fetchrow(_BEGIN, uuid4(), margin))


async def count(db: Db) -> int:
    """How many eUICCs there are."""
    return int(await db.fetchval(_EUICCS, list(range(BUCKETS))))


async def take_place(db: Db, jump: Jump, bucket: Bucket) -> bool:
    """Go past `bucket` in this transaction; False when that was done already."""
    return await db.fetchval(_PLACE, jump.id, bucket) is not None


async def raise_bucket(db: Db, jump: Jump, bucket: Bucket) -> int:
    """Raise the counters of one bucket by the margin, never past 8,388,606, and take back what was sealed below.

    What was handed out already stays: its card may have accepted it. How many eUICCs were raised.
    """
    raised = int(await db.fetchval(_RAISE, bucket, jump.margin))
    if raised:
        await db.fetch(_HOLD, bucket)
        await db.execute(_KILL_WAITING, bucket)
        await db.execute(_KILL_HEADS, bucket)
        await db.execute(_REOPEN, bucket)
        await db.execute(_EMPTY, bucket)
    await db.execute(_COUNT, jump.id, raised, BUCKETS)
    return raised


def _jump(row: Row | None) -> Jump:
    return msgspec.convert(dict(row or {}), Jump)
