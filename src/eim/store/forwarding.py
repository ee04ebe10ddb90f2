"""Notifications on their way to SM-DP+, for the worker: which are new, which are due, what became of them.

A card's notifications about one profile keep their order, which is the card's own count (SGP.32 section 3.7): one is
due only when none in front of it is still to go. What isn't proven to be the card's never stands in the way of what
is, and neither does what may never go.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket, Eid, Iccid, TenantId
from eim.domain.notification import BLOCKING, Reason, State, Verdict
from eim.store import Db

_PENDING: Final = """
    SELECT EXISTS (SELECT 1 FROM notifications n WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'stored')
        OR EXISTS (SELECT 1 FROM notifications n
                    WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'held' AND n.due_at <= now())
"""
_UNSORTED: Final = """
    SELECT n.bucket, n.id, n.eid, n.tenant, n.octets, n.state, n.verdict, n.reason, n.host,
           e.euicc_certificate, e.eum_certificate, e.curve, e.public_key
      FROM notifications n LEFT JOIN euiccs e ON e.bucket = n.bucket AND e.eid = n.eid
     WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'stored'
     ORDER BY n.bucket, n.received_at LIMIT $2
"""
_HELD: Final = """
    SELECT n.bucket, n.id, n.eid, n.tenant, n.octets, n.state, n.verdict, n.reason, n.host,
           e.euicc_certificate, e.eum_certificate, e.curve, e.public_key
      FROM notifications n LEFT JOIN euiccs e ON e.bucket = n.bucket AND e.eid = n.eid
     WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'held' AND n.due_at <= now()
     ORDER BY n.due_at LIMIT $2
"""
_SORT: Final = """
    UPDATE notifications n
       SET state = u.state, host = u.host, expanded = u.expanded, verdict = u.verdict, reason = u.reason,
           due_at = CASE WHEN u.state = 'waiting' THEN n.received_at END
      FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[])
        AS u (bucket, id, state, host, expanded, verdict, reason)
     WHERE n.bucket = u.bucket AND n.id = u.id AND n.state IN ('stored', 'held')
 RETURNING n.bucket, n.id
"""
# Each step is one look into an index: what it costs depends on how many servers there are, not on what waits.
_HOSTS: Final = """
    WITH RECURSIVE next (host) AS (
        (SELECT n.host FROM notifications n
          WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'waiting' AND n.host IS NOT NULL
          ORDER BY n.host LIMIT 1)
        UNION ALL
        SELECT (SELECT n.host FROM notifications n
                 WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'waiting' AND n.host > next.host
                 ORDER BY n.host LIMIT 1)
          FROM next WHERE next.host IS NOT NULL
    )
    SELECT next.host FROM next
     WHERE next.host IS NOT NULL
       AND EXISTS (SELECT 1 FROM notifications n
                    WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'waiting' AND n.host = next.host
                      AND n.due_at <= now())
     LIMIT $2
"""
_DUE: Final = """
    SELECT n.bucket, n.id, n.eid, n.tenant, n.iccid, n.seq_number, n.event, n.host, n.attempts, n.received_at,
           coalesce(n.expanded, n.octets) AS octets
      FROM notifications n
     WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'waiting' AND n.host = $2 AND n.due_at <= now()
       AND NOT EXISTS (
           SELECT 1 FROM notifications o
            WHERE o.bucket = n.bucket AND o.eid = n.eid AND o.iccid = n.iccid
              AND (o.seq_number, o.received_at, o.id) < (n.seq_number, n.received_at, n.id)
              AND (o.state = 'stored'
                   OR (o.verdict = 'verified' OR n.verdict <> 'verified')
                      AND (o.state = 'waiting' AND (o.host = n.host OR $3)
                           OR o.state = 'held' AND o.host = n.host AND o.reason = ANY ($4::text[]))))
     ORDER BY n.due_at LIMIT $5
"""
_DELIVERED: Final = """
    UPDATE notifications n
       SET state = 'delivered', settled_at = now(), tried_at = now(), attempts = n.attempts + 1, failure = NULL,
           due_at = NULL
      FROM unnest($1::smallint[], $2::uuid[]) AS u (bucket, id)
     WHERE n.bucket = u.bucket AND n.id = u.id AND n.state = 'waiting'
 RETURNING n.bucket, n.id
