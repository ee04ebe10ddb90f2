"""The octets that wait for each eUICC, or are out with it: table `mailbox`, one row an eUICC (design 3.2)."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from eim.domain import denial
from eim.domain.ids import Bucket, Eid
from eim.errors import Contended
from eim.store import Db
from eim.store.drawing import draw
from eim.store.packages import Sealed

# `due`: work exists that a worker can seal now, so a poll waits for it a moment instead of hearing "nothing".
# `stuck`: the head was never handed out and may not go out now, and something sealed behind it may.
_LOOK: Final = """
    SELECT e.speaks, e.plmn, m.handed_at IS NOT NULL AS out, m.barred,
           coalesce(e.traced_until > now() AND e.trace_left > 0, false) AS traced,
           m.sealed IS NOT NULL AND m.not_before <= now() AND (m.closes_at IS NULL OR m.closes_at > now()) AND g.open
               AS ready,
           EXISTS (SELECT 1 FROM requests r
                    WHERE r.bucket = $1 AND r.eid = $2 AND r.not_before <= now()) AS asked,
           EXISTS (SELECT 1 FROM operations h
                    WHERE h.bucket = $1 AND h.eid = $2 AND h.state = 'accepted' AND h.held = 'contact') AS awaited,
           m.handed_at IS NULL
               AND NOT (m.not_before <= now() AND (m.closes_at IS NULL OR m.closes_at > now()) AND g.open)
               AND EXISTS (SELECT 1 FROM packages w JOIN gates wg ON wg.id = w.gate
                            WHERE w.bucket = $1 AND w.eid = $2 AND w.queued AND w.state = 'waiting' AND wg.open
                              AND w.not_before <= now() AND (w.closes_at IS NULL OR w.closes_at > now())) AS stuck,
           EXISTS (SELECT 1 FROM operations o JOIN gates og ON og.id = o.gate
                    WHERE o.bucket = $1 AND o.eid = $2 AND o.state = 'accepted' AND o.not_before <= now() AND og.open
                      AND o.held IS NULL AND (o.closes_at IS NULL OR o.closes_at > now())
                      AND NOT EXISTS (SELECT 1 FROM operations b
                                       WHERE b.bucket = $1 AND b.eid = $2 AND b.state = 'accepted' AND b.attempts > 0
                                         AND b.not_before > now()
                                         AND (b.priority, b.ordinal) < (o.priority, o.ordinal))
                      AND e.orphaned_at IS NULL
                      AND (o.kind = 'ipaEuiccDataRequest' OR e.introduced_at IS NOT NULL AND e.stalled IS NULL)) AS due
      FROM euiccs e
      JOIN mailbox m ON m.bucket = e.bucket AND m.eid = e.eid
      JOIN gates g ON g.id = m.gate
     WHERE e.bucket = $1 AND e.eid = $2
"""

_READY: Final = """
    SELECT m.bucket, m.eid
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN mailbox m ON m.bucket = u.bucket AND m.eid = u.eid
      JOIN gates g ON g.id = m.gate
     WHERE m.sealed IS NOT NULL AND m.not_before <= now() AND (m.closes_at IS NULL OR m.closes_at > now()) AND g.open
       AND NOT m.barred
       AND NOT EXISTS (SELECT 1 FROM requests r
                        WHERE r.bucket = m.bucket AND r.eid = m.eid AND r.not_before <= now())
"""

# The same octets at every poll until they are resolved: a lost answer costs nothing, and who polls in between
# blocks nobody. The first delivery moves the operation and writes its audit record in the same statement. A take that
# waited for the head's row may see the operation as it was before it was sealed, hence 'accepted'. Nothing goes out to
# a barred eUICC; a denial bites here before a worker has barred whom it names.
_TAKE: Final = """
    WITH taken AS (
        UPDATE mailbox m
           SET handed_at = coalesce(m.handed_at, now()), deliveries = m.deliveries + 1,
               highest_handed = greatest(m.highest_handed, coalesce(m.counter, 0))
          FROM gates g
         WHERE m.bucket = $1 AND m.eid = $2 AND m.sealed IS NOT NULL AND m.not_before <= now() AND NOT m.barred
           AND (m.closes_at IS NULL OR m.closes_at > now()) AND g.id = m.gate AND g.open
           AND NOT EXISTS (SELECT 1 FROM denials d
                            WHERE d.tenant = m.tenant AND d.lifted_at IS NULL
                              AND (d.expires_at IS NULL OR d.expires_at > now())
                              AND (d.mark = ANY ($3::text[])
                                   OR d.mark = ANY (ARRAY(SELECT unnest(e.marks) FROM euiccs e
                                                           WHERE e.bucket = $1 AND e.eid = $2))))
     RETURNING m.tenant, m.operation, m.number, m.counter, m.sealed, m.deliveries
    ), moved AS (
        UPDATE operations o SET state = 'out', handed_at = now()
          FROM taken t
         WHERE o.bucket = $1 AND o.id = t.operation AND o.state IN ('accepted', 'sealed')
    ), audited AS (
        INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
        SELECT $1, $4::uuid, t.tenant, 'device', 'package.handed', t.operation::text,
               jsonb_build_object('number', t.number, 'counter', t.counter)
          FROM taken t
         WHERE t.deliveries = 1
    )
    SELECT operation, sealed, deliveries FROM taken
