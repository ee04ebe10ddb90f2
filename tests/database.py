"""A migrated database for one test: a copy of the cluster's template, or one that a test before left as if new."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec

from eim.domain.ids import DEFAULT_TENANT, IdentityId, TenantId
from eim.store.connect import DEFAULT_SCHEMA, DbRole, Pool, open_pool
from eim.store.roles import DATABASE, close_to_others
from tests.cluster import Cluster
from tests.recycling import New, look, renew

_SEED_IDENTITY: Final = """
    INSERT INTO identities (id, tenant, eim_id, eim_id_type, fqdn, curve, public_key, key_name)
    SELECT coalesce(max(id), 0) + 1, $1, $2, 2, $2, 'secp256r1', $3, $4 FROM identities
    RETURNING id
"""


class Database:
    """A database of its own, with the schema migrated. Guards a pool for each role."""

    schema: Final = DEFAULT_SCHEMA

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.name = name
        self._pools: dict[DbRole, Pool] = {}

    async def open(self) -> None:
        pools = await asyncio.gather(*(open_pool(self.dsn(role), role, self.schema, size=5) for role in DbRole))
        self._pools = dict(zip(DbRole, pools, strict=True))

    def dsn(self, role: DbRole) -> str:
        """A login of the embedded Postgres, for this database."""
        return _in(self.name, self._cluster.logins[role.value])

    @property
    def superuser_dsn(self) -> str:
        return _in(self.name, self._cluster.superuser)

    def pool(self, role: DbRole) -> Pool:
        """At most 5 connections that act as `role`."""
        return self._pools[role]

    def owner(self) -> Pool:
        """Past all grants and row-level security: to seed, and to look at what is there."""
        return self.pool(DbRole.OWNER)

    async def seed_identity(
        self,
        *,
        eim_id: str = "eim.example.com",
        public_key: bytes = b"",
        key_name: str = "test",
        tenant: TenantId = DEFAULT_TENANT,
    ) -> IdentityId:
        """Add an identity with a P-256 key; the first one has id 1."""
        return IdentityId(await self.owner().fetchval(_SEED_IDENTITY, tenant, eim_id, public_key, key_name))

    def close(self) -> None:
        for pool in self._pools.values():
            pool.terminate()


class _Spare(msgspec.Struct, frozen=True):
    """A database that a test has left as if new."""

    name: str
    new: New


_SPARE: Final[dict[str, list[_Spare]]] = {}  # by cluster; the cluster ends, and they with it, after the last test


@asynccontextmanager
async def fresh(cluster: Cluster, *, template: str = DATABASE) -> AsyncIterator[Database]:
    """A database that nobody has used, or as if: a copy of `template`. At the end whoever still uses it is cut off."""
    spares = _SPARE.setdefault(cluster.superuser, []) if template == DATABASE else []
    spare = spares.pop() if spares else await _copy(cluster, template)
    database = Database(cluster, spare.name)
    renewed = None
    try:
        await database.open()
        yield database
        database.close()
        renewed = await renew(database.superuser_dsn, spare.new) if template == DATABASE else None
    finally:
        database.close()
        if renewed is not None:
            spares.append(_Spare(spare.name, renewed))
        else:
            await _drop(cluster, spare.name)


async def _copy(cluster: Cluster, template: str) -> _Spare:
    name = f"test_{secrets.token_hex(8)}"
    connection = await asyncpg.connect(cluster.superuser)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER eim_owner STRATEGY file_copy")
        await close_to_others(connection, name)
    finally:
        await connection.close()
    return _Spare(name, await look(_in(name, cluster.superuser)))


async def _drop(cluster: Cluster, name: str) -> None:
    connection = await asyncpg.connect(cluster.superuser)
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def _in(database: str, dsn: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{database}"))
