"""Who shares this installation: table `tenants`, with what each may have at most."""

import hashlib
from datetime import datetime
from typing import Final

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import IdentityId, TenantId
from eim.store import Db

# The policy that shows all tenants asks for this setting; it ends with the transaction.
_INSTALLATION: Final = "SELECT set_config('eim.installation', 'on', true)"
_BECOME: Final = "SELECT set_config('eim.tenant', $1, true), set_config('eim.installation', '', true)"
_EVERY: Final = "SELECT id, name, created_at, most_euiccs, most_tokens, orders_a_day FROM tenants ORDER BY id"
_READ: Final = "SELECT id, name, created_at, most_euiccs, most_tokens, orders_a_day FROM tenants WHERE id = $1"
_INSERT: Final = """
    INSERT INTO tenants (id, name, most_euiccs, most_tokens, orders_a_day)
    SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4 FROM tenants
    ON CONFLICT DO NOTHING RETURNING id
"""
_UPDATE: Final = "UPDATE tenants SET most_euiccs = $2, most_tokens = $3, orders_a_day = $4 WHERE id = $1"
_SHARE: Final = "SELECT share_identity($1, $2)"
_HOLD: Final = "SELECT hold_limits()"
_EUICCS: Final = "SELECT count(*) FROM euiccs WHERE tenant = $1"
_TOKENS: Final = """
    SELECT count(*) FROM tokens
     WHERE tenant = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""
_ORDERS: Final = "SELECT count(*) FROM orders WHERE tenant = $1 AND created_at > now() - interval '24 hours'"


class Limits(msgspec.Struct, frozen=True):
    """The most that a tenant may have; None: no limit."""

    euiccs: int | None = None
    tokens: int | None = None
    orders_a_day: int | None = None

    @property
    def version(self) -> str:
        """Names these values: the same for the same, so an ETag."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class Tenant(msgspec.Struct, frozen=True):
    id: TenantId
    name: str
    created_at: datetime
    limits: Limits


async def act_as_installation(db: Db) -> None:
    """From here to its end this transaction of the installation's own tenant sees and changes all tenants."""
    await db.execute(_INSTALLATION)


async def act_as(db: Db, tenant: TenantId) -> None:
    """From here to its end this transaction is `tenant`'s, and the installation's no more."""
    await db.execute(_BECOME, str(tenant))


async def every(db: Db) -> tuple[Tenant, ...]:
    """The tenants that this transaction may see, oldest first."""
    return tuple(_tenant(row) for row in await db.fetch(_EVERY))


async def read(db: Db, tenant: TenantId) -> Tenant | None:
    row = await db.fetchrow(_READ, tenant)
    return _tenant(row) if row else None


async def insert(db: Db, name: str, limits: Limits) -> TenantId | None:
    """Add a tenant; None when the name is taken, or another was added at the same moment."""
    found = await db.fetchval(_INSERT, name, limits.euiccs, limits.tokens, limits.orders_a_day)
    return TenantId(found) if found is not None else None


async def limit(db: Db, tenant: TenantId, limits: Limits) -> None:
    await db.execute(_UPDATE, tenant, limits.euiccs, limits.tokens, limits.orders_a_day)


async def share_identity(db: Db, tenant: TenantId, eim_id: str) -> IdentityId | None:
    """Give `tenant` an identity of the installation; None when the installation has none of this name in use."""
    found = await db.fetchval(_SHARE, tenant, eim_id)
    return IdentityId(found) if found is not None else None


async def hold_limits(db: Db) -> None:
    """Let nobody else add to what the tenant's limits count, until the transaction ends."""
    await db.execute(_HOLD)


async def count_euiccs(db: Db, tenant: TenantId) -> int:
    return int(await db.fetchval(_EUICCS, tenant))


async def count_tokens(db: Db, tenant: TenantId) -> int:
    """Those that work."""
    return int(await db.fetchval(_TOKENS, tenant))


async def count_orders(db: Db, tenant: TenantId) -> int:
    """Those of the last 24 hours."""
    return int(await db.fetchval(_ORDERS, tenant))


def _tenant(row: Row) -> Tenant:
    limits = Limits(row["most_euiccs"], row["most_tokens"], row["orders_a_day"])
    return Tenant(TenantId(row["id"]), row["name"], row["created_at"], limits)
