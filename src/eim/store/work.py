"""Operations as the worker seals them and results end them: table `operations`, the machine's side."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeAlias
from uuid import UUID

import msgspec
from asyncpg import Record

from eim.domain.euicc import Speaks
from eim.domain.ids import Bucket, Eid, Iccid
from eim.domain.opening import Window
from eim.domain.operation import Kind, State
from eim.domain.step import Details, Step, steps_of
from eim.errors import Contended, Unworkable
from eim.store import Db, dependents
from eim.store.drawing import draw

# Two partial indexes hold what is open, one of what waits and one of the rest: an eUICC's history is not looked at.
_OPEN: Final = """
    SELECT o.bucket, o.eid, o.id, o.kind, o.iccid, o.rollback, o.details, o.priority, o.ordinal, o.gate, o.not_before,
           o.closes_at, o.state, e.speaks,
           e.introduced_at IS NOT NULL AND (e.stalled IS NULL OR o.kind = 'renewAssociation') AS introduced,
           EXISTS (SELECT 1 FROM operations r
                    WHERE r.bucket = o.bucket AND r.eid = o.eid AND r.kind = 'renewAssociation'
                      AND r.state = 'in_doubt') AS on_trial,
           o.not_before <= now() AND g.open AND (o.closes_at IS NULL OR o.closes_at > now())
               AND NOT (m.operation = o.id AND m.handed_at IS NULL AND coalesce(m.counter <= m.highest_handed, false))
               AS eligible,
           CASE WHEN m.sealed IS NOT NULL THEN 'taken'
                WHEN EXISTS (SELECT 1 FROM packages w
                              WHERE w.bucket = o.bucket AND w.eid = o.eid AND w.queued
                                AND w.state = 'waiting') THEN 'behind'
                ELSE 'free' END AS front
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN euiccs e ON e.bucket = u.bucket AND e.eid = u.eid
      JOIN mailbox m ON m.bucket = u.bucket AND m.eid = u.eid
     CROSS JOIN LATERAL (
        SELECT a.* FROM operations a
         WHERE a.bucket = u.bucket AND a.eid = u.eid AND a.state = 'accepted' AND a.not_before <= now()
           AND a.held IS NULL AND (a.closes_at IS NULL OR a.closes_at > now())
         UNION ALL
        SELECT s.* FROM operations s
         WHERE s.bucket = u.bucket AND s.eid = u.eid AND s.state IN ('sealed', 'out', 'in_doubt')
     ) AS o
      JOIN gates g ON g.id = o.gate
     WHERE NOT m.barred AND e.orphaned_at IS NULL AND o.state <> 'in_doubt'
       AND (o.state <> 'accepted'
            OR g.open
               AND NOT EXISTS (SELECT 1 FROM operations b
                                WHERE b.bucket = o.bucket AND b.eid = o.eid AND b.state = 'accepted' AND b.attempts > 0
                                  AND b.not_before > now() AND (b.priority, b.ordinal) < (o.priority, o.ordinal)))
     ORDER BY o.bucket, o.eid, o.priority, o.ordinal
"""
# By the primary key. Said plainly, the state would let the planner read an index of all that is accepted instead, which
# looks short to it as long as statistics are of the time before a campaign: 20 times the cost.
_SEAL: Final = """
    UPDATE operations o SET state = 'sealed'
      FROM unnest($1::smallint[], $2::uuid[]) AS u (bucket, id)
     WHERE o.bucket = u.bucket AND o.id = u.id AND coalesce(o.state, '') = 'accepted'
"""
_READ: Final = """
    SELECT id, kind, iccid, rollback, details, state, doubt, outcome, order_id, attempts, retries FROM operations
     WHERE bucket = $1 AND id = $2
"""
# The end, its event and its audit record: one statement, so that none is without the others. Whether some come after.
_END: Final = """
    WITH ended AS (
        UPDATE operations SET state = $3, outcome = $4, ended_at = now() WHERE bucket = $1 AND id = $2
     RETURNING eid, tenant
    ), told AS (
        INSERT INTO events (bucket, id, eid, tenant, kind, data)
        SELECT $1, $7::uuid, e.eid, e.tenant, $5, $6 FROM ended e
    ), audited AS (
        INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
        SELECT $1, $8::uuid, e.tenant, 'device', $5, upper(encode(e.eid, 'hex')), $6 FROM ended e
    )
    SELECT EXISTS (SELECT 1 FROM operations WHERE bucket = $1 AND after = $2)
