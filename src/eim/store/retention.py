"""What is old goes: one bucket and one kind at a time, through functions that spare what is open or still needed."""

from datetime import timedelta
from enum import StrEnum
from typing import Final

from eim.domain.ids import BUCKETS, Bucket
from eim.store import Db

_PURGE: Final = "SELECT purge_bucket($1, $2, $3, $4)"
_PURGE_STRAYS: Final = """
    DELETE FROM strays
     WHERE id IN (SELECT id FROM strays WHERE received_at < now() - $1::interval ORDER BY received_at LIMIT $2)
"""
_COUNT_RESULTS: Final = """
    SELECT count(*) FROM unnest($1::smallint[]) AS b (bucket) CROSS JOIN LATERAL old_results(b.bucket, $2) AS o
"""
_COUNT_EVENTS: Final = """
    SELECT count(*) FROM unnest($1::smallint[]) AS b (bucket) CROSS JOIN LATERAL old_events(b.bucket, $2) AS o
"""
_COUNT_PACKAGES: Final = """
    SELECT count(*) FROM unnest($1::smallint[]) AS b (bucket) CROSS JOIN LATERAL old_packages(b.bucket, $2) AS o
"""
_COUNT_NOTIFICATIONS: Final = """
    SELECT count(*) FROM unnest($1::smallint[]) AS b (bucket) CROSS JOIN LATERAL old_notifications(b.bucket, $2) AS o
"""
_PURGE_OPERATIONS: Final = "SELECT purge_operations($1, $2, $3)"
_PURGE_ORDERS: Final = "SELECT purge_orders($1, $2)"
_PURGE_KEYS: Final = """
    DELETE FROM requests_seen
     WHERE (tenant, key) IN (SELECT s.tenant, s.key FROM requests_seen s
                              WHERE s.created_at < now() - $1::interval ORDER BY s.created_at LIMIT $2)
"""
_PURGE_IMPORTS: Final = """
    DELETE FROM imports
     WHERE id IN (SELECT i.id FROM imports i WHERE i.changed_at < now() - $1::interval ORDER BY i.changed_at LIMIT $2)
"""
_COUNT_OPERATIONS: Final = """
    SELECT count(*) FROM unnest($1::smallint[]) AS b (bucket) CROSS JOIN LATERAL old_operations(b.bucket, $2) AS o
"""
_COUNT_ORDERS: Final = "SELECT count(*) FROM old_orders($1)"
_COUNT_KEYS: Final = "SELECT count(*) FROM requests_seen WHERE created_at < now() - $1::interval"
_COUNT_IMPORTS: Final = "SELECT count(*) FROM imports WHERE changed_at < now() - $1::interval"
_COUNT_STRAYS: Final = "SELECT count(*) FROM strays WHERE received_at < now() - $1::interval"


class Aging(StrEnum):
    """The kinds of rows that age, in the order in which they go. Audit records don't."""

    RESULTS = "results"
    EVENTS = "events"
    PACKAGES = "packages"
    NOTIFICATIONS = "notifications"
    STRAYS = "strays"
    OPERATIONS = "operations"
    ORDERS = "orders"
    KEYS = "keys"  # of idempotency, with their answers
    IMPORTS = "imports"  # with what was wrong in their lines


_WITHOUT_BUCKET: Final = frozenset({Aging.STRAYS, Aging.ORDERS, Aging.KEYS, Aging.IMPORTS})


async def purge(db: Db, kind: Aging, bucket: Bucket, older: timedelta, at_most: int) -> int:
    """Purge up to `at_most` rows of one bucket that are older than `older`; how many. Safe to repeat.

    older  7 days or more; the database refuses less

    Of packages only the octets go. What has no bucket is purged with bucket 0.
    """
    if kind is Aging.OPERATIONS:
        return int(await db.fetchval(_PURGE_OPERATIONS, bucket, older, at_most))
    if kind not in _WITHOUT_BUCKET:
        return int(await db.fetchval(_PURGE, kind.value, bucket, older, at_most))
    return await _purge_all(db, kind, older, at_most) if bucket == 0 else 0


async def count(db: Db, kind: Aging, older: timedelta) -> int:
    """How many rows `purge` would find now in all buckets together."""
    if kind in _WITHOUT_BUCKET:
        return await _count_all(db, kind, older)
    every = list(range(BUCKETS))
    match kind:
        case Aging.RESULTS:
            return int(await db.fetchval(_COUNT_RESULTS, every, older))
        case Aging.EVENTS:
            return int(await db.fetchval(_COUNT_EVENTS, every, older))
        case Aging.PACKAGES:
            return int(await db.fetchval(_COUNT_PACKAGES, every, older))
        case Aging.NOTIFICATIONS:
            return int(await db.fetchval(_COUNT_NOTIFICATIONS, every, older))
        case _:
            return int(await db.fetchval(_COUNT_OPERATIONS, every, older))


async def _purge_all(db: Db, kind: Aging, older: timedelta, at_most: int) -> int:
    """Of what has no bucket."""
    match kind:
        case Aging.ORDERS:
            return int(await db.fetchval(_PURGE_ORDERS, older, at_most))
        case Aging.KEYS:
            done: str = await db.execute(_PURGE_KEYS, older, at_most)
        case Aging.IMPORTS:
            done = await db.execute(_PURGE_IMPORTS, older, at_most)
        case _:
            done = await db.execute(_PURGE_STRAYS, older, at_most)
    return int(done.rsplit(" ", 1)[1])


async def _count_all(db: Db, kind: Aging, older: timedelta) -> int:
    """Of what has no bucket."""
    match kind:
        case Aging.ORDERS:
            return int(await db.fetchval(_COUNT_ORDERS, older))
        case Aging.KEYS:
            return int(await db.fetchval(_COUNT_KEYS, older))
        case Aging.IMPORTS:
            return int(await db.fetchval(_COUNT_IMPORTS, older))
        case _:
            return int(await db.fetchval(_COUNT_STRAYS, older))
