"""What operators asked of eUICCs: table `operations`, inserted, listed and withdrawn for the operator."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket, Eid, Iccid, IdentityId, TenantId
from eim.domain.opening import Window
from eim.domain.operation import Kind, State
from eim.domain.step import Compact, Details, Step, steps_of
from eim.domain.waiting import Held
from eim.store import Db, dependents

_CHUNK: Final = 10_000  # lines a statement: each ends well before the connection's command timeout

_INSERT: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, order_id, ordinal, kind, iccid, rollback, details,
                            priority, not_before, expires_at, ordered_by, after_event, opening, retries, after, held,
                            closes_at)
    SELECT u.bucket, u.id, u.eid, $1, u.identity, $2, u.ordinal, u.kind, u.iccid, u.rollback, u.details, $3,
           coalesce(u.opens_at, $4::timestamptz, now()), $5, $6, $7, $8, $9, u.after, u.held, u.closes_at
      FROM unnest($10::smallint[], $11::uuid[], $12::bytea[], $13::smallint[], $14::bigint[], $15::text[],
                  $16::bytea[], $17::boolean[], $18::jsonb[], $19::uuid[], $20::text[], $21::timestamptz[],
                  $22::timestamptz[])
        AS u (bucket, id, eid, identity, ordinal, kind, iccid, rollback, details, after, held, opens_at, closes_at)
"""
_READ: Final = """
    SELECT bucket, id, eid, order_id, ordinal, kind, iccid, rollback, details, priority, state, doubt, outcome,
           not_before, expires_at, ordered_by, created_at, handed_at, ended_at, after, after_event, held,
           opening, closes_at, retries, attempts, parked
      FROM operations WHERE bucket = $1 AND id = $2 AND tenant = $3
"""
_READ_MANY: Final = """
    SELECT bucket, id, eid, order_id, ordinal, kind, iccid, rollback, details, priority, state, doubt, outcome,
           not_before, expires_at, ordered_by, created_at, handed_at, ended_at, after, after_event, held,
           opening, closes_at, retries, attempts, parked
      FROM operations WHERE bucket = $1 AND id = ANY ($2::uuid[]) AND tenant = $3
"""
_PAGE: Final = """
    SELECT bucket, id, eid, order_id, ordinal, kind, iccid, rollback, details, priority, state, doubt, outcome,
           not_before, expires_at, ordered_by, created_at, handed_at, ended_at, after, after_event, held,
           opening, closes_at, retries, attempts, parked
      FROM operations
     WHERE tenant = $1 AND (created_at, id) < ($2, $3)
       AND ($4::text IS NULL OR state = $4)
       AND ($5::text IS NULL OR kind = $5)
       AND ($6::uuid IS NULL OR order_id = $6)
       AND ($7::bytea IS NULL OR (bucket = $8 AND eid = $7))
       AND ($9::bytea IS NULL OR iccid = $9)
       AND ($10::text IS NULL OR ordered_by = $10)
       AND ($11::text IS NULL OR outcome ->> 'reason' = $11)
       AND ($12::timestamptz IS NULL OR created_at >= $12)
       AND ($13::timestamptz IS NULL OR created_at < $13)
       AND ($14::boolean IS NULL OR (state IN ('accepted', 'sealed', 'out', 'in_doubt')) = $14)
     ORDER BY created_at DESC, id DESC LIMIT $15
"""
# Two indexes hold what is queued: one of what waits, one of what is sealed, out or in doubt.
_QUEUED: Final = """
    SELECT o.bucket, o.eid, o.kind, o.iccid, o.rollback, o.details
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN operations o ON o.bucket = u.bucket AND o.eid = u.eid
     WHERE o.tenant = $3 AND (o.state = 'accepted' OR o.state IN ('sealed', 'out', 'in_doubt'))
       AND o.kind NOT IN ('listProfileInfo', 'getRAT', 'listEim', 'ipaEuiccDataRequest')
     ORDER BY o.bucket, o.eid, o.priority, o.ordinal
"""
_TAKE_BACK: Final = "SELECT take_back($1, $2)"
_WITHDRAW: Final = """
    UPDATE operations SET state = 'withdrawn', ended_at = now(), outcome = $4
     WHERE bucket = $1 AND id = $2 AND tenant = $3 AND state = 'accepted'
"""
_DOUBT: Final = """
    UPDATE operations SET state = 'in_doubt', doubt = 'withdrawn'
     WHERE bucket = $1 AND id = $2 AND tenant = $3 AND state IN ('out', 'in_doubt')
"""
_RESUME: Final = """
    UPDATE operations SET held = NULL, faults = 0, parked = NULL, not_before = least(not_before, now())
     WHERE bucket = $1 AND id = $2 AND tenant = $3 AND state = 'accepted' AND held = 'operator'
"""
# What is open is in partial indexes; what has ended would be counted over years, so only a week of it is.
_BY_STATE: Final = """
    SELECT state, count(*) AS many FROM operations WHERE tenant = $1 AND state = 'accepted' GROUP BY state
     UNION ALL
    SELECT state, count(*) AS many FROM operations
     WHERE tenant = $1 AND state IN ('sealed', 'out', 'in_doubt') GROUP BY state
     UNION ALL
    SELECT state, count(*) AS many FROM operations
     WHERE tenant = $1 AND created_at > now() - interval '7 days'
       AND state IN ('done', 'failed', 'withdrawn', 'expired') GROUP BY state
"""


