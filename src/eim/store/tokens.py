"""API tokens by the hash of their secret: table `tokens`."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import TenantId
from eim.store import Db

_INSERT: Final = """
    INSERT INTO tokens (id, tenant, name, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
"""
# A token names its tenant, so it is looked up before the tenant is known: the function sees every tenant's.
_FIND: Final = """
    SELECT id, tenant, name, scopes, created_at, expires_at FROM find_token($1)
     WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""
_REVOKE: Final = """
    UPDATE tokens SET revoked_at = coalesce(revoked_at, now()) WHERE tenant = $1 AND id = $2
 RETURNING id, tenant, name, scopes, created_at, expires_at
"""
_END_WITHIN: Final = """
    UPDATE tokens t SET expires_at = least(t.expires_at, now() + $3::interval)
      FROM (SELECT o.id, o.expires_at FROM tokens o WHERE o.tenant = $1 AND o.id = $2 FOR UPDATE) AS old
     WHERE t.tenant = $1 AND t.id = old.id AND t.revoked_at IS NULL
       AND (t.expires_at IS NULL OR t.expires_at > now())
 RETURNING t.id, t.tenant, t.name, t.scopes, t.created_at, old.expires_at
"""
_OF_TENANT: Final = """
    SELECT id, tenant, name, scopes, created_at, expires_at FROM tokens
     WHERE tenant = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
     ORDER BY created_at, id
"""


class Token(msgspec.Struct, frozen=True):
    id: UUID
    tenant: TenantId
    name: str
    scopes: tuple[str, ...]
    created_at: datetime | None  # None: the database sets it
    expires_at: datetime | None


async def insert(db: Db, token: Token, secret_hash: bytes) -> None:
    """Keep `token` under the SHA-256 of its secret (32 octets)."""
    await db.execute(_INSERT, token.id, token.tenant, token.name, secret_hash, list(token.scopes), token.expires_at)


async def find(db: Db, secret_hash: bytes) -> Token | None:
    """The token of this hash; None when there is none, or it ended."""
    row = await db.fetchrow(_FIND, secret_hash)
    return _token(row) if row else None


async def revoke(db: Db, tenant: TenantId, token: UUID) -> Token | None:
    """End it; None when the tenant has none of this id."""
    row = await db.fetchrow(_REVOKE, tenant, token)
    return _token(row) if row else None


async def end_within(db: Db, tenant: TenantId, token: UUID, grace: timedelta) -> Token | None:
    """Let it work for `grace` at most; the token as it was before, None when the tenant has none that works."""
    row = await db.fetchrow(_END_WITHIN, tenant, token, grace)
    return _token(row) if row else None


async def of_tenant(db: Db, tenant: TenantId) -> tuple[Token, ...]:
    return tuple(_token(row) for row in await db.fetch(_OF_TENANT, tenant))


def _token(row: Row) -> Token:
    return Token(row["id"], row["tenant"], row["name"], tuple(row["scopes"]), row["created_at"], row["expires_at"])
