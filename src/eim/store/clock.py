"""What was due when the database's clock was set back: without help it would wait until it is that late again."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from eim.domain.ids import Bucket
from eim.store import Db

# Due at once is what may go out since it was written. What was ordered for a time, or for a window, keeps to the clock.
_REQUESTS: Final = """
    UPDATE requests SET not_before = now()
     WHERE bucket = ANY ($1::smallint[]) AND not_before > now() AND not_before <= created_at
"""
_OPERATIONS: Final = """
    UPDATE operations SET not_before = now()
     WHERE bucket = ANY ($1::smallint[]) AND (state = 'accepted' OR state IN ('sealed', 'out', 'in_doubt'))
       AND not_before > now() AND not_before <= created_at AND closes_at IS NULL
"""
_HEADS: Final = """
    UPDATE mailbox m SET not_before = o.not_before
      FROM operations o
     WHERE m.bucket = ANY ($1::smallint[]) AND m.sealed IS NOT NULL AND m.not_before > now()
       AND o.bucket = m.bucket AND o.id = m.operation AND o.not_before <= now()
"""
_WAITING: Final = """
    UPDATE packages p SET not_before = o.not_before
      FROM operations o
     WHERE p.bucket = ANY ($1::smallint[]) AND p.queued AND p.state = 'waiting' AND p.not_before > now()
       AND o.bucket = p.bucket AND o.id = p.operation AND o.not_before <= now()
"""


# A pause after a try in vain lasts no longer for it. Whoever was tried has no other time to wait for but a window.
_RETRIES: Final = """
    UPDATE operations SET not_before = greatest(now(), not_before - $2::interval)
     WHERE bucket = ANY ($1::smallint[]) AND state = 'accepted' AND (attempts > 0 OR faults > 0)
       AND not_before > now() AND closes_at IS NULL
"""
_NOTIFICATIONS: Final = """
    UPDATE notifications SET due_at = greatest(now(), due_at - $2::interval)
     WHERE bucket = ANY ($1::smallint[]) AND state IN ('waiting', 'held') AND due_at > now()
"""


async def keep_requests(db: Db, buckets: Sequence[Bucket], _: timedelta) -> int:
    """Requests to workers that were due; how many."""
    return _many(await db.execute(_REQUESTS, list(buckets)))


async def keep_operations(db: Db, buckets: Sequence[Bucket], _: timedelta) -> int:
    """Operations that were due; how many. Their packages have times of their own."""
    return _many(await db.execute(_OPERATIONS, list(buckets)))


async def keep_heads(db: Db, buckets: Sequence[Bucket], _: timedelta) -> int:
    """What is out, or goes out next, whose operation is due; how many."""
    return _many(await db.execute(_HEADS, list(buckets)))


async def keep_packages(db: Db, buckets: Sequence[Bucket], _: timedelta) -> int:
    """The same of what is sealed behind it."""
    return _many(await db.execute(_WAITING, list(buckets)))


async def keep_retries(db: Db, buckets: Sequence[Bucket], step: timedelta) -> int:
    """Operations that are tried again after a pause; how many. `step`: how far the clock was set back."""
    return _many(await db.execute(_RETRIES, list(buckets), step))


async def keep_notifications(db: Db, buckets: Sequence[Bucket], step: timedelta) -> int:
    """Notifications that wait for their next try or look; how many."""
    return _many(await db.execute(_NOTIFICATIONS, list(buckets), step))


def _many(done: str) -> int:
    return int(done.rpartition(" ")[2])