"""
_FAILED: Final = """
    UPDATE notifications n
       SET attempts = n.attempts + 1, failure = u.failure, tried_at = now(), due_at = now() + u.pause
      FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::interval[]) AS u (bucket, id, failure, pause)
     WHERE n.bucket = u.bucket AND n.id = u.id AND n.state = 'waiting'
"""
# What stands behind one that failed can't go before it: it need not be looked at before either.
_PUSH_BACK: Final = """
    UPDATE notifications n SET due_at = now() + u.pause
      FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::text[], $5::interval[])
        AS u (bucket, eid, iccid, host, pause)
     WHERE n.bucket = u.bucket AND n.eid = u.eid AND n.iccid = u.iccid AND n.host = u.host AND n.state = 'waiting'
       AND n.attempts = 0 AND n.due_at < now() + u.pause
"""
# It was allowed when it was sorted, and isn't any more.
_HOLD: Final = """
    UPDATE notifications n SET state = 'held', reason = u.reason, due_at = NULL
      FROM unnest($1::smallint[], $2::uuid[], $3::text[]) AS u (bucket, id, reason)
     WHERE n.bucket = u.bucket AND n.id = u.id AND n.state = 'waiting'
 RETURNING n.bucket, n.id
"""
_LATE: Final = """
    SELECT n.bucket, n.id, n.eid, n.tenant, n.iccid, n.seq_number, n.event, n.host, n.address, n.state, n.reason,
           n.failure, n.attempts, n.received_at
      FROM notifications n
     WHERE n.bucket = ANY ($1::smallint[]) AND n.state IN ('waiting', 'held') AND n.delayed_at IS NULL
       AND n.received_at < now() - $2::interval
     ORDER BY n.received_at LIMIT $3
"""
_ALARM: Final = """
    UPDATE notifications n SET delayed_at = now()
      FROM unnest($1::smallint[], $2::uuid[]) AS u (bucket, id)
     WHERE n.bucket = u.bucket AND n.id = u.id AND n.delayed_at IS NULL
"""
# The configuration allows them now.
_RELEASE: Final = """
    UPDATE notifications n SET due_at = now()
     WHERE n.bucket = ANY ($1::smallint[]) AND n.state = 'held' AND n.reason = 'not-allowed'
       AND n.host = ANY ($2::text[]) AND n.due_at IS NULL
"""


class Unsorted(msgspec.Struct, frozen=True):
    """One that is to be looked at, and what is known of its card."""

    bucket: Bucket
    id: UUID
    eid: Eid
    tenant: TenantId
    octets: bytes
    state: State
    verdict: Verdict | None
    reason: Reason | None
    host: str | None
    euicc_certificate: bytes | None
    eum_certificate: bytes | None
    curve: str | None
    public_key: bytes | None


class Sorted(msgspec.Struct, frozen=True):
    """Where it goes, or why it is held."""

    bucket: Bucket
    id: UUID
    state: State
    verdict: Verdict
    host: str | None = None
    expanded: bytes | None = None
    reason: Reason | None = None


class Due(msgspec.Struct, frozen=True):
    """One whose turn it is. `octets` are those that go."""

    bucket: Bucket
    id: UUID
    eid: Eid
    tenant: TenantId
    iccid: Iccid | None
    seq_number: int | None
    event: str | None
    host: str
    attempts: int
    received_at: datetime
    octets: bytes


class Failed(msgspec.Struct, frozen=True):
    """One that its SM-DP+ didn't take, and how long it waits now."""

    due: Due
    failure: str
    pause: timedelta


class Late(msgspec.Struct, frozen=True):
    """One that is here for too long, and nobody was told."""

    bucket: Bucket
    id: UUID
    eid: Eid
    tenant: TenantId
    iccid: Iccid | None
    seq_number: int | None
    event: str | None
    host: str | None
    address: str | None
    state: State
    reason: Reason | None
    failure: str | None
    attempts: int
    received_at: datetime