class Terms(msgspec.Struct, frozen=True):
    """What the operations of one request have in common."""

    order_id: UUID | None  # None: the eIM's own
    ordered_by: str
    priority: int
    not_before: datetime | None = None  # None: now
    expires_at: datetime | None = None
    after_event: str | None = None
    opening: str | None = None  # the window, as domain.opening writes it
    retries: int | None = None


class Line(msgspec.Struct, frozen=True):
    """What they differ in."""

    bucket: Bucket
    id: UUID
    eid: Eid
    identity: IdentityId
    ordinal: int
    what: Compact
    after: UUID | None = None  # the operation of the same eUICC that has to be done before
    held: Held | None = None
    window: Window | None = None  # in which it may go out first


class Filter(msgspec.Struct, frozen=True):
    """Each None lets everything pass."""

    state: State | None = None
    kind: Kind | None = None
    order: UUID | None = None
    at: tuple[Bucket, Eid] | None = None
    iccid: Iccid | None = None
    ordered_by: str | None = None
    reason: str | None = None  # of the outcome
    created_after: datetime | None = None
    created_before: datetime | None = None
    open: bool | None = None  # whether it has not ended


class _Held(msgspec.Struct, frozen=True):
    """The columns that hold steps."""

    kind: Kind
    iccid: Iccid | None
    rollback: bool
    details: Details | None


class Operation(msgspec.Struct, frozen=True):
    id: UUID
    eid: Eid
    order_id: UUID | None
    ordinal: int
    kind: Kind
    iccid: Iccid | None
    rollback: bool
    details: Details | None
    priority: int
    state: State
    doubt: str | None
    outcome: Mapping[str, object] | None
    not_before: datetime
    expires_at: datetime | None
    ordered_by: str
    created_at: datetime
    handed_at: datetime | None
    ended_at: datetime | None
    after: UUID | None
    after_event: str | None
    held: Held | None  # what it waits for, as long as it is accepted
    opening: str | None
    closes_at: datetime | None  # the end of its present or next window
    retries: int | None
    attempts: int
    parked: str | None  # why it could not be worked on

    @property
    def steps(self) -> tuple[Step, ...]:
        """What it asks of the card, in this order."""
        return steps_of(self.kind, self.iccid, self.details, rollback=self.rollback)


async def insert(db: Db, tenant: TenantId, terms: Terms, lines: Sequence[Line]) -> None:
    """Insert one operation a line, in statements of many lines."""
    times = (terms.not_before, terms.expires_at)
    waits = (terms.after_event, terms.opening, terms.retries)
    common = (tenant, terms.order_id, terms.priority, *times, terms.ordered_by, *waits)
    for start in range(0, len(lines), _CHUNK):
        some = lines[start : start + _CHUNK]
        columns = (
            [line.bucket for line in some],
            [line.id for line in some],
            [line.eid for line in some],
            [line.identity for line in some],
            [line.ordinal for line in some],
            [line.what.kind.value for line in some],
            [line.what.iccid for line in some],
            [line.what.rollback for line in some],
            [line.what.details for line in some],
            [line.after for line in some],
            [line.held for line in some],
            [line.window.opens_at if line.window else None for line in some],
            [line.window.closes_at if line.window else None for line in some],
        )
        await db.execute(_INSERT, *common, *columns)


