"""Orders that are taken back as a whole: what is left of them to withdraw, found and withdrawn by the worker."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db

_UNFINISHED: Final = """
    SELECT id, tenant, withdrawn_by FROM orders
     WHERE withdrawn_at IS NOT NULL AND recalled_at IS NULL AND (asked IS NULL OR spread_at IS NOT NULL)
     ORDER BY withdrawn_at, id
"""
_NEXT: Final = """
    SELECT bucket, id FROM operations
     WHERE order_id = $1 AND bucket = ANY ($2::smallint[])
       AND state IN ('accepted', 'sealed', 'out', 'in_doubt') AND doubt IS DISTINCT FROM 'withdrawn'
     ORDER BY bucket, id LIMIT $3
"""
_IS_LEFT: Final = """
    SELECT EXISTS (SELECT 1 FROM operations
                    WHERE tenant = $2 AND order_id = $1
                      AND state IN ('accepted', 'sealed', 'out', 'in_doubt') AND doubt IS DISTINCT FROM 'withdrawn')
"""
_TAKE_BACK: Final = "SELECT take_back($1, u.eid) FROM unnest($2::bytea[]) AS u (eid)"
# What another operation comes after is withdrawn by itself, with all that follows from that.
_WITHDRAW: Final = """
    UPDATE operations o SET state = 'withdrawn', ended_at = now(), outcome = $4
     WHERE o.bucket = $1 AND o.id = ANY ($2::uuid[]) AND o.tenant = $3 AND o.state = 'accepted'
       AND NOT EXISTS (SELECT 1 FROM operations b WHERE b.bucket = $1 AND b.after = o.id)
 RETURNING o.id
"""
_FINISH: Final = "UPDATE orders SET recalled_at = now() WHERE id = $1 AND recalled_at IS NULL RETURNING id"


class Recall(msgspec.Struct, frozen=True):
    """An order of which something may be left to withdraw."""

    order: UUID
    tenant: TenantId
    by: str  # who said so


class Left(msgspec.Struct, frozen=True):
    bucket: Bucket
    id: UUID


async def unfinished(db: Db) -> tuple[Recall, ...]:
    """Those to go on with, the first one said first; none that is still being placed."""
    rows = await db.fetch(_UNFINISHED)
    return tuple(Recall(r["id"], TenantId(r["tenant"]), r["withdrawn_by"]) for r in rows)


async def next_of(db: Db, recall: Recall, buckets: Sequence[Bucket], limit: int) -> list[Left]:
    """What is to be withdrawn next in these buckets, in bucket order."""
    return [Left(Bucket(r["bucket"]), r["id"]) for r in await db.fetch(_NEXT, recall.order, buckets, limit)]


async def is_left(db: Db, recall: Recall) -> bool:
    """Whether anything is to be withdrawn in any bucket."""
    return bool(await db.fetchval(_IS_LEFT, recall.order, recall.tenant))


async def take_back(db: Db, bucket: Bucket, eids: Sequence[Eid]) -> None:
    """Take back every seal of these that was never handed out. Lock them before."""
    await db.execute(_TAKE_BACK, bucket, eids)


async def withdraw(db: Db, tenant: TenantId, bucket: Bucket, ids: Sequence[UUID], actor: str) -> set[UUID]:
    """accepted -> withdrawn, where nothing comes after it; which these were."""
    rows = await db.fetch(_WITHDRAW, bucket, ids, tenant, {"reason": "withdrawn", "by": actor})
    return {row["id"] for row in rows}


async def finish(db: Db, order: UUID) -> bool:
    """It is over; False when somebody said so before."""
    return await db.fetchval(_FINISH, order) is not None