"""
_REFUSE: Final = """
    UPDATE operations SET state = 'failed', outcome = $3, ended_at = now()
     WHERE bucket = $1 AND id = $2 AND state = 'accepted'
 RETURNING id
"""
_RETRY: Final = """
    UPDATE operations SET state = 'accepted', not_before = now() + make_interval(secs => $3), attempts = attempts + 1,
                          outcome = $4
     WHERE bucket = $1 AND id = $2 AND state = 'out'
"""
_POSTPONE: Final = """
    UPDATE operations SET not_before = now() + make_interval(secs => $3)
     WHERE bucket = $1 AND eid = $2 AND state = 'accepted' AND not_before <= now()
"""
_DOUBT: Final = """
    UPDATE operations SET state = 'in_doubt', doubt = $3 WHERE bucket = $1 AND id = $2 AND state = 'out'
 RETURNING id
"""
_DOUBTFUL: Final = """
    SELECT o.id, o.kind, o.iccid, o.rollback, o.details, o.state, o.doubt, o.outcome, o.order_id, o.attempts,
           o.retries, p.counter, p.number
      FROM operations o JOIN packages p ON p.bucket = o.bucket AND p.eid = o.eid AND p.operation = o.id
                                       AND p.state <> 'dead'
     WHERE o.bucket = $1 AND o.eid = $2 AND o.state = 'in_doubt'
"""
_ORDINAL: Final = """
    UPDATE euiccs SET ordinals = 1 + greatest(ordinals, (SELECT max(o.ordinal) FROM operations o
                                                          WHERE o.bucket = $1 AND o.eid = $2))
     WHERE bucket = $1 AND eid = $2 RETURNING ordinals
