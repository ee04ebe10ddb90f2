"""Notifications as they come in, and as operators see them: table `notifications`. The worker has `forwarding`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import BUCKETS, Bucket, Eid, Iccid, TenantId, bucket_in, with_bucket
from eim.domain.notification import Reason, State, Verdict
from eim.store import Db

_INSERT: Final = """
    INSERT INTO notifications (bucket, id, eid, tenant, digest, octets, seq_number, event, address, iccid, kind,
                               verdict)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (bucket, eid, digest) DO NOTHING
    RETURNING id
"""
_RECENT: Final = """
    SELECT count(*) FROM notifications WHERE bucket = $1 AND eid = $2 AND received_at > now() - interval '1 hour'
"""
# A certificate came: what waited for it is looked at again.
_LOOK_AGAIN: Final = """
    UPDATE notifications SET due_at = now()
     WHERE bucket = $1 AND eid = $2 AND state = 'held' AND reason = 'certificate-unknown'
"""
_READ: Final = "SELECT * FROM notifications WHERE bucket = ANY ($1::smallint[]) AND id = $2 AND tenant = $3"
_LOCK: Final = "SELECT * FROM notifications WHERE bucket = $1 AND id = $2 AND tenant = $3 FOR UPDATE"
# Oldest first. A filter that is NULL is none; `states` empty: all.
_PAGE: Final = """
    SELECT * FROM notifications n
     WHERE n.tenant = $1 AND (n.received_at, n.id) > ($2, $3)
       AND (cardinality($4::text[]) = 0 OR n.state = ANY ($4::text[]))
       AND ($5::bytea IS NULL OR n.bucket = $6 AND n.eid = $5)
       AND ($7::bytea IS NULL OR n.iccid = $7)
       AND ($8::text IS NULL OR n.event = $8)
       AND ($9::text IS NULL OR n.host = $9 OR lower(n.address) = $9)
     ORDER BY n.received_at, n.id LIMIT $10
"""
# It is tried at once. One that is held is looked at by the worker, which knows whether it may go.
_RETRY: Final = """
    UPDATE notifications SET due_at = now(), reason = CASE WHEN state = 'held' THEN 'asked' ELSE reason END
     WHERE bucket = $1 AND id = $2
"""
_GIVE_UP: Final = """
    UPDATE notifications SET state = 'given_up', settled_at = now(), settled_by = $3, due_at = NULL
     WHERE bucket = $1 AND id = $2
"""
# What stood behind one that is done with was not to be looked at before that.
_WAKE: Final = """
    UPDATE notifications SET due_at = now()
     WHERE bucket = $1 AND eid = $2 AND iccid = $3 AND state = 'waiting' AND attempts = 0 AND due_at > now()
"""
# All of a server's: it was allowed, or isn't any more.
_RELEASE: Final = """
    UPDATE notifications SET due_at = now(), reason = 'asked'
     WHERE bucket = ANY ($1::smallint[]) AND tenant = $2 AND host = $3 AND state = 'held'
       AND reason IN ('not-allowed', 'disabled')
"""
_OPEN: Final = """
    SELECT state, count(*) AS many FROM notifications
     WHERE bucket = $1 AND eid = $2 AND tenant = $3 AND state IN ('stored', 'waiting', 'held')
     GROUP BY state