"""

# Nothing is handed out between looking and taking back.
_HOLD: Final = "SELECT 1 FROM mailbox WHERE bucket = $1 AND eid = $2 FOR UPDATE"
# What was never handed out may be unsealed; its counter is lost, gaps are harmless.
_KILL_WAITING: Final = """
    UPDATE packages SET state = 'dead', queued = false
     WHERE bucket = $1 AND eid = $2 AND queued AND state = 'waiting'
"""
_KILL_HEAD: Final = """
    UPDATE packages p SET state = 'dead'
      FROM mailbox m
     WHERE p.bucket = $1 AND p.eid = $2 AND m.bucket = $1 AND m.eid = $2 AND p.number = m.number
       AND p.state = 'head' AND m.handed_at IS NULL
"""
_REOPEN: Final = """
    UPDATE operations o SET state = 'accepted'
     WHERE o.bucket = $1 AND o.eid = $2 AND o.state = 'sealed'
       AND NOT EXISTS (SELECT 1 FROM mailbox m
                        WHERE m.bucket = $1 AND m.eid = $2 AND m.operation = o.id AND m.handed_at IS NOT NULL)
"""
_EMPTY: Final = """
    UPDATE mailbox
       SET number = NULL, operation = NULL, counter = NULL, sealed = NULL, handed_at = NULL, deliveries = 0
     WHERE bucket = $1 AND eid = $2 AND handed_at IS NULL
"""

# The same for whoever may not write the mailbox: what was sealed with an old token, key or version never goes out.
_TAKE_BACK: Final = "SELECT take_back_seals($1, $2)"

# One round trip: counting makes the head end before move_up looks, and a volatile function sees what its own statement
# has written. Were it otherwise, move_up would refuse: it never overwrites a head that has not ended.
_RESOLVE: Final = """
    WITH ended AS (
        UPDATE packages p SET state = 'ended'
          FROM mailbox m
         WHERE p.bucket = $1 AND p.eid = $2 AND m.bucket = $1 AND m.eid = $2 AND p.number = m.number
           AND p.state = 'head'
     RETURNING p.number
    )
    SELECT move_up($1, $2) FROM (SELECT count(*) FROM ended) AS done
"""

# Heads for eUICCs that have none and for whom nothing waits. Worker role only, as the next.
_PUT: Final = """
    UPDATE mailbox m
       SET number = u.number, operation = u.operation, counter = u.counter, sealed = u.sealed, gate = u.gate,
           not_before = u.not_before, closes_at = u.closes_at, handed_at = NULL, deliveries = 0
      FROM unnest($1::smallint[], $2::bytea[], $3::bigint[], $4::uuid[], $5::integer[], $6::bytea[], $7::integer[],
                  $8::timestamptz[], $9::timestamptz[])
        AS u (bucket, eid, number, operation, counter, sealed, gate, not_before, closes_at)
     WHERE m.bucket = u.bucket AND m.eid = u.eid AND m.sealed IS NULL
"""
# Heads for the eUICCs that have none: the lowest waiting number moves up.
_RAISE: Final = """
    WITH next AS (
        SELECT DISTINCT ON (p.bucket, p.eid) p.bucket, p.eid, p.number, p.operation, p.counter, p.sealed, p.gate,
               p.not_before, p.closes_at
          FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
          JOIN packages p ON p.bucket = u.bucket AND p.eid = u.eid AND p.queued AND p.state = 'waiting'
         ORDER BY p.bucket, p.eid, p.number
    ), raised AS (
        UPDATE mailbox m
           SET number = n.number, operation = n.operation, counter = n.counter, sealed = n.sealed, gate = n.gate,
               not_before = n.not_before, closes_at = n.closes_at, handed_at = NULL, deliveries = 0
          FROM next n
         WHERE m.bucket = n.bucket AND m.eid = n.eid AND m.sealed IS NULL
     RETURNING m.bucket, m.eid, m.number
    )
    UPDATE packages p SET state = 'head', queued = false
      FROM raised r
     WHERE p.bucket = r.bucket AND p.eid = r.eid AND p.number = r.number