"""
_INSERT: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, priority, ordered_by)
    SELECT $1, $2, $3, e.tenant, e.identity, $4, $5, $6, $7 FROM euiccs e WHERE e.bucket = $1 AND e.eid = $3
"""
_RENEWING: Final = """
    SELECT EXISTS (SELECT 1 FROM operations
                    WHERE bucket = $1 AND eid = $2 AND kind = 'renewAssociation'
                      AND (state = 'accepted' OR state IN ('sealed', 'out', 'in_doubt')))
"""
_RENEWAL_IN_DOUBT: Final = """
    SELECT o.id, o.kind, o.iccid, o.rollback, o.details, o.state, o.doubt, o.outcome, o.order_id, p.counter, p.number
      FROM operations o JOIN packages p ON p.bucket = o.bucket AND p.eid = o.eid AND p.operation = o.id
                                       AND p.state <> 'dead'
     WHERE o.bucket = $1 AND o.eid = $2 AND o.state = 'in_doubt' AND o.kind = 'renewAssociation'
     ORDER BY p.number DESC LIMIT 1
"""
_PENDING: Final = """
    SELECT EXISTS (SELECT 1 FROM operations
                    WHERE bucket = $1 AND eid = $2 AND kind = $3 AND details IS NULL
                      AND state IN ('accepted', 'sealed'))
"""
# Two indexes, one question: whose time ran out, and whose window closed.
_EXPIRING: Final = """
    SELECT bucket, id, eid, false AS closes FROM operations
     WHERE bucket = ANY ($1::smallint[]) AND expires_at <= now() AND state IN ('accepted', 'sealed', 'out')
     UNION ALL
    SELECT bucket, id, eid, true AS closes FROM operations
     WHERE bucket = ANY ($1::smallint[]) AND closes_at <= now() AND state IN ('accepted', 'sealed', 'out')
     LIMIT $2
"""
_CLOSED: Final = """
    SELECT o.id, o.opening, greatest(o.not_before, now()) AS floor, e.time_zone
      FROM operations o JOIN euiccs e ON e.bucket = o.bucket AND e.eid = o.eid
     WHERE o.bucket = $1 AND o.eid = $2 AND o.closes_at IS NOT NULL AND o.state IN ('accepted', 'sealed', 'out')
       AND (o.closes_at <= now() OR $3)
"""
_REOPEN: Final = """
    UPDATE operations SET not_before = $3, closes_at = $4 WHERE bucket = $1 AND id = $2
"""
# What is out is given again in its next window only.
_REOPEN_HEAD: Final = """
    UPDATE mailbox SET not_before = $4, closes_at = $5 WHERE bucket = $1 AND eid = $2 AND operation = $3
"""
_WHOSE: Final = "SELECT eid FROM operations WHERE bucket = $1 AND id = $2"
# Worked on in vain: left alone for a while, and after the last time until an operator says so.
_FAULT: Final = """
    UPDATE operations
       SET faults = faults + 1, parked = $3, not_before = now() + make_interval(secs => $4 * (faults + 1)),
           held = CASE WHEN faults + 1 >= $5 THEN 'operator' END
     WHERE bucket = $1 AND id = $2 AND state = 'accepted' AND held IS NULL
 RETURNING eid, kind, held IS NOT NULL AS parked
"""
_EXPIRE: Final = """
    UPDATE operations SET state = 'expired', ended_at = now(), outcome = '{"reason": "expired"}'
     WHERE bucket = $1 AND id = $2 AND state = 'accepted'
 RETURNING id
"""
_RECOVERING: Final = """
    SELECT kind FROM operations
     WHERE bucket = $1 AND eid = $2 AND priority = 0 AND state IN ('accepted', 'sealed', 'out')
"""
_HEAD_IN_DOUBT: Final = """
    SELECT EXISTS (SELECT 1 FROM mailbox m JOIN operations o ON o.bucket = m.bucket AND o.id = m.operation
                    WHERE m.bucket = $1 AND m.eid = $2 AND o.state = 'in_doubt')
"""
_FAILED_RECOVERIES: Final = """
    SELECT count(*) FROM operations
     WHERE bucket = $1 AND eid = $2 AND priority = 0 AND state = 'in_doubt' AND doubt = $3
"""
_DATA_ANSWERS: Final = """
    SELECT count(*) FROM operations
     WHERE bucket = $1 AND eid = $2 AND kind = 'ipaEuiccDataRequest' AND state IN ('done', 'failed')
"""
# The head in doubt goes, so that what clears the doubt goes out next. One that is out and not in doubt stays: it is
# handed out until it is answered, or nothing would ever end it.
_DEMOTE: Final = """
    UPDATE packages p SET state = 'ended'
      FROM mailbox m, operations o
     WHERE p.bucket = $1 AND p.eid = $2 AND m.bucket = $1 AND m.eid = $2 AND p.number = m.number
       AND o.bucket = $1 AND o.id = m.operation AND o.state = 'in_doubt'
"""
_CLEAR: Final = """
    UPDATE mailbox m
       SET number = NULL, operation = NULL, counter = NULL, sealed = NULL, handed_at = NULL, deliveries = 0
      FROM operations o
     WHERE m.bucket = $1 AND m.eid = $2 AND o.bucket = $1 AND o.id = m.operation AND o.state = 'in_doubt'
"""


Rows: TypeAlias = list[Record]  # of one eUICC
_AT: Final = itemgetter("bucket", "eid")


class Front(StrEnum):
    """What is in front of a package that is sealed now."""

    TAKEN = "taken"  # a head
    BEHIND = "behind"  # no head, and packages that wait all the same: the first of them is to become one
    FREE = "free"  # nothing: it is the head


class Open(msgspec.Struct, frozen=True):
    """An operation that is not ended, in the order in which its eUICC gets it."""

    bucket: Bucket
    eid: Eid
    id: UUID
    kind: Kind
    iccid: Iccid | None
    rollback: bool
    details: Details | None
    priority: int
    ordinal: int
    gate: int
    not_before: datetime
    closes_at: datetime | None
    state: State
    speaks: Speaks | None
    introduced: bool  # signed packages may be made for it
    on_trial: bool  # it is not known which of two keys its card obeys
    eligible: bool = True  # it may go out now: its time has come, gate and window are open
    front: Front = Front.TAKEN

    @property
    def steps(self) -> tuple[Step, ...]:
        """What it asks of the card, in this order."""
        return steps_of(self.kind, self.iccid, self.details, rollback=self.rollback)


