"""What was due when the database's clock was set back: without help it would wait until it is that late again."""

from collections.abc import Sequence
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
     WHERE p.bucket = ANY ($1::smallint[]) AND p.state IN ('head', 'waiting') AND p.not_before > now()
       AND o.bucket = p.bucket AND o.id = p.operation AND o.not_before <= now()
"""
# Each in a transaction of its own: many rows of two tables at once could wait for whoever locks one card's in turn.
STATEMENTS: Final = (_REQUESTS, _OPERATIONS, _HEADS, _WAITING)


async def keep_due(db: Db, buckets: Sequence[Bucket], statement: str) -> int:
    """Run one of STATEMENTS; how many rows it changed."""
    done: str = await db.execute(statement, list(buckets))
    return int(done.rpartition(" ")[2])
