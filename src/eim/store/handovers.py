"""Hand-overs between eIMs: tables `handovers`, one row a decision, and `handover_cards`, one row a card of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.handover import Direction, Proof, Stage, Terms
from eim.domain.ids import Bucket, Eid, TenantId
from eim.domain.step import Compact
from eim.store import Db, announcements

_INSERT: Final = """
    INSERT INTO handovers (id, tenant, direction, eim_id, configuration, proof, delete_other, size, reason, ordered_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
# Cards of the tenant that are here, and not under way elsewhere already.
_ADD: Final = """
    INSERT INTO handover_cards (bucket, eid, handover, tenant, stage)
    SELECT e.bucket, e.eid, $3, e.tenant, $4
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN euiccs e ON e.bucket = u.bucket AND e.eid = u.eid
     WHERE e.tenant = $5 AND e.handed_over_at IS NULL
       AND NOT EXISTS (SELECT 1 FROM handover_cards h
                        WHERE h.bucket = e.bucket AND h.eid = e.eid AND h.stage NOT IN ('done', 'failed', 'undone'))
 RETURNING eid
"""
_LISTED: Final = """
    SELECT id, direction, eim_id, proof, delete_other, size, reason, ordered_by, created_at, aborted_at
      FROM handovers WHERE tenant = $1 ORDER BY created_at DESC LIMIT $2
"""
_READ: Final = """
    SELECT id, direction, eim_id, proof, delete_other, size, reason, ordered_by, created_at, aborted_at
      FROM handovers WHERE tenant = $1 AND id = $2
"""
_STAGES: Final = "SELECT stage, count(*) AS many FROM handover_cards WHERE tenant = $1 AND handover = $2 GROUP BY stage"
_CARDS: Final = """
    SELECT eid, stage, operation, reason, confirmed_at, changed_at FROM handover_cards
     WHERE tenant = $1 AND handover = $2 AND ($3::text IS NULL OR stage = $3)
     ORDER BY bucket, eid LIMIT $4
"""
_CONFIRM: Final = """
    UPDATE handover_cards h SET confirmed_at = now(), changed_at = now()
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
     WHERE h.bucket = u.bucket AND h.eid = u.eid AND h.handover = $3 AND h.tenant = $4 AND h.confirmed_at IS NULL
"""
_UNCONFIRMED: Final = """
    SELECT bucket, eid FROM handover_cards
     WHERE tenant = $1 AND handover = $2 AND confirmed_at IS NULL AND stage NOT IN ('done', 'failed', 'undone')
     ORDER BY bucket, eid
"""
_ABORT: Final = "UPDATE handovers SET aborted_at = coalesce(aborted_at, now()) WHERE tenant = $1 AND id = $2"
_DUE: Final = """
    SELECT h.bucket, h.eid, h.handover
      FROM handover_cards h
      JOIN handovers b ON b.id = h.handover
      LEFT JOIN operations o ON o.bucket = h.bucket AND o.id = h.operation
     WHERE h.bucket = ANY ($1::smallint[]) AND h.stage NOT IN ('done', 'failed', 'undone')
       AND (h.stage = 'waiting' AND (h.confirmed_at IS NOT NULL OR b.aborted_at IS NOT NULL)
            OR h.stage <> 'waiting' AND h.operation IS NULL
            OR o.state IN ('done', 'failed', 'withdrawn', 'expired'))
     LIMIT $2
"""
_CARD: Final = """
    SELECT h.stage, h.confirmed_at IS NOT NULL AS confirmed, h.operation, o.state, o.outcome ->> 'reason' AS reason,
           b.direction, b.eim_id, b.configuration, b.proof, b.delete_other, b.aborted_at IS NOT NULL AS aborted
      FROM handover_cards h
      JOIN handovers b ON b.id = h.handover
      LEFT JOIN operations o ON o.bucket = h.bucket AND o.id = h.operation
     WHERE h.bucket = $1 AND h.eid = $2 AND h.handover = $3
"""
_MOVE: Final = """
    UPDATE handover_cards SET stage = $4, operation = $5, reason = $6, changed_at = now()
     WHERE bucket = $1 AND eid = $2 AND handover = $3
"""
_ORDINAL: Final = """
    UPDATE euiccs SET ordinals = 1 + greatest(ordinals, (SELECT max(o.ordinal) FROM operations o
                                                          WHERE o.bucket = $1 AND o.eid = $2))
     WHERE bucket = $1 AND eid = $2 RETURNING ordinals
"""
_PLACE: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, iccid, rollback, details, priority,
                            ordered_by)
    SELECT $1, $2, $3, e.tenant, e.identity, $4, $5, $6, $7, $8, $9, $10
      FROM euiccs e WHERE e.bucket = $1 AND e.eid = $3
