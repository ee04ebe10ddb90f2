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
    SELECT i.id, i.eim_id, i.eim_id_type, i.fqdn, coalesce(k.curve, i.curve) AS curve,
           coalesce(k.public_key, i.public_key) AS public_key, i.initial_counter, i.created_at, i.retired_at,
           i.key_number, i.lowest_key
      FROM identities i LEFT JOIN identity_keys k ON k.identity = i.id AND k.number = i.key_number
     WHERE i.tenant = $1 ORDER BY i.id
"""
_READ: Final = """
    SELECT i.id, i.eim_id, i.eim_id_type, i.fqdn, coalesce(k.curve, i.curve) AS curve,
           coalesce(k.public_key, i.public_key) AS public_key, i.initial_counter, i.created_at, i.retired_at,
           i.key_number, i.lowest_key
      FROM identities i LEFT JOIN identity_keys k ON k.identity = i.id AND k.number = i.key_number
     WHERE i.tenant = $1 AND i.id = $2
"""
_RETIRE: Final = "UPDATE identities SET retired_at = coalesce(retired_at, now()) WHERE tenant = $1 AND id = $2"
_KEYS: Final = """
    SELECT k.number, k.key_name, k.curve, k.public_key, k.created_at
      FROM (SELECT i.id AS identity, 0 AS number, i.tenant, i.key_name, i.curve, i.public_key, i.created_at
              FROM identities i
             UNION ALL
            SELECT n.identity, n.number, n.tenant, n.key_name, n.curve, n.public_key, n.created_at
              FROM identity_keys n) AS k
     WHERE k.tenant = $1 AND k.identity = $2 ORDER BY k.number
"""
_ADD_KEY: Final = """
    INSERT INTO identity_keys (identity, number, tenant, key_name, curve, public_key)
    SELECT i.id, (SELECT coalesce(max(k.number), 0) + 1 FROM identity_keys k WHERE k.identity = i.id), i.tenant,
           $3, $4, $5
      FROM identities i WHERE i.tenant = $1 AND i.id = $2
 RETURNING number
"""
# Tenants that share the identity have a row of their own for it, and its keys under the same numbers.
_SHARE_KEYS: Final = """
    INSERT INTO identity_keys (identity, number, tenant, key_name, curve, public_key)
    SELECT i.id, k.number, i.tenant, k.key_name, k.curve, k.public_key
      FROM identities f
      JOIN identity_keys k ON k.identity = f.id
      JOIN identities i ON i.eim_id = f.eim_id AND i.public_key = f.public_key AND i.tenant <> f.tenant
     WHERE f.tenant = $1 AND f.id = $2
        ON CONFLICT DO NOTHING
"""
_FACTORY_KEY: Final = "UPDATE identities SET key_number = $3 WHERE tenant = $1 AND id = $2"
_RETIRE_KEYS: Final = """
    UPDATE identities SET lowest_key = $3, key_number = greatest(key_number, $3) WHERE tenant = $1 AND id = $2
"""
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


class NewKey(msgspec.Struct, frozen=True):
    """A key that follows those an identity has; the private half stays where `key_name` names it."""

    key_name: str
    curve: str
    public_key: bytes  # SubjectPublicKeyInfo, DER


class Key(msgspec.Struct, frozen=True):
    """One of an identity's keys; number 0 is its first."""

    number: int
    key_name: str
    curve: str
    public_key: bytes
    created_at: datetime


class Listed(msgspec.Struct, frozen=True):
    """An identity as an operator sees it."""

    id: IdentityId
    eim_id: str
    eim_id_type: int
    fqdn: str
    curve: str  # of the key that new eUICCs are loaded with
    public_key: bytes
    initial_counter: int
    created_at: datetime
    retired_at: datetime | None  # since when no new eUICC is associated with it
    key_number: int = 0  # the key that new eUICCs are loaded with
    lowest_key: int = 0  # those below are retired


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


async def keys(db: Db, tenant: TenantId, identity: IdentityId) -> tuple[Key, ...]:
    """All its keys, the first one first."""
    return tuple(msgspec.convert(dict(row), Key) for row in await db.fetch(_KEYS, tenant, identity))


async def add_key(db: Db, tenant: TenantId, identity: IdentityId, new: NewKey) -> int:
    """Let a key follow those it has, also where tenants share it; its number. The owner's right: no role makes one."""
    number = int(await db.fetchval(_ADD_KEY, tenant, identity, new.key_name, new.curve, new.public_key))
    await db.execute(_SHARE_KEYS, tenant, identity)
    return number


async def load_new_with(db: Db, tenant: TenantId, identity: IdentityId, number: int) -> None:
    """From now on factories load new eUICCs with this key."""
    await db.execute(_FACTORY_KEY, tenant, identity, number)


async def retire_keys_below(db: Db, tenant: TenantId, identity: IdentityId, number: int) -> None:
    """No eUICC obeys those below `number` any more."""
    await db.execute(_RETIRE_KEYS, tenant, identity, number)


async def schema_version(db: Db) -> int:
    """The newest migration that was applied; reading it proves that the database answers."""
    return int(await db.fetchval(_SCHEMA))


def _listed(row: Row) -> Listed:
    return msgspec.convert(dict(row), Listed)