class Asked(msgspec.Struct, frozen=True, dict=True):
    """An operation as a result finds it."""

    id: UUID
    kind: Kind
    iccid: Iccid | None
    rollback: bool
    details: Details | None
    state: State
    doubt: str | None
    outcome: dict[str, object] | None
    order_id: UUID | None
    attempts: int = 0
    retries: int | None = None

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What it asks of the card, in this order."""
        return steps_of(self.kind, self.iccid, self.details, rollback=self.rollback)


class Doubtful(msgspec.Struct, frozen=True):
    """An operation in doubt, with the place and the counter of its package (None: it was not signed)."""

    asked: Asked
    counter: int | None
    number: int


class Ending(msgspec.Struct, frozen=True):
    """How an operation ended. Both mappings are plain JSON and hold no secret."""

    state: State
    outcome: Mapping[str, object]  # what its row keeps
    told: Mapping[str, object]  # what its event and its audit record say


class Expiring(msgspec.Struct, frozen=True):
    """An operation whose time ran out, or whose window closed."""

    bucket: Bucket
    id: UUID
    eid: Eid
    closes: bool


class Fault(msgspec.Struct, frozen=True):
    """What became of an operation that could not be worked on."""

    kind: str
    parked: bool  # it was the last time


class Closed(msgspec.Struct, frozen=True):
    """An operation that waits for its next window, which opens at `floor` or later."""

    id: UUID
    opening: str
    floor: datetime
    time_zone: str | None


async def look(db: Db, eids: Sequence[tuple[Bucket, Eid]]) -> dict[tuple[Bucket, Eid], Rows]:
    """All that is open for these eUICCs and due, each in (priority, ordinal) order, as the rows say it."""
    rows = await db.fetch(_OPEN, [bucket for bucket, _ in eids], [eid for _, eid in eids])
    return {at: list(found) for at, found in groupby(rows, key=_AT)}


def opened(rows: Rows) -> list[Open]:
    """What `look` found for one eUICC. Raises Unworkable for a row that makes no sense to this release."""
    return [_open(row) for row in rows]


def _open(row: Record) -> Open:
    try:
        return msgspec.convert(dict(row), Open)
    except msgspec.ValidationError as error:
        raise Unworkable(f"this release can't read it: {error}", (row["bucket"], row["id"])) from error


async def seal(db: Db, operations: Sequence[tuple[Bucket, UUID]]) -> None:
    """Move accepted operations to sealed. Raises Contended when one of them is not accepted."""
    done = await db.execute(_SEAL, [bucket for bucket, _ in operations], [operation for _, operation in operations])
    if int(done.rpartition(" ")[2]) != len(operations):
        raise Contended("an operation changed while it was sealed: look again")


async def read(db: Db, bucket: Bucket, operation: UUID) -> Asked | None:
    row = await db.fetchrow(_READ, bucket, operation)
    return msgspec.convert(dict(row), Asked) if row else None


async def end(db: Db, bucket: Bucket, operation: UUID, ending: Ending) -> None:
    """Write how it ended. The caller checked the move with domain.operation.move, under the eUICC's lock."""
    state, happened = ending.state.value, f"operation.{ending.state.value}"
    said = (state, dict(ending.outcome), happened, dict(ending.told))
    followed = await db.fetchval(_END, bucket, operation, *said, *draw([bucket, bucket]))
    if followed:
        await dependents.follow(db, bucket, operation, ending.state, "device")


async def refuse(db: Db, bucket: Bucket, operation: UUID, outcome: Mapping[str, object]) -> bool:
    """From accepted to failed, before it was ever sealed; False when it isn't accepted."""
    if await db.fetchval(_REFUSE, bucket, operation, dict(outcome)) is None:
        return False
    await dependents.follow(db, bucket, operation, State.FAILED, "worker")
    return True


async def retry(db: Db, bucket: Bucket, operation: UUID, delay: float, why: Mapping[str, object]) -> None:
    """The card signed that it did not execute it: accepted again, due after `delay` seconds. `why` as an outcome."""
    await db.execute(_RETRY, bucket, operation, delay, dict(why))


async def whose(db: Db, bucket: Bucket, operation: UUID) -> Eid | None:
    """The eUICC of an operation."""
    eid = await db.fetchval(_WHOSE, bucket, operation)
    return Eid(eid) if eid is not None else None


async def fault(db: Db, bucket: Bucket, operation: UUID, why: str, delay: float, most: int) -> Fault | None:
    """It could not be worked on: left alone for `delay` seconds times its faults; None when it isn't accepted."""
    row = await db.fetchrow(_FAULT, bucket, operation, why, delay, most)
    return Fault(row["kind"], row["parked"]) if row else None