"""
_HANDED_OVER: Final = "UPDATE euiccs SET handed_over_at = now() WHERE bucket = $1 AND eid = $2"


class Handover(msgspec.Struct, frozen=True):
    """One decision."""

    id: UUID
    direction: Direction
    eim_id: str
    proof: Proof
    delete_other: bool
    size: int
    reason: str
    ordered_by: str
    created_at: datetime
    aborted_at: datetime | None


class Card(msgspec.Struct, frozen=True):
    """How one card stands."""

    eid: Eid
    stage: Stage
    operation: UUID | None
    reason: str | None
    confirmed_at: datetime | None
    changed_at: datetime


class Due(msgspec.Struct, frozen=True, order=True):
    bucket: Bucket
    eid: Eid
    handover: UUID


class Standing(msgspec.Struct, frozen=True):
    """A card as the worker finds it: its stage, and how the operation of that stage ended."""

    terms: Terms
    stage: Stage
    confirmed: bool
    operation: UUID | None
    state: str | None
    reason: str | None


async def insert(db: Db, tenant: TenantId, new: Handover, configuration: bytes | None) -> None:
    values = (new.direction.value, new.eim_id, configuration, new.proof.value, new.delete_other)
    await db.execute(_INSERT, new.id, tenant, *values, new.size, new.reason, new.ordered_by)


async def add(db: Db, tenant: TenantId, handover: UUID, stage: Stage, at: Sequence[tuple[Bucket, Eid]]) -> set[Eid]:
    """Add cards; those that could be: the tenant's, still ours, and in no other hand-over."""
    columns = [bucket for bucket, _ in at], [eid for _, eid in at]
    return {Eid(row["eid"]) for row in await db.fetch(_ADD, *columns, handover, stage.value, tenant)}


async def listed(db: Db, tenant: TenantId, limit: int) -> tuple[Handover, ...]:
    """Newest first."""
    return tuple(msgspec.convert(dict(row), Handover) for row in await db.fetch(_LISTED, tenant, limit))


async def read(db: Db, tenant: TenantId, handover: UUID) -> Handover | None:
    row = await db.fetchrow(_READ, tenant, handover)
    return msgspec.convert(dict(row), Handover) if row else None


async def stages(db: Db, tenant: TenantId, handover: UUID) -> Mapping[Stage, int]:
    """How many of its cards are where."""
    return {Stage(row["stage"]): row["many"] for row in await db.fetch(_STAGES, tenant, handover)}


async def cards(db: Db, tenant: TenantId, handover: UUID, stage: Stage | None, limit: int) -> tuple[Card, ...]:
    rows = await db.fetch(_CARDS, tenant, handover, stage.value if stage else None, limit)
    return tuple(msgspec.convert(dict(row), Card) for row in rows)


async def unconfirmed(db: Db, tenant: TenantId, handover: UUID) -> list[tuple[Bucket, Eid]]:
    """The open cards of it that nobody has confirmed."""
    return [(Bucket(r["bucket"]), Eid(r["eid"])) for r in await db.fetch(_UNCONFIRMED, tenant, handover)]


async def confirm(db: Db, tenant: TenantId, handover: UUID, at: Sequence[tuple[Bucket, Eid]]) -> None:
    """Somebody saw these cards call the other eIM."""
    await db.execute(_CONFIRM, [bucket for bucket, _ in at], [eid for _, eid in at], handover, tenant)


async def abort(db: Db, tenant: TenantId, handover: UUID) -> None:
    await db.execute(_ABORT, tenant, handover)


async def due(db: Db, buckets: Sequence[Bucket], limit: int) -> list[Due]:
    """The cards that can go on: what their stage asked has ended."""
    return [msgspec.convert(dict(row), Due) for row in await db.fetch(_DUE, buckets, limit)]


async def standing(db: Db, at: Due) -> Standing | None:
    """Lock the eUICC before."""
    row = await db.fetchrow(_CARD, at.bucket, at.eid, at.handover)
    return _standing(row) if row else None


async def go(db: Db, at: Due, stage: Stage, operation: UUID | None, reason: str | None) -> None:
    await db.execute(_MOVE, at.bucket, at.eid, at.handover, stage.value, operation, reason)


async def place(db: Db, at: Due, operation: UUID, what: Compact, terms: tuple[int, str]) -> None:
    """The operation of a stage; terms are its priority and who orders it."""
    ordinal = await db.fetchval(_ORDINAL, at.bucket, at.eid)
    columns = (what.kind.value, what.iccid, what.rollback, what.details)
    await db.execute(_PLACE, at.bucket, operation, at.eid, ordinal, *columns, *terms)
    await announcements.announce(db, [at.bucket])


async def handed_over(db: Db, at: Due) -> None:
    """Another eIM has the card: its row stays, and no work goes out."""
    await db.execute(_HANDED_OVER, at.bucket, at.eid)


def _standing(row: Row) -> Standing:
    terms = Terms(
        Direction(row["direction"]),
        row["eim_id"],
        row["configuration"],
        Proof(row["proof"]),
        row["delete_other"],
        row["aborted"],
    )
    return Standing(terms, Stage(row["stage"]), row["confirmed"], row["operation"], row["state"], row["reason"])
