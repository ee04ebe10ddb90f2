"""Who the eIM is to its eUICCs: table `identities`, one row an identity, written at set-up."""

from datetime import datetime
from typing import Final

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import IdentityId, TenantId
from eim.store import Db

_FIND: Final = "SELECT id, public_key FROM identities WHERE tenant = $1 AND eim_id = $2"
_INSERT: Final = """
    INSERT INTO identities (id, tenant, eim_id, eim_id_type, fqdn, curve, public_key, key_name, initial_counter)
    SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8 FROM identities
    RETURNING id
"""
_LISTED: Final = """
    SELECT id, eim_id, eim_id_type, fqdn, curve, public_key, initial_counter, created_at, retired_at
      FROM identities WHERE tenant = $1 ORDER BY id
"""
_READ: Final = """
    SELECT id, eim_id, eim_id_type, fqdn, curve, public_key, initial_counter, created_at, retired_at
      FROM identities WHERE tenant = $1 AND id = $2
"""
_RETIRE: Final = "UPDATE identities SET retired_at = coalesce(retired_at, now()) WHERE tenant = $1 AND id = $2"
_SCHEMA: Final = "SELECT max(version) FROM schema_migrations"


class Registered(msgspec.Struct, frozen=True):
    id: IdentityId
    public_key: bytes  # SubjectPublicKeyInfo, DER


class NewIdentity(msgspec.Struct, frozen=True):
    """An identity to register; the private key stays where `key_name` names it."""

    eim_id: str
    eim_id_type: int  # 1 OID, 2 FQDN, 3 proprietary
    fqdn: str
    curve: str
    public_key: bytes
    key_name: str
    initial_counter: int


class Listed(msgspec.Struct, frozen=True):
    """An identity as an operator sees it."""

    id: IdentityId
    eim_id: str
    eim_id_type: int
    fqdn: str
    curve: str
    public_key: bytes
    initial_counter: int
    created_at: datetime
    retired_at: datetime | None  # since when no new eUICC is associated with it


async def listed(db: Db, tenant: TenantId) -> tuple[Listed, ...]:
    """The tenant's identities, oldest first."""
    return tuple(_listed(row) for row in await db.fetch(_LISTED, tenant))


async def read(db: Db, tenant: TenantId, identity: IdentityId) -> Listed | None:
    row = await db.fetchrow(_READ, tenant, identity)
    return _listed(row) if row else None


async def retire(db: Db, tenant: TenantId, identity: IdentityId) -> None:
    """No new eUICC is associated with it; those that are stay. Again changes nothing."""
    await db.execute(_RETIRE, tenant, identity)


async def find(db: Db, tenant: TenantId, eim_id: str) -> Registered | None:
    row = await db.fetchrow(_FIND, tenant, eim_id)
    return Registered(IdentityId(row["id"]), row["public_key"]) if row else None


async def insert(db: Db, tenant: TenantId, new: NewIdentity) -> IdentityId:
    """Add an identity. The owner's right: no role makes one."""
    values = (new.eim_id, new.eim_id_type, new.fqdn, new.curve, new.public_key, new.key_name, new.initial_counter)
    return IdentityId(await db.fetchval(_INSERT, tenant, *values))


async def schema_version(db: Db) -> int:
    """The newest migration that was applied; reading it proves that the database answers."""
    return int(await db.fetchval(_SCHEMA))


def _listed(row: Row) -> Listed:
    return msgspec.convert(dict(row), Listed)