"""

_EVERY_BUCKET: Final = tuple(range(BUCKETS))


class Taken(msgspec.Struct, frozen=True):
    """A notification as it came, and what could be read in it."""

    digest: bytes  # SHA-256 of octets
    octets: bytes
    kind: str | None = None
    seq_number: int | None = None
    event: str | None = None
    address: str | None = None
    iccid: Iccid | None = None
    verdict: Verdict = Verdict.UNVERIFIED


class Notification(msgspec.Struct, frozen=True):
    """One row."""

    id: UUID
    bucket: Bucket
    eid: Eid
    received_at: datetime
    octets: bytes
    kind: str | None
    seq_number: int | None
    event: str | None
    address: str | None
    iccid: Iccid | None
    verdict: Verdict | None
    state: State
    host: str | None
    reason: Reason | None
    failure: str | None
    attempts: int
    tried_at: datetime | None
    due_at: datetime | None
    delayed_at: datetime | None
    settled_at: datetime | None
    settled_by: str | None


class Filter(msgspec.Struct, frozen=True):
    """Which notifications are asked for; None: no matter."""

    states: tuple[State, ...] = ()
    at: tuple[Bucket, Eid] | None = None
    iccid: Iccid | None = None
    event: str | None = None
    address: str | None = None


async def insert(db: Db, bucket: Bucket, eid: Eid, tenant: TenantId, taken: Taken) -> UUID | None:
    """Keep a notification for its SM-DP+; None when the same octets are kept already."""
    t = taken
    ident = with_bucket(bucket, uuid4().bytes[:14])
    said = (t.seq_number, t.event, t.address, t.iccid, t.kind, t.verdict.value)
    stored: UUID | None = await db.fetchval(_INSERT, bucket, ident, eid, tenant, t.digest, t.octets, *said)
    return stored


async def within_the_hour(db: Db, bucket: Bucket, eid: Eid) -> int:
    """How many notifications were stored for this EID in the last hour."""
    return int(await db.fetchval(_RECENT, bucket, eid))


async def look_again(db: Db, bucket: Bucket, eid: Eid) -> None:
    """The card's certificates are known now: the worker looks again at what waited for them."""
    await db.execute(_LOOK_AGAIN, bucket, eid)


async def read(db: Db, tenant: TenantId, ident: UUID) -> Notification | None:
    """One of the tenant's. An id that a release before gave carries no bucket, so it is looked for in all."""
    carried = bucket_in(ident)
    row = await db.fetchrow(_READ, [carried], ident, tenant) if carried is not None else None
    if row is None:
        row = await db.fetchrow(_READ, _EVERY_BUCKET, ident, tenant)
    return _notification(row) if row else None


async def lock(db: Db, tenant: TenantId, bucket: Bucket, ident: UUID) -> Notification | None:
    """The same, kept as it is until the transaction ends."""
    row = await db.fetchrow(_LOCK, bucket, ident, tenant)
    return _notification(row) if row else None


async def page(
    db: Db, tenant: TenantId, wanted: Filter, after: tuple[datetime, UUID], limit: int
) -> tuple[Notification, ...]:
    """Those behind `after`, oldest first."""
    bucket, eid = wanted.at or (None, None)
    states = [state.value for state in wanted.states]
    said = (eid, bucket, wanted.iccid, wanted.event, wanted.address)
    return tuple(map(_notification, await db.fetch(_PAGE, tenant, *after, states, *said, limit)))


async def retry(db: Db, bucket: Bucket, ident: UUID) -> None:
    """Let the worker look at it, or try it, now."""
    await db.execute(_RETRY, bucket, ident)


async def give_up(db: Db, bucket: Bucket, ident: UUID, by: str) -> None:
    """It goes nowhere any more. by: who said so, and why."""
    await db.execute(_GIVE_UP, bucket, ident, by)


async def wake(db: Db, bucket: Bucket, eid: Eid, iccid: Iccid) -> None:
    """What stood behind one of this profile, which failed, need not wait any more."""
    await db.execute(_WAKE, bucket, eid, iccid)


async def release(db: Db, tenant: TenantId, host: str) -> int:
    """Let the worker look again at what is held for a server; how many those are."""
    done = await db.execute(_RELEASE, _EVERY_BUCKET, tenant, host)
    return int(done.rpartition(" ")[2])


async def open_of(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> dict[State, int]:
    """How many of an eUICC's are on their way, by state."""
    return {State(row["state"]): int(row["many"]) for row in await db.fetch(_OPEN, bucket, eid, tenant)}


def _notification(row: Row) -> Notification:
    known: Sequence[str] = Notification.__struct_fields__
    return msgspec.convert({name: row[name] for name in known}, Notification)