async def closed(db: Db, bucket: Bucket, eid: Eid, *, every: bool) -> list[Closed]:
    """The operations whose window has closed, or every one with a window."""
    return [msgspec.convert(dict(row), Closed) for row in await db.fetch(_CLOSED, bucket, eid, every)]


async def reopen(db: Db, bucket: Bucket, eid: Eid, operation: UUID, window: Window) -> None:
    """Write the window in which it may go out next. What is out goes out again then, and not before."""
    await db.execute(_REOPEN, bucket, operation, window.opens_at, window.closes_at)
    await db.execute(_REOPEN_HEAD, bucket, eid, operation, window.opens_at, window.closes_at)


async def doubt(db: Db, bucket: Bucket, operation: UUID, reason: str) -> bool:
    """From out to in_doubt; False when it isn't out."""
    return await db.fetchval(_DOUBT, bucket, operation, reason) is not None


async def doubtful(db: Db, bucket: Bucket, eid: Eid) -> list[Doubtful]:
    """What is in doubt for this eUICC."""
    rows = await db.fetch(_DOUBTFUL, bucket, eid)
    return [Doubtful(msgspec.convert(dict(row), Asked), row["counter"], row["number"]) for row in rows]


async def is_renewing(db: Db, bucket: Bucket, eid: Eid) -> bool:
    """Whether an updateEim of ours is on its way to the card, or in doubt."""
    return bool(await db.fetchval(_RENEWING, bucket, eid))


async def renewal_in_doubt(db: Db, bucket: Bucket, eid: Eid) -> Doubtful | None:
    """The updateEim of which it is not known whether the card executed it."""
    row = await db.fetchrow(_RENEWAL_IN_DOUBT, bucket, eid)
    return Doubtful(msgspec.convert(dict(row), Asked), row["counter"], row["number"]) if row else None


async def place(db: Db, bucket: Bucket, eid: Eid, operation: UUID, kind: Kind, priority: int, by: str) -> None:
    """An operation of the eIM's own: one that changes nothing on the card."""
    ordinal = await db.fetchval(_ORDINAL, bucket, eid)
    await db.execute(_INSERT, bucket, operation, eid, ordinal, kind.value, priority, by)


async def pending(db: Db, bucket: Bucket, eid: Eid, kind: Kind) -> bool:
    """Whether one of this kind, that asks for all, is already on its way to the card."""
    return bool(await db.fetchval(_PENDING, bucket, eid, kind.value))


async def recovering(db: Db, bucket: Bucket, eid: Eid) -> set[Kind]:
    """What of a recovery is under way already."""
    return {Kind(row["kind"]) for row in await db.fetch(_RECOVERING, bucket, eid)}


async def is_head_in_doubt(db: Db, bucket: Bucket, eid: Eid) -> bool:
    """Whether what is out is in doubt itself, so that nothing else goes out before it is cleared."""
    return bool(await db.fetchval(_HEAD_IN_DOUBT, bucket, eid))


async def failed_recoveries(db: Db, bucket: Bucket, eid: Eid, doubt: str) -> int:
    """How many operations meant to clear a doubt are in the same doubt themselves."""
    return int(await db.fetchval(_FAILED_RECOVERIES, bucket, eid, doubt))


async def data_answers(db: Db, bucket: Bucket, eid: Eid) -> int:
    """How many data requests this device has answered, with an error or not."""
    return int(await db.fetchval(_DATA_ANSWERS, bucket, eid))


async def expiring(db: Db, buckets: Sequence[Bucket], limit: int) -> list[Expiring]:
    """Operations past their time, or past their window, that have not ended."""
    return [msgspec.convert(dict(row), Expiring) for row in await db.fetch(_EXPIRING, buckets, limit)]


async def expire(db: Db, bucket: Bucket, operation: UUID) -> bool:
    """From accepted to expired; False when it isn't accepted."""
    if await db.fetchval(_EXPIRE, bucket, operation) is None:
        return False
    await dependents.follow(db, bucket, operation, State.EXPIRED, "worker")
    return True


async def clear_head(db: Db, bucket: Bucket, eid: Eid) -> None:
    """Take the head away when its operation is in doubt: something else goes out next."""
    await db.execute(_DEMOTE, bucket, eid)
    await db.execute(_CLEAR, bucket, eid)


async def postpone(db: Db, bucket: Bucket, eid: Eid, delay: float) -> None:
    """What is accepted for this eUICC is due again after `delay` seconds."""
    await db.execute(_POSTPONE, bucket, eid, delay)
