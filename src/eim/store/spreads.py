"""Orders for very many cards: table `spreads`, how far each is in each bucket, and the statements that place a chunk.

A chunk is cards of one bucket in the order of their EIDs, locked by the first statement; the second one, which so sees
what was committed before it had the locks, judges them together and places what is asked of those that need no closer
look. The others it names: the service judges them one by one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket, Eid, TenantId
from eim.domain.operation import Kind
from eim.domain.step import Compact
from eim.store import Db
from eim.store.operations import Terms

_PARTS: Final = 20  # bits of an ordinal below the part that was drawn
DRAWN: Final = 1 << _PARTS  # the least ordinal that was drawn, not counted

_COUNT: Final = "SELECT bucket, count(*) AS many FROM euiccs WHERE tenant = $1 GROUP BY bucket"
_COUNT_TAGGED: Final = "SELECT bucket, count(*) AS many FROM euicc_tags WHERE tenant = $1 AND tag = $2 GROUP BY bucket"
_INSERT: Final = """
    INSERT INTO spreads (bucket, order_id, tenant, cards)
    SELECT u.bucket, $1, $2, u.cards FROM unnest($3::smallint[], $4::integer[]) AS u (bucket, cards)
"""
_OF_ORDER: Final = """
    SELECT bucket, cards, reached, looked_at, placed, refused, problems, done_at IS NOT NULL AS done
      FROM spreads WHERE tenant = $1 AND order_id = $2 ORDER BY bucket
"""
_UNFINISHED: Final = """
    SELECT id, tenant, kind, ordered_by, asked, stopped_at IS NOT NULL AS stopped FROM orders
     WHERE asked IS NOT NULL AND spread_at IS NULL
     ORDER BY (asked ->> 'priority')::integer, created_at, id
"""
_OPEN: Final = """
    SELECT s.bucket, s.cards, s.reached, s.looked_at, s.placed, s.refused, s.problems, false AS done
      FROM spreads s WHERE s.order_id = $1 AND s.bucket = ANY ($2::smallint[]) AND s.done_at IS NULL
     ORDER BY s.bucket LIMIT $3
"""
_ANY_OPEN: Final = """
    SELECT EXISTS (SELECT 1 FROM spreads WHERE order_id = $1 AND tenant = $2 AND done_at IS NULL)
"""
# Planning for the values of each bucket would cost more than placing what is in it.
_PLAN_ONCE: Final = "SET LOCAL plan_cache_mode = force_generic_plan"
_LOCK: Final = """
    SELECT e.eid FROM euiccs e WHERE e.bucket = $1 AND e.tenant = $2 AND e.eid > $3
     ORDER BY e.eid LIMIT $4 FOR NO KEY UPDATE OF e
"""
_LOCK_TAGGED: Final = """
    WITH meant AS MATERIALIZED (
        SELECT t.eid FROM euicc_tags t
         WHERE t.bucket = $1 AND t.tenant = $2 AND t.tag = $5 AND t.eid > $3 ORDER BY t.eid LIMIT $4
    )
    SELECT e.eid FROM meant m JOIN euiccs e ON e.bucket = $1 AND e.eid = m.eid
     WHERE e.bucket = $1 ORDER BY e.eid FOR NO KEY UPDATE OF e
"""
_ZONES: Final = """
    SELECT DISTINCT time_zone FROM euiccs WHERE bucket = $1 AND eid = ANY ($2::bytea[]) AND time_zone IS NOT NULL
