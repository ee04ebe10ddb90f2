"""What happened: table `events`, each eUICC's timeline and the outbox of what leaves us.

`turn` is the order in which events were inserted. An eUICC's events are inserted under its lock, so their turns are
the order in which they happened. A transaction may commit after another with later turns has: who reads by turn
reads no further than `services.horizon` says is safe.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record

from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db
from eim.store.drawing import draw

_CHUNK: Final = 10_000  # events a statement

# What waited for an event of this kind waits no more.
_RECORD: Final = """
    WITH released AS (
        UPDATE operations SET held = NULL
         WHERE bucket = $1 AND eid = $3 AND state = 'accepted' AND held = 'event' AND after_event = $5
    )
    INSERT INTO events (bucket, id, eid, tenant, kind, data)
    VALUES ($1, $2, $3, $4, $5, $6)
"""
_CROWDED: Final = """
    SELECT count(*) >= $3 FROM (SELECT 1 FROM events WHERE bucket = $1 AND eid = $2 AND at > now() - interval '1 hour'
                                 LIMIT $3) AS recent
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
    SELECT bucket, id, eid, at, kind, data FROM events WHERE tenant = $1 ORDER BY turn DESC LIMIT $2
"""
# Also those of cards without rows of theirs, and of no card: their tags are none.
_AFTER: Final = """
    SELECT e.turn, e.id, e.eid, e.at, e.kind, e.data,
           (SELECT i.eim_id FROM identities i WHERE i.tenant = $1 ORDER BY i.id LIMIT 1) AS eim_id
      FROM events e
     WHERE e.tenant = $1 AND e.turn > $2 AND e.turn <= $3 AND e.kind = ANY ($4::text[])
       AND ($5::bytea IS NULL OR (e.bucket = $6 AND e.eid = $5))
       AND ($7::text IS NULL OR EXISTS (SELECT 1 FROM euiccs c WHERE c.bucket = e.bucket AND c.eid = e.eid
                                           AND c.tenant = $1 AND c.tags @> ARRAY [$7::text]))
     ORDER BY e.turn LIMIT $8
"""
_TURN_AT: Final = "SELECT min(turn) - 1 FROM events WHERE tenant = $1 AND at >= $2"
# Not the sequence's row: now and then, while nextval logs ahead, that shows a turn 32 above the one that was drawn.
_LAST_TURN: Final = "SELECT coalesce(pg_sequence_last_value('event_turns'), 0)"
# A snapshot's xmax is behind the newest transaction that has ended; others with ids from there on may be under way.
# age() counts from there to the transaction counter.
_RUNNING: Final = """
    SELECT pg_snapshot_xmin(s)::text::bigint AS oldest,
           pg_snapshot_xmax(s)::text::bigint + age(pg_snapshot_xmax(s)::xid) AS next
      FROM pg_current_snapshot() AS s
"""
_HINT: Final = "SELECT pg_notify('eim_work', b::text) FROM unnest($1::smallint[]) AS b"


class Event(msgspec.Struct, frozen=True):
    """Something worth knowing about one eUICC. `data` is plain JSON and holds no secret."""

    bucket: Bucket
    eid: Eid
    kind: Happening
    data: Mapping[str, object]


class Happened(msgspec.Struct, frozen=True):
    """An event as it lies in the table."""

    id: UUID
    eid: Eid | None  # None: of no card
    at: datetime
    kind: str
    data: Mapping[str, object]


class Told(msgspec.Struct, frozen=True):
    """An event on its way out. `eim_id` is of the tenant's first identity."""

    turn: int
    happened: Happened
    eim_id: str | None


class Wanted(msgspec.Struct, frozen=True):
    """Which events are asked for. `kinds` as in the table; all of them must be named."""

    kinds: tuple[str, ...]
    at: tuple[Bucket, Eid] | None = None
    tag: str | None = None


class Running(msgspec.Struct, frozen=True):
    """Transaction ids: every one below `oldest` has ended, every one from `next` on has not begun."""

    oldest: int
    next: int


async def record(
    db: Db, bucket: Bucket, eid: Eid | None, tenant: TenantId, kind: Happening, data: Mapping[str, object]
) -> UUID:
    """Add one event under its card's lock; its id. `data` is plain JSON and holds no secret."""
    (ident,) = draw([bucket])
    await db.execute(_RECORD, bucket, ident, eid, tenant, kind.text, dict(data))
    return ident


async def is_crowded(db: Db, bucket: Bucket, eid: Eid, most: int) -> bool:
    """Whether `most` events of this eUICC lie within the last hour: more of what anybody can cause is not told."""
    return bool(await db.fetchval(_CROWDED, bucket, eid, most))


async def append(db: Db, tenant: TenantId, events: Sequence[Event]) -> None:
    """Add `events`, many in a statement, under the locks of their cards."""
    for start in range(0, len(events), _CHUNK):
        some = events[start : start + _CHUNK]
        buckets, eids = [e.bucket for e in some], [e.eid for e in some]
        kinds, data = [e.kind.text for e in some], [dict(e.data) for e in some]
        await db.execute(_APPEND, tenant, buckets, draw(buckets), eids, kinds, data)


async def of_euicc(
    db: Db, tenant: TenantId, at: tuple[Bucket, Eid], before: tuple[datetime, UUID], limit: int
) -> tuple[Happened, ...]:
    """The timeline of one eUICC just before `before`, newest first."""
    return tuple(_happened(row) for row in await db.fetch(_OF_EUICC, *at, tenant, *before, limit))


async def last(db: Db, tenant: TenantId, limit: int) -> tuple[Happened, ...]:
    """The tenant's newest events."""
    return tuple(_happened(row) for row in await db.fetch(_LAST, tenant, limit))


async def after(db: Db, tenant: TenantId, wanted: Wanted, turns: tuple[int, int], limit: int) -> tuple[Told, ...]:
    """The tenant's events with turns above the first and up to the second of `turns`, in their order."""
    place = wanted.at or (None, None)
    rows = await db.fetch(_AFTER, tenant, *turns, list(wanted.kinds), place[1], place[0], wanted.tag, limit)
    return tuple(Told(row["turn"], _happened(row), row["eim_id"]) for row in rows)


async def turn_at(db: Db, tenant: TenantId, at: datetime) -> int | None:
    """The turn behind which everything since `at` lies; None when nothing happened since."""
    found: int | None = await db.fetchval(_TURN_AT, tenant, at)
    return found


async def last_turn(db: Db) -> int:
    """The highest turn that was drawn, by whomever and committed or not."""
    return int(await db.fetchval(_LAST_TURN))


async def running(db: Db) -> Running:
    """Which transactions are under way. To be asked in a statement of its own, outside of a transaction."""
    row = await db.fetchrow(_RUNNING)
    assert row is not None  # noqa: S101 - a function always gives its row
    return Running(row["oldest"], row["next"])


async def hint(db: Db, buckets: Iterable[Bucket]) -> None:
    """Wake whoever holds these buckets when this transaction commits. A hint: who misses it looks anyway."""
    await db.execute(_HINT, sorted(set(buckets)))


def _happened(row: Record) -> Happened:
    eid = row["eid"]
    return Happened(row["id"], Eid(eid) if eid is not None else None, row["at"], row["kind"], row["data"])