"""


class Look(msgspec.Struct, frozen=True):
    """What a poll finds, before anything is handed out."""

    speaks: str | None
    plmn: bytes | None
    out: bool
    ready: bool
    asked: bool  # a worker was asked for something that may change what goes out next
    due: bool
    awaited: bool  # an operation waits for the card to call
    stuck: bool  # what waits behind the head may go out, and the head may not
    traced: bool  # an operator wants to see what it says and is told
    barred: bool = False  # nothing goes out to it


class Taken(msgspec.Struct, frozen=True):
    operation: UUID
    sealed: bytes  # one complete BF51, BF52 or BF54 TLV; the next take returns the same octets
    deliveries: int


async def look(db: Db, bucket: Bucket, eid: Eid) -> Look | None:
    """What waits for `eid`; None when nobody onboarded it. Writes nothing, one round trip."""
    row = await db.fetchrow(_LOOK, bucket, eid)
    if row is None:
        return None
    return msgspec.convert(dict(row), Look)


async def ready(db: Db, waiting: Sequence[tuple[Bucket, Eid]]) -> set[Eid]:
    """Those of `waiting` for whom something may go out now. One round trip for all."""
    rows = await db.fetch(_READY, [bucket for bucket, _ in waiting], [eid for _, eid in waiting])
    return {Eid(row["eid"]) for row in rows}


async def take(db: Db, bucket: Bucket, eid: Eid, deadline: float) -> Taken | None:
    """Hand out what waits for `eid`; None when nothing does. Commit before the octets leave. One round trip.

    deadline  seconds; a stop that is committed must not wait behind a slow hand-out (design 3.2)
    """
    (record,) = draw([bucket])
    row = await db.fetchrow(_TAKE, bucket, eid, denial.of_eid(eid), record, timeout=deadline)
    return Taken(row["operation"], row["sealed"], row["deliveries"]) if row else None


async def unseal_behind(db: Db, bucket: Bucket, eid: Eid) -> None:
    """Take back what waits behind the head; it is accepted again. Lock the eUICC before."""
    await db.execute(_HOLD, bucket, eid)
    await db.execute(_KILL_WAITING, bucket, eid)
    await db.execute(_KILL_HEAD, bucket, eid)
    await db.execute(_REOPEN, bucket, eid)


async def unseal(db: Db, bucket: Bucket, eid: Eid) -> None:
    """Take back every seal that was never handed out; its operations are accepted again. Lock the eUICC before."""
    await db.execute(_HOLD, bucket, eid)
    await db.execute(_KILL_WAITING, bucket, eid)
    await db.execute(_KILL_HEAD, bucket, eid)
    await db.execute(_REOPEN, bucket, eid)
    await db.execute(_EMPTY, bucket, eid)


async def take_back_seals(db: Db, bucket: Bucket, eid: Eid) -> None:
    """Take back every seal that was never handed out, as any role that takes messages may. Lock the eUICC before."""
    await db.execute(_TAKE_BACK, bucket, eid)


async def resolve_head(db: Db, bucket: Bucket, eid: Eid) -> None:
    """The head is answered: it ends, and the next waiting package moves up in the same transaction."""
    await db.execute(_RESOLVE, bucket, eid)


async def put_heads(db: Db, heads: Sequence[Sealed]) -> None:
    """Put these packages, in the order of their eUICCs, into free mailboxes. Raises Contended when one is not free."""
    done = await db.execute(
        _PUT,
        [h.bucket for h in heads],
        [h.eid for h in heads],
        [h.number for h in heads],
        [h.operation for h in heads],
        [h.counter for h in heads],
        [h.octets for h in heads],
        [h.gate for h in heads],
        [h.not_before for h in heads],
        [h.closes_at for h in heads],
    )
    if int(done.rpartition(" ")[2]) != len(heads):
        raise Contended("a mailbox filled while a package was sealed for it: look again")


async def raise_heads(db: Db, eids: Sequence[tuple[Bucket, Eid]]) -> None:
    """Give each eUICC without a head its lowest waiting package. One statement for all."""
    await db.execute(_RAISE, [bucket for bucket, _ in eids], [eid for _, eid in eids])