"""
_DRAW: Final = "SELECT nextval('operation_ordinals')"
# The id is domain.ids.derive_operation_id, of position 0 and the part.
_PLACE: Final = """
    WITH judged AS MATERIALIZED (
        SELECT e.eid, e.identity, z.opens_at, z.closes_at,
               (e.speaks IS NULL OR e.speaks = ANY ($16::text[])) AND (NOT $17 OR z.zone IS NOT NULL) AS fits
          FROM unnest($13::bytea[]) AS u (eid)
          JOIN euiccs e ON e.bucket = $1 AND e.eid = u.eid
          LEFT JOIN unnest($18::text[], $19::timestamptz[], $20::timestamptz[]) AS z (zone, opens_at, closes_at)
            ON z.zone = e.time_zone
    ), placed AS (
        INSERT INTO operations (bucket, id, eid, tenant, identity, order_id, ordinal, kind, iccid, rollback, details,
                                priority, not_before, expires_at, ordered_by, after_event, opening, retries, held,
                                closes_at)
        SELECT $1, encode(set_byte(set_byte(d.id, 6, get_byte(d.id, 6) & 15 | 128), 8, get_byte(d.id, 8) & 63 | 128),
                          'hex')::uuid,
               j.eid, $2, j.identity, $3, $14::bigint + p.part, p.kind, p.iccid, p.rollback, p.details,
               $4, coalesce(j.opens_at, $5::timestamptz, now()), $6, $7, $8, $9, $10, $11,
               coalesce(j.closes_at, $12::timestamptz)
          FROM judged j
         CROSS JOIN unnest($21::text[], $22::bytea[], $23::boolean[], $24::jsonb[])
          WITH ORDINALITY AS p (kind, iccid, rollback, details, part)
         CROSS JOIN LATERAL (SELECT int2send($1) || substr(sha256($15::bytea || int8send((p.part - 1) << 32) || j.eid),
                                                           1, 14)) AS d (id)
         WHERE j.fits
    )
    SELECT eid FROM judged WHERE NOT fits
"""
# One step about one profile, of a card that has no change waiting; `fits` may miss cards that could be asked that too.
_PLACE_ONE: Final = """
    WITH judged AS MATERIALIZED (
        SELECT e.eid, e.identity, coalesce($22::bytea, p.iccid) AS iccid, z.opens_at, z.closes_at,
               (e.speaks IS NULL OR e.speaks = ANY ($16::text[])) AND (NOT $17 OR z.zone IS NOT NULL)
               AND ($22::bytea IS NOT NULL OR e.inventory_at IS NOT NULL AND p.found = 1)
               AND (NOT $24
                    OR CASE $21::text WHEN 'enable' THEN NOT p.stays
                                      WHEN 'disable' THEN e.inventory_at IS NOT NULL AND NOT p.enabled
                                      ELSE NOT p.enabled AND NOT p.kept END
                       AND NOT EXISTS (
                           SELECT 1 FROM operations o
                            WHERE o.bucket = $1 AND o.eid = e.eid AND o.state = 'accepted'
                              AND o.kind NOT IN ('listProfileInfo', 'getRAT', 'listEim', 'ipaEuiccDataRequest'))
                       AND NOT EXISTS (
                           SELECT 1 FROM operations o
                            WHERE o.bucket = $1 AND o.eid = e.eid AND o.state IN ('sealed', 'out', 'in_doubt')
                              AND o.kind NOT IN ('listProfileInfo', 'getRAT', 'listEim', 'ipaEuiccDataRequest')))
               AS fits
          FROM unnest($13::bytea[]) AS u (eid)
          JOIN euiccs e ON e.bucket = $1 AND e.eid = u.eid
          LEFT JOIN unnest($18::text[], $19::timestamptz[], $20::timestamptz[]) AS z (zone, opens_at, closes_at)
            ON z.zone = e.time_zone
         CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE meant) AS found, (array_agg(q.iccid) FILTER (WHERE meant))[1] AS iccid,
                    coalesce(bool_or(meant AND q.state = 'enabled'), false) AS enabled,
                    coalesce(bool_or(meant AND (q.fallback OR q.fallback_allowed IS FALSE
                                                OR q.rules & 32 <> 0)), false) AS kept,
                    coalesce(bool_or(q.state = 'enabled' AND q.rules & 64 <> 0), false) AS stays
               FROM (SELECT r.iccid, r.state, r.fallback, r.fallback_allowed,
                            CASE WHEN octet_length(r.ppr) > 1 THEN get_byte(r.ppr, 1) END AS rules,
                            coalesce(r.iccid = $22, r.service_provider = $25::text, false) AS meant
                       FROM profiles r WHERE r.bucket = $1 AND r.eid = e.eid) AS q) AS p
    ), placed AS (
        INSERT INTO operations (bucket, id, eid, tenant, identity, order_id, ordinal, kind, iccid, rollback, priority,
                                not_before, expires_at, ordered_by, after_event, opening, retries, held, closes_at)
        SELECT $1, encode(set_byte(set_byte(d.id, 6, get_byte(d.id, 6) & 15 | 128), 8, get_byte(d.id, 8) & 63 | 128),
                          'hex')::uuid,
               j.eid, $2, j.identity, $3, $14::bigint + 1, $21, j.iccid, $23, $4,
               coalesce(j.opens_at, $5::timestamptz, now()), $6, $7, $8, $9, $10, $11,
               coalesce(j.closes_at, $12::timestamptz)
          FROM judged j
         CROSS JOIN LATERAL (SELECT int2send($1) || substr(sha256($15::bytea || int8send(0) || j.eid), 1, 14)) AS d (id)
         WHERE j.fits
    )
    SELECT eid FROM judged WHERE NOT fits