Place = tuple[Bucket, UUID]


async def anything_to_sort(db: Db, buckets: Sequence[Bucket]) -> bool:
    """Whether `unsorted` or `held_and_due` would give any."""
    return bool(await db.fetchval(_PENDING, buckets))


async def unsorted(db: Db, buckets: Sequence[Bucket], limit: int) -> tuple[Unsorted, ...]:
    """What nobody has looked at."""
    return tuple(_unsorted(row) for row in await db.fetch(_UNSORTED, buckets, limit))


async def held_and_due(db: Db, buckets: Sequence[Bucket], limit: int) -> tuple[Unsorted, ...]:
    """What is held and is to be looked at again."""
    return tuple(_unsorted(row) for row in await db.fetch(_HELD, buckets, limit))


async def sort(db: Db, decided: Sequence[Sorted]) -> frozenset[Place]:
    """Write down where they go; those for which that was still to be said."""
    rows = await db.fetch(
        _SORT,
        [s.bucket for s in decided],
        [s.id for s in decided],
        [s.state.value for s in decided],
        [s.host for s in decided],
        [s.expanded for s in decided],
        [s.verdict.value for s in decided],
        [s.reason.value if s.reason else None for s in decided],
    )
    return _places(rows)


async def hosts(db: Db, buckets: Sequence[Bucket], limit: int) -> tuple[str, ...]:
    """The servers for which something is due."""
    return tuple(row["host"] for row in await db.fetch(_HOSTS, buckets, limit))


async def due(db: Db, buckets: Sequence[Bucket], host: str, across_hosts: bool, limit: int) -> tuple[Due, ...]:  # noqa: FBT001 - a configured value
    """What may go to `host` now: of each card and profile the first.

    across_hosts  whether one for another server stands in the way too
    """
    rows = await db.fetch(_DUE, buckets, host, across_hosts, [reason.value for reason in BLOCKING], limit)
    return tuple(msgspec.convert(dict(row), Due) for row in rows)


async def delivered(db: Db, done: Sequence[Due]) -> frozenset[Place]:
    """Its SM-DP+ has them; those that were still to go."""
    return _places(await db.fetch(_DELIVERED, [d.bucket for d in done], [d.id for d in done]))


async def failed(db: Db, tries: Sequence[Failed]) -> None:
    """They wait, and what stands behind them."""
    buckets, pauses = [t.due.bucket for t in tries], [t.pause for t in tries]
    await db.execute(_FAILED, buckets, [t.due.id for t in tries], [t.failure for t in tries], pauses)
    queues = [t for t in tries if t.due.iccid is not None]
    await db.execute(
        _PUSH_BACK,
        [t.due.bucket for t in queues],
        [t.due.eid for t in queues],
        [t.due.iccid for t in queues],
        [t.due.host for t in queues],
        [t.pause for t in queues],
    )


async def hold(db: Db, reasons: Mapping[Place, Reason]) -> frozenset[Place]:
    """They may not go any more; those that were still to go."""
    buckets, ids = [bucket for bucket, _ in reasons], [ident for _, ident in reasons]
    return _places(await db.fetch(_HOLD, buckets, ids, [reason.value for reason in reasons.values()]))


async def late(db: Db, buckets: Sequence[Bucket], after: timedelta, limit: int) -> tuple[Late, ...]:
    """What is here for longer than `after`, and no alarm was given."""
    return tuple(msgspec.convert(dict(row), Late) for row in await db.fetch(_LATE, buckets, after, limit))


async def alarm(db: Db, those: Sequence[Late]) -> None:
    """The alarm of these was given."""
    await db.execute(_ALARM, [each.bucket for each in those], [each.id for each in those])


async def release(db: Db, buckets: Sequence[Bucket], allowed: Sequence[str]) -> None:
    """What is held for these servers is looked at again."""
    await db.execute(_RELEASE, buckets, allowed)


def _places(rows: Sequence[Row]) -> frozenset[Place]:
    return frozenset((Bucket(row["bucket"]), row["id"]) for row in rows)


def _unsorted(row: Row) -> Unsorted:
    return msgspec.convert(dict(row), Unsorted)
