"""The requests that placed operations: tables `orders` and, for the same request again, `requests_seen`."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import TenantId
from eim.domain.operation import Kind, State
from eim.store import Db

_INSERT: Final = "INSERT INTO orders (id, tenant, kind, size, ordered_by, asked) VALUES ($1, $2, $3, $4, $5, $6)"
_READ: Final = """
    SELECT id, kind, size, ordered_by, created_at, asked IS NOT NULL AS is_bulk, stopped_at, spread_at, withdrawn_at,
           recalled_at
      FROM orders WHERE id = $1 AND tenant = $2
"""
# Waits for the chunk that a worker is just placing.
_STOP: Final = """
    UPDATE orders SET stopped_at = now()
     WHERE id = $1 AND tenant = $2 AND asked IS NOT NULL AND spread_at IS NULL AND stopped_at IS NULL
 RETURNING id
"""
_PROGRESS: Final = """
    SELECT state, coalesce(outcome ->> 'reason', '') AS reason, count(*) AS many, min(not_before) AS oldest
      FROM operations WHERE tenant = $1 AND order_id = $2 GROUP BY 1, 2
"""
_WITHDRAW: Final = """
    UPDATE orders SET withdrawn_at = now(), withdrawn_by = $3
     WHERE id = $1 AND tenant = $2 AND withdrawn_at IS NULL
 RETURNING id
"""
# A second request with the key waits here until the first commits or rolls back.
_CLAIM: Final = """
    INSERT INTO requests_seen (tenant, key, control, request_hash) VALUES ($1, $2, $3, $4)
        ON CONFLICT (tenant, key) DO NOTHING
 RETURNING control
"""
_KNOWN: Final = "SELECT request_hash, answer FROM requests_seen WHERE tenant = $1 AND key = $2"
_REMEMBER: Final = "UPDATE requests_seen SET answer = $3 WHERE tenant = $1 AND key = $2"


class Placing(msgspec.Struct, frozen=True):
    """An order as it is placed."""

    id: UUID
    kind: Kind
    size: int  # operations
    ordered_by: str
    asked: object = None  # of a bulk order: JSON values of what it asks


class Order(msgspec.Struct, frozen=True):
    id: UUID
    kind: Kind
    size: int  # operations; 0 for a bulk order, whose are counted where they are placed
    ordered_by: str
    created_at: datetime
    is_bulk: bool = False
    stopped_at: datetime | None = None  # nothing more is placed since
    spread_at: datetime | None = None  # every card was reached, or it was stopped
    withdrawn_at: datetime | None = None  # what it placed is taken back since
    recalled_at: datetime | None = None  # all of it was


class Share(msgspec.Struct, frozen=True):
    """How many operations of an order stand in one state for one reason."""

    state: State
    reason: str  # of the outcome; '' while there is none
    many: int
    oldest: datetime  # the earliest not_before among them


class Repeat(msgspec.Struct, frozen=True):
    """How a request says that it may be the same again."""

    key: str
    request_hash: bytes  # SHA-256 of what was asked


class Answered(msgspec.Struct, frozen=True):
    """What was asked under a key, and the answer."""

    request_hash: bytes
    answer: object


async def insert(db: Db, tenant: TenantId, order: Placing) -> None:
    """Add the order itself; its operations carry its id."""
    await db.execute(_INSERT, order.id, tenant, order.kind.value, order.size, order.ordered_by, order.asked)


async def read(db: Db, tenant: TenantId, order: UUID) -> Order | None:
    row = await db.fetchrow(_READ, order, tenant)
    return msgspec.convert(dict(row), Order) if row else None


async def stop(db: Db, tenant: TenantId, order: UUID) -> bool:
    """Nothing more of a bulk order is placed once this commits; False when there was nothing to stop."""
    return await db.fetchval(_STOP, order, tenant) is not None


async def withdraw(db: Db, tenant: TenantId, order: UUID, actor: str) -> bool:
    """What it placed is taken back from now on; False when that was said before."""
    return await db.fetchval(_WITHDRAW, order, tenant, actor) is not None


async def progress(db: Db, tenant: TenantId, order: UUID) -> tuple[Share, ...]:
    """How its operations stand."""
    rows = await db.fetch(_PROGRESS, tenant, order)
    return tuple(Share(State(r["state"]), r["reason"], r["many"], r["oldest"]) for r in rows)


async def claim(db: Db, tenant: TenantId, repeat: Repeat, control: UUID) -> Answered | None:
    """Take the key for this transaction; what was answered before, when it is taken already."""
    if await db.fetchval(_CLAIM, tenant, repeat.key, control, repeat.request_hash) is not None:
        return None
    row = await db.fetchrow(_KNOWN, tenant, repeat.key)
    return Answered(row["request_hash"], row["answer"]) if row else None


async def remember(db: Db, tenant: TenantId, repeat: Repeat, answer: object) -> None:
    """Keep the answer (JSON values) for the same request again."""
    await db.execute(_REMEMBER, tenant, repeat.key, answer)