"""
# The last statement of a chunk: from the commit of a stop on nothing more is placed.
_GOES_ON: Final = "SELECT 1 FROM orders WHERE id = $1 AND stopped_at IS NULL FOR SHARE"
_SAVE: Final = """
    UPDATE spreads s SET reached = u.reached, looked_at = u.looked_at, placed = u.placed, refused = u.refused,
                         problems = u.problems, done_at = CASE WHEN u.done THEN now() END
      FROM unnest($2::smallint[], $3::bytea[], $4::integer[], $5::integer[], $6::jsonb[], $7::jsonb[], $8::boolean[])
        AS u (bucket, reached, looked_at, placed, refused, problems, done)
     WHERE s.bucket = u.bucket AND s.order_id = $1
"""
_FINISH: Final = """
    UPDATE orders SET spread_at = now() WHERE id = $1 AND spread_at IS NULL RETURNING stopped_at IS NOT NULL AS stopped
"""


class Order(msgspec.Struct, frozen=True):
    """A bulk order that has not reached all of its cards."""

    id: UUID
    tenant: TenantId
    kind: Kind
    ordered_by: str
    asked: object  # JSON values of services.ordering.Ordering
    stopped: bool


class Refusal(msgspec.Struct, frozen=True):
    """A card that can't be asked that."""

    eid: str  # 32 digits
    code: str
    text: str


class Job(msgspec.Struct, frozen=True):
    """How far an order is in one bucket."""

    bucket: Bucket
    cards: int  # that were meant when it was placed
    reached: Eid = Eid(b"")  # the last one that was looked at
    looked_at: int = 0
    placed: int = 0
    refused: Mapping[str, int] = {}  # by the reason's code
    problems: tuple[Refusal, ...] = ()  # the first ones
    done: bool = False


class Zone(msgspec.Struct, frozen=True):
    """The window of the cards of one time zone."""

    name: str
    opens_at: datetime
    closes_at: datetime


class Common(msgspec.Struct, frozen=True):
    """What is the same for all cards of a chunk."""

    terms: Terms
    tenant: TenantId
    speaks: tuple[str, ...]  # the versions that have all of it
    held: str | None = None
    opens_at: datetime | None = None  # of a window that is the same for all
    closes_at: datetime | None = None
    zones: tuple[Zone, ...] | None = None  # None: they don't matter


class One(msgspec.Struct, frozen=True):
    """A step about one profile: of this ICCID, or else of the one profile of this service provider."""

    what: Compact
    provider: str | None
    guarded: bool


async def count(db: Db, tenant: TenantId, tag: str | None) -> dict[Bucket, int]:
    """How many eUICCs the tenant has in each bucket, or how many with `tag`."""
    rows = await db.fetch(_COUNT, tenant) if tag is None else await db.fetch(_COUNT_TAGGED, tenant, tag)
    return {Bucket(row["bucket"]): row["many"] for row in rows}


async def insert(db: Db, tenant: TenantId, order: UUID, cards: Mapping[Bucket, int]) -> None:
    """Nothing is placed yet in these buckets."""
    ordered = sorted(cards.items())
    await db.execute(_INSERT, order, tenant, [bucket for bucket, _ in ordered], [many for _, many in ordered])


async def of_order(db: Db, tenant: TenantId, order: UUID) -> tuple[Job, ...]:
    """How far an order is, bucket by bucket; empty for one that was placed at once."""
    return tuple(_job(row) for row in await db.fetch(_OF_ORDER, tenant, order))


async def unfinished(db: Db) -> tuple[Order, ...]:
    """The orders to go on with: by priority, and within one in the order they were placed."""
    return tuple(
        Order(r["id"], TenantId(r["tenant"]), Kind(r["kind"]), r["ordered_by"], r["asked"], r["stopped"])
        for r in await db.fetch(_UNFINISHED)
    )


