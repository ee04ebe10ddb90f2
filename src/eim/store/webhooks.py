"""Webhooks as operators keep them, and their dead letters: tables `webhooks`, `webhook_dead_letters`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import BUCKETS, Eid, TenantId
from eim.store import Db

_INSERT: Final = """
    INSERT INTO webhooks (id, tenant, url, description, types, tags, secrets, start)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
 RETURNING *
"""
_READ: Final = "SELECT * FROM webhooks WHERE tenant = $1 AND id = $2"
_LOCK: Final = "SELECT * FROM webhooks WHERE tenant = $1 AND id = $2 FOR UPDATE"
_PAGE: Final = """
    SELECT * FROM webhooks WHERE tenant = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4
"""
_COUNT: Final = "SELECT count(*) FROM webhooks WHERE tenant = $1"
# Switched on again, it has all of its patience again.
_CHANGE: Final = """
    UPDATE webhooks
       SET url = $3, description = $4, types = $5, tags = $6, enabled = $7, version = version + 1,
           failing_since = CASE WHEN $7 AND NOT enabled THEN NULL ELSE failing_since END, disabled_why = NULL
     WHERE tenant = $1 AND id = $2
 RETURNING *
"""
_SET_SECRETS: Final = """
    UPDATE webhooks SET secrets = $3, version = version + 1 WHERE tenant = $1 AND id = $2 RETURNING *
"""
_REPLAY: Final = """
    UPDATE webhooks SET start = $3, generation = generation + 1, version = version + 1
     WHERE tenant = $1 AND id = $2
 RETURNING *
"""
_DELETE: Final = "DELETE FROM webhooks WHERE tenant = $1 AND id = $2"
_DEAD: Final = """
    SELECT d.event, d.attempts, d.failure, d.died_at, d.again, e.eid, e.at, e.kind
      FROM webhook_dead_letters d JOIN events e ON e.bucket = d.bucket AND e.id = d.event
     WHERE d.tenant = $1 AND d.webhook = $2 AND (d.died_at, d.event) > ($3, $4)
     ORDER BY d.died_at, d.event LIMIT $5
"""
_AGAIN: Final = """
    UPDATE webhook_dead_letters SET again = true
     WHERE bucket = ANY ($1::smallint[]) AND tenant = $2 AND webhook = $3 AND NOT again
"""


class Webhook(msgspec.Struct, frozen=True):
    """One row. `secrets` are encrypted."""

    id: UUID
    tenant: TenantId
    url: str
    description: str | None
    types: tuple[str, ...]
    tags: tuple[str, ...]
    secrets: bytes
    enabled: bool
    version: int
    generation: int
    start: int
    created_at: datetime
    delivered_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    disabled_why: str | None


class Settings(msgspec.Struct, frozen=True):
    """What an operator decides of a webhook."""

    url: str
    description: str | None = None
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    enabled: bool = True


class DeadLetter(msgspec.Struct, frozen=True):
    event: UUID
    eid: Eid | None
    at: datetime
    kind: str
    attempts: int
    failure: str
    died_at: datetime
    again: bool  # one more try is asked for


async def insert(db: Db, tenant: TenantId, ident: UUID, settings: Settings, secrets: bytes, start: int) -> Webhook:
    """Add one whose events begin behind the turn `start`."""
    s = settings
    row = await db.fetchrow(_INSERT, ident, tenant, s.url, s.description, list(s.types), list(s.tags), secrets, start)
    assert row is not None  # noqa: S101 - RETURNING gives what was inserted
    return webhook_of(row)


async def read(db: Db, tenant: TenantId, ident: UUID) -> Webhook | None:
    return _maybe(await db.fetchrow(_READ, tenant, ident))


async def lock(db: Db, tenant: TenantId, ident: UUID) -> Webhook | None:
    """The webhook, kept as it is until the transaction ends."""
    return _maybe(await db.fetchrow(_LOCK, tenant, ident))


async def page(db: Db, tenant: TenantId, after: tuple[datetime, UUID], limit: int) -> tuple[Webhook, ...]:
    """Those behind `after`, oldest first."""
    return tuple(webhook_of(row) for row in await db.fetch(_PAGE, tenant, *after, limit))


async def count(db: Db, tenant: TenantId) -> int:
    return int(await db.fetchval(_COUNT, tenant))


async def change(db: Db, tenant: TenantId, ident: UUID, settings: Settings) -> Webhook | None:
    s = settings
    row = await db.fetchrow(_CHANGE, tenant, ident, s.url, s.description, list(s.types), list(s.tags), s.enabled)
    return _maybe(row)


async def set_secrets(db: Db, tenant: TenantId, ident: UUID, secrets: bytes) -> Webhook | None:
    return _maybe(await db.fetchrow(_SET_SECRETS, tenant, ident, secrets))


async def replay(db: Db, tenant: TenantId, ident: UUID, start: int) -> Webhook | None:
    """Begin again behind the turn `start`, whatever was delivered."""
    return _maybe(await db.fetchrow(_REPLAY, tenant, ident, start))


async def delete(db: Db, tenant: TenantId, ident: UUID) -> None:
    """With its places and dead letters."""
    await db.execute(_DELETE, tenant, ident)


async def dead_letters(
    db: Db, tenant: TenantId, ident: UUID, after: tuple[datetime, UUID], limit: int
) -> tuple[DeadLetter, ...]:
    """Those behind `after`, by the time they were given up."""
    return tuple(_dead(row) for row in await db.fetch(_DEAD, tenant, ident, *after, limit))


async def ask_again(db: Db, tenant: TenantId, ident: UUID) -> int:
    """Let every dead letter be tried once more; how many those are."""
    done = await db.execute(_AGAIN, _every_bucket(), tenant, ident)
    return int(done.rpartition(" ")[2])


def webhook_of(row: Row) -> Webhook:
    return msgspec.convert(dict(row), Webhook)


def _maybe(row: Row | None) -> Webhook | None:
    return webhook_of(row) if row is not None else None


def _every_bucket() -> Sequence[int]:
    return range(BUCKETS)


def _dead(row: Row) -> DeadLetter:
    eid = Eid(row["eid"]) if row["eid"] is not None else None
    return DeadLetter(
        row["event"], eid, row["at"], row["kind"], row["attempts"], row["failure"], row["died_at"], row["again"]
    )
