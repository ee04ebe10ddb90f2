"""Orders for very many cards: table `spreads`, how far each is in each bucket, and the statements that place a chunk.

A chunk is cards of some buckets, in the order of their EIDs. `place_bulk` (migrations/0095) locks those of a bucket,
judges them together by what was committed when it had the locks, and places what is asked of those that need no closer
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
# The first of them that have so many cards left.
_NEXT: Final = """
    SELECT n.bucket
      FROM (SELECT o.bucket, sum(o.remaining) OVER (ORDER BY o.bucket) - o.remaining AS before
              FROM (SELECT s.bucket, greatest(s.cards - s.looked_at, 0) AS remaining
                      FROM spreads s
                     WHERE s.order_id = $1 AND s.done_at IS NULL
                       AND ($2::smallint[] IS NULL OR s.bucket = ANY ($2))
                     ORDER BY s.bucket LIMIT $3) AS o) AS n
     WHERE n.before < $4 ORDER BY n.bucket
"""
_OPEN: Final = """
    SELECT s.bucket, s.cards, s.reached, s.looked_at, s.placed, s.refused, s.problems, false AS done
      FROM spreads s WHERE s.order_id = $1 AND s.bucket = ANY ($2::smallint[]) AND s.done_at IS NULL
     ORDER BY s.bucket
"""
_ANY_OPEN: Final = """
    SELECT EXISTS (SELECT 1 FROM spreads WHERE order_id = $1 AND tenant = $2 AND done_at IS NULL)
"""
# Planning for the values of each bucket would cost more than placing what is in it.
_PLAN_ONCE: Final = "SET LOCAL plan_cache_mode = force_generic_plan"
_ZONES: Final = """
    SELECT DISTINCT e.time_zone FROM euiccs e
     WHERE e.bucket = ANY ($1::smallint[]) AND e.tenant = $2 AND e.time_zone IS NOT NULL
"""
_ZONES_TAGGED: Final = """
    SELECT DISTINCT e.time_zone FROM unnest($1::smallint[]) AS u (bucket)
      JOIN euicc_tags t ON t.bucket = u.bucket AND t.tenant = $2 AND t.tag = $3
      JOIN euiccs e ON e.bucket = t.bucket AND e.eid = t.eid
     WHERE e.time_zone IS NOT NULL
"""
_DRAW: Final = "SELECT nextval('operation_ordinals')"
_PLACE: Final = """
    SELECT p.of_bucket, p.looked_at, p.reached, p.is_last, p.placed, p.rest
      FROM place_bulk($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                      $22, $23, $24, $25, $26) AS p
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
    """What is the same for all cards."""

    terms: Terms
    tenant: TenantId
    order: UUID
    tag: str | None  # None: all of the tenant's cards are meant
    speaks: tuple[str, ...] = ()  # the versions that have all of it
    packages: tuple[Compact, ...] = ()  # none: every card needs a closer look
    seeds: tuple[bytes, ...] = ()  # of each package: domain.ids.operation_seed
    judged: Kind | None = None  # the one step, about one profile, where guards have to look at what a card holds
    provider: str | None = None  # whose one profile is meant, where no ICCID names it
    held: str | None = None
    opens_at: datetime | None = None  # of a window that is the same for all
    closes_at: datetime | None = None
    zones: tuple[Zone, ...] | None = None  # None: they don't matter


class Placed(msgspec.Struct, frozen=True):
    """What became of the next cards of a bucket."""

    looked_at: int  # cards
    reached: Eid
    is_last: bool  # no card of the bucket comes behind them
    placed: int  # operations
    rest: tuple[Eid, ...]  # locked, asked nothing: each needs a closer look


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


async def next_buckets(db: Db, order: UUID, buckets: Sequence[Bucket] | None, most: int, cards: int) -> list[Bucket]:
    """The first of these (None: of all) with something left to do: at most `most`, no more than have `cards` left."""
    return [Bucket(row["bucket"]) for row in await db.fetch(_NEXT, order, buckets, most, cards)]


async def open_jobs(db: Db, order: UUID, buckets: Sequence[Bucket]) -> tuple[Job, ...]:
    """How far it is where something is left to do, of these buckets. Hold their leases before."""
    return tuple(_job(row) for row in await db.fetch(_OPEN, order, buckets))


async def is_open(db: Db, order: Order) -> bool:
    """Whether something is left to do in any bucket."""
    return bool(await db.fetchval(_ANY_OPEN, order.id, order.tenant))


async def plan_once(db: Db) -> None:
    """The statements of this transaction are planned once for all values: before the first of them."""
    await db.execute(_PLAN_ONCE)


async def zones(db: Db, tenant: TenantId, tag: str | None, buckets: Sequence[Bucket]) -> list[str]:
    """The time zones of the cards that are meant in these buckets."""
    place = (buckets, tenant)
    rows = await db.fetch(_ZONES, *place) if tag is None else await db.fetch(_ZONES_TAGGED, *place, tag)
    return [row["time_zone"] for row in rows]


async def draw(db: Db) -> int:
    """What the ordinals of a chunk begin behind: above those that its cards have. Lock the cards before."""
    return int(await db.fetchval(_DRAW)) << _PARTS


async def place(db: Db, common: Common, jobs: Sequence[Job], limit: int) -> list[Placed]:
    """Lock the next cards of each bucket, up to `limit` of one, and ask those that need no closer look."""
    buckets, reached = [job.bucket for job in jobs], [job.reached for job in jobs]
    rows = await db.fetch(_PLACE, buckets, reached, limit, *_terms(common), *_packages(common))
    return [_placed(row) for row in rows]


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


def _terms(common: Common) -> tuple[object, ...]:
    """Parameters 4 to 19."""
    terms, zones = common.terms, common.zones
    return (
        *(common.tenant, common.tag, common.order, terms.ordered_by, terms.priority),
        *(common.opens_at or terms.not_before, terms.expires_at, terms.after_event, terms.opening, terms.retries),
        *(common.held, common.closes_at, common.speaks),
        None if zones is None else [zone.name for zone in zones],
        *([zone.opens_at for zone in zones or ()], [zone.closes_at for zone in zones or ()]),
    )


def _packages(common: Common) -> tuple[object, ...]:
    """Parameters 20 to 26."""
    packages = common.packages
    return (
        [package.kind.value for package in packages],
        [package.iccid for package in packages],
        [package.rollback for package in packages],
        [package.details for package in packages],
        common.seeds,
        common.judged.value if common.judged else None,
        common.provider,
    )


def _placed(row: Row) -> Placed:
    return Placed(
        row["looked_at"], Eid(row["reached"]), row["is_last"], row["placed"], tuple(sorted(map(Eid, row["rest"])))
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
