"""Which SM-DP+ may be called, as operators keep them, and how calls go: table `smdps`."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import TenantId
from eim.domain.smdp import Binding, RootsOf, Smdp
from eim.store import Db

_INSERT: Final = """
    INSERT INTO smdps (id, tenant, address, description, binding, roots, networks, protocol, enabled)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (tenant, address) DO NOTHING
 RETURNING *
"""
_READ: Final = "SELECT * FROM smdps WHERE tenant = $1 AND address = $2"
_LOCK: Final = "SELECT * FROM smdps WHERE tenant = $1 AND address = $2 FOR UPDATE"
_PAGE: Final = """
    SELECT * FROM smdps WHERE tenant = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4
"""
_COUNT: Final = "SELECT count(*) FROM smdps WHERE tenant = $1"
_CHANGE: Final = """
    UPDATE smdps
       SET description = $3, binding = $4, roots = $5, networks = $6, protocol = $7, enabled = $8, version = version + 1
     WHERE tenant = $1 AND address = $2
 RETURNING *
"""
_DELETE: Final = "DELETE FROM smdps WHERE tenant = $1 AND address = $2"
_EVERY: Final = "SELECT * FROM smdps ORDER BY tenant, address"
_NOTE: Final = """
    UPDATE smdps
       SET delivered_at = CASE WHEN $3 THEN now() ELSE delivered_at END,
           failing_since = CASE WHEN $3 THEN NULL ELSE coalesce(failing_since, now()) END,
           failure = CASE WHEN $3 THEN NULL ELSE $4 END
     WHERE tenant = $1 AND address = $2
"""


class Entry(msgspec.Struct, frozen=True):
    """One row. `networks` as text, each an address with its length."""

    id: UUID
    tenant: TenantId
    address: str
    description: str | None
    binding: Binding
    roots: RootsOf
    networks: tuple[str, ...]
    protocol: str
    enabled: bool
    version: int
    created_at: datetime
    delivered_at: datetime | None
    failing_since: datetime | None
    failure: str | None

    @property
    def smdp(self) -> Smdp:
        """What calls need."""
        networks = tuple(ipaddress.ip_network(text) for text in self.networks)
        return Smdp(self.address, self.binding, self.roots, networks, self.protocol)


class Settings(msgspec.Struct, frozen=True):
    """What an operator decides of one."""

    description: str | None = None
    binding: Binding = Binding.JSON
    roots: RootsOf = RootsOf.GSMA
    networks: tuple[str, ...] = ()
    protocol: str = "2.1.0"
    enabled: bool = True


async def insert(db: Db, tenant: TenantId, ident: UUID, address: str, settings: Settings) -> Entry | None:
    """Add one; None when the tenant has one at this address."""
    return _maybe(await db.fetchrow(_INSERT, ident, tenant, address, *_columns(settings)))


async def read(db: Db, tenant: TenantId, address: str) -> Entry | None:
    return _maybe(await db.fetchrow(_READ, tenant, address))


async def lock(db: Db, tenant: TenantId, address: str) -> Entry | None:
    """The entry, kept as it is until the transaction ends."""
    return _maybe(await db.fetchrow(_LOCK, tenant, address))


async def page(db: Db, tenant: TenantId, after: tuple[datetime, UUID], limit: int) -> tuple[Entry, ...]:
    """Those behind `after`, oldest first."""
    return tuple(_entry(row) for row in await db.fetch(_PAGE, tenant, *after, limit))


async def count(db: Db, tenant: TenantId) -> int:
    return int(await db.fetchval(_COUNT, tenant))


async def change(db: Db, tenant: TenantId, address: str, settings: Settings) -> Entry | None:
    return _maybe(await db.fetchrow(_CHANGE, tenant, address, *_columns(settings)))


async def delete(db: Db, tenant: TenantId, address: str) -> None:
    await db.execute(_DELETE, tenant, address)


async def every(db: Db) -> tuple[Entry, ...]:
    """Those of all tenants: for the worker."""
    return tuple(_entry(row) for row in await db.fetch(_EVERY))


async def note(db: Db, tenant: TenantId, address: str, failure: str | None) -> None:
    """Write down how the last calls went: `failure` is of the last one, None when one of them was answered well."""
    await db.execute(_NOTE, tenant, address, failure is None, failure)


def _columns(s: Settings) -> Sequence[object]:
    return s.description, s.binding.value, s.roots.value, list(s.networks), s.protocol, s.enabled


def _maybe(row: Row | None) -> Entry | None:
    return _entry(row) if row is not None else None


def _entry(row: Row) -> Entry:
    return msgspec.convert(dict(row), Entry)