async def open_jobs(db: Db, order: UUID, buckets: Sequence[Bucket], limit: int) -> tuple[Job, ...]:
    """Where there is something left to do, of these buckets. Read them again once their leases are held."""
    return tuple(_job(row) for row in await db.fetch(_OPEN, order, buckets, limit))


async def is_open(db: Db, order: Order) -> bool:
    """Whether something is left to do in any bucket."""
    return bool(await db.fetchval(_ANY_OPEN, order.id, order.tenant))


async def plan_once(db: Db) -> None:
    """The statements of this transaction are planned once for all values: before the first of them."""
    await db.execute(_PLAN_ONCE)


async def lock(db: Db, tenant: TenantId, job: Job, tag: str | None, limit: int) -> list[Eid]:
    """The next cards of a bucket, locked until the transaction ends."""
    place = (job.bucket, tenant, job.reached, limit)
    rows = await db.fetch(_LOCK, *place) if tag is None else await db.fetch(_LOCK_TAGGED, *place, tag)
    return [Eid(row["eid"]) for row in rows]


async def zones(db: Db, bucket: Bucket, eids: Sequence[Eid]) -> list[str]:
    """The time zones of these cards."""
    return [row["time_zone"] for row in await db.fetch(_ZONES, bucket, eids)]


async def draw(db: Db) -> int:
    """What the ordinals of a chunk begin behind: above those that its cards have. Lock the cards before."""
    return int(await db.fetchval(_DRAW)) << _PARTS


async def place(
    db: Db, common: Common, at: tuple[Bucket, Sequence[Eid]], ordinal: int, packages: Sequence[Compact]
) -> list[Eid]:
    """Ask these cards for the same packages; those that need a closer look are given back, and were asked nothing."""
    columns = (
        [package.kind.value for package in packages],
        [package.iccid for package in packages],
        [package.rollback for package in packages],
        [package.details for package in packages],
    )
    return [Eid(row["eid"]) for row in await db.fetch(_PLACE, *_common(common, at, ordinal), *columns)]


async def place_one(db: Db, common: Common, at: tuple[Bucket, Sequence[Eid]], ordinal: int, one: One) -> list[Eid]:
    """Ask these cards for a step about one profile; those that need a closer look are given back, as by `place`."""
    columns = (one.what.kind.value, one.what.iccid, one.what.rollback, one.guarded, one.provider)
    return [Eid(row["eid"]) for row in await db.fetch(_PLACE_ONE, *_common(common, at, ordinal), *columns)]


async def goes_on(db: Db, order: UUID) -> bool:
    """Whether the order was not stopped; from now until the transaction ends it can't be."""
    return await db.fetchval(_GOES_ON, order) is not None


async def save(db: Db, order: UUID, jobs: Sequence[Job]) -> None:
    """Write how far the order is in these buckets."""
    columns = (
        [job.bucket for job in jobs],
        [job.reached for job in jobs],
        [job.looked_at for job in jobs],
        [job.placed for job in jobs],
        [dict(job.refused) for job in jobs],
        [job.problems for job in jobs],
        [job.done for job in jobs],
    )
    await db.execute(_SAVE, order, *columns)


async def finish(db: Db, order: UUID) -> bool:
    """It is over; False when somebody said so before."""
    return await db.fetchval(_FINISH, order) is not None


def _common(common: Common, at: tuple[Bucket, Sequence[Eid]], ordinal: int) -> tuple[object, ...]:
    """Parameters 1 to 20."""
    terms, (bucket, eids), found = common.terms, at, common.zones or ()
    order = terms.order_id
    return (
        *(bucket, common.tenant, order, terms.priority, common.opens_at or terms.not_before, terms.expires_at),
        *(terms.ordered_by, terms.after_event, terms.opening, terms.retries, common.held, common.closes_at),
        *(eids, ordinal, order.bytes if order is not None else b"", list(common.speaks), common.zones is not None),
        *([z.name for z in found], [z.opens_at for z in found], [z.closes_at for z in found]),
    )


def _job(row: Row) -> Job:
    return Job(
        Bucket(row["bucket"]),
        row["cards"],
        Eid(row["reached"]),
        row["looked_at"],
        row["placed"],
        row["refused"],
        msgspec.convert(row["problems"], tuple[Refusal, ...]),
        row["done"],
    )