async def read(db: Db, tenant: TenantId, bucket: Bucket, operation: UUID) -> Operation | None:
    """One operation; None when the tenant has none of this id."""
    row = await db.fetchrow(_READ, bucket, operation, tenant)
    return _operation(row) if row else None


async def read_many(db: Db, tenant: TenantId, bucket: Bucket, ids: Sequence[UUID]) -> list[Operation]:
    """Those of one bucket that the tenant has."""
    return [_operation(row) for row in await db.fetch(_READ_MANY, bucket, ids, tenant)]


async def page(
    db: Db, tenant: TenantId, wanted: Filter, before: tuple[datetime, UUID], limit: int
) -> tuple[Operation, ...]:
    """Those just before `before`, newest first."""
    bucket, eid = wanted.at or (None, None)
    state = wanted.state.value if wanted.state else None
    kind = wanted.kind.value if wanted.kind else None
    first = (state, kind, wanted.order, eid, bucket, wanted.iccid, wanted.ordered_by, wanted.reason)
    last = (wanted.created_after, wanted.created_before, wanted.open)
    rows = await db.fetch(_PAGE, tenant, *before, *first, *last, limit)
    return tuple(_operation(row) for row in rows)


async def queued(db: Db, tenant: TenantId, at: Sequence[tuple[Bucket, Eid]]) -> dict[Eid, list[Step]]:
    """The changes that each of these eUICCs is still to make, in the order they come to it; who has none is missing."""
    found: dict[Eid, list[Step]] = {}
    for row in await db.fetch(_QUEUED, [bucket for bucket, _ in at], [eid for _, eid in at], tenant):
        what = msgspec.convert(dict(row), _Held)
        steps = steps_of(what.kind, what.iccid, what.details, rollback=what.rollback)
        found.setdefault(Eid(row["eid"]), []).extend(steps)
    return found


async def take_back(db: Db, bucket: Bucket, eid: Eid) -> None:
    """Take back every seal that was never handed out; its operations are accepted again. Lock the eUICC before."""
    await db.execute(_TAKE_BACK, bucket, eid)


async def withdraw(db: Db, tenant: TenantId, bucket: Bucket, operation: UUID, actor: str) -> None:
    """accepted -> withdrawn; what comes after it is skipped."""
    await db.execute(_WITHDRAW, bucket, operation, tenant, {"reason": "withdrawn", "by": actor})
    await dependents.follow(db, bucket, operation, State.WITHDRAWN, actor)


async def doubt(db: Db, tenant: TenantId, bucket: Bucket, operation: UUID) -> None:
    """out -> in_doubt: the card may act on it still, so nobody may say that it ended. What is in doubt stays so, and
    counts as withdrawn should the card turn out not to have done it."""
    await db.execute(_DOUBT, bucket, operation, tenant)


async def resume(db: Db, tenant: TenantId, bucket: Bucket, operation: UUID) -> None:
    """A parked one goes on: it waits for nobody any more."""
    await db.execute(_RESUME, bucket, operation, tenant)


async def by_state(db: Db, tenant: TenantId) -> dict[State, int]:
    """How many are open, and how many of those ordered in the last 7 days have ended."""
    return {State(r["state"]): r["many"] for r in await db.fetch(_BY_STATE, tenant)}


def _operation(row: Row) -> Operation:
    return Operation(
        row["id"],
        Eid(row["eid"]),
        row["order_id"],
        row["ordinal"],
        Kind(row["kind"]),
        Iccid(row["iccid"]) if row["iccid"] else None,
        row["rollback"],
        msgspec.convert(row["details"], Details | None),
        row["priority"],
        State(row["state"]),
        row["doubt"],
        row["outcome"],
        row["not_before"],
        row["expires_at"],
        row["ordered_by"],
        row["created_at"],
        row["handed_at"],
        row["ended_at"],
        row["after"],
        row["after_event"],
        Held(row["held"]) if row["held"] and row["state"] == State.ACCEPTED else None,
        row["opening"],
        row["closes_at"],
        row["retries"],
        row["attempts"],
        row["parked"],
    )
