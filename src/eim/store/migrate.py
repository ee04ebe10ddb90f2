"""Migrations: forward only, each file once, whole or not at all."""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final

import asyncpg
import msgspec
from asyncpg import Record

from eim.errors import BadConfiguration, DatabaseUnavailable
from eim.store import Db
from eim.store.connect import DEFAULT_SCHEMA, DbRole, session_settings
from eim.store.roles import create_groups

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# A statement ends at a semicolon outside of comments, strings, quoted names and $tag$ bodies.
_PIECE: Final = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|;|[^;'\"$-]+|.", re.DOTALL)
_EXPAND: Final = "expand_"
_CONNECT_TIMEOUT_S: Final = 5.0

# Correctness does not rest on this lock: two that migrate at once would collide on schema_migrations and one of
# them would fail. It makes the second one wait instead.
_LOCK: Final = "SELECT pg_advisory_lock(hashtext('eim migrations'), hashtext($1))"
_SCHEMA_EXISTS: Final = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)"
_CREATE_SCHEMA: Final = "SELECT format('CREATE SCHEMA %I', $1::text)"
_OPEN_SCHEMA: Final = "SELECT format('GRANT USAGE ON SCHEMA %I TO eim_device, eim_operator, eim_worker', $1::text)"
_CREATE_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version integer PRIMARY KEY,
        name text NOT NULL,
        checksum bytea NOT NULL, -- SHA-256 of the file
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""
_APPLIED: Final = "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
_RECORD: Final = "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)"


class Migration(msgspec.Struct, frozen=True):
    """One file of store/migrations."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the file, so that an applied file which was edited is noticed."""
        return hashlib.sha256(self.sql.encode()).digest()


def load() -> tuple[Migration, ...]:
    """The migrations that this version of the code has, in order."""
    found = (
        Migration(int(named[1]), named[2], entry.read_text(encoding="utf-8"))
        for entry in files("eim.store").joinpath("migrations").iterdir()
        if (named := _NAME.fullmatch(entry.name))
    )
    return tuple(sorted(found, key=lambda migration: migration.version))


def statements(sql: str) -> list[str]:
    """The single statements of `sql`, comments between them dropped: Citus takes one statement a call."""
    done, now = [], ""
    for piece in _PIECE.finditer(sql):
        if piece[0] == ";":
            done.append(now.strip())
            now = ""
        elif not (piece[0].startswith("--") and not now.strip()):
            now += piece[0]
    return [statement for statement in (*done, now.strip()) if statement]


async def migrate(dsn: str, schema: str | None = None) -> int:
    """Bring `schema` (DEFAULT_SCHEMA when None) to the newest version and return it. Safe to repeat and at once.

    Raises BadConfiguration when the login lacks a right, an applied file was edited, or the schema is newer than
    the code by more than expand migrations; DatabaseUnavailable when nothing answers.
    """
    async with _connect(dsn, schema) as connection:
        return await apply(connection, schema or DEFAULT_SCHEMA, load())


async def apply(db: Db, schema: str, migrations: Sequence[Migration]) -> int:
    """Apply those of `migrations` that `schema` lacks, over a connection whose search_path it is."""
    await db.execute(_LOCK, schema, timeout=None)
    await create_groups(db)
    await _create_schema(db, schema)
    applied = {row["version"]: row["checksum"] for row in await db.fetch(_APPLIED) if not _is_ahead(row, migrations)}
    _check(applied, migrations)
    for migration in migrations:
        if migration.version not in applied:
            await _apply_one(db, migration)
    return migrations[-1].version


def _is_ahead(row: Record, migrations: Sequence[Migration]) -> bool:
    """Whether a newer release has applied it and this one can bear it: an expand migration only adds."""
    return int(row["version"]) > migrations[-1].version and str(row["name"]).startswith(_EXPAND)


async def _create_schema(db: Db, schema: str) -> None:
    if not await db.fetchval(_SCHEMA_EXISTS, schema):
        await db.execute(await db.fetchval(_CREATE_SCHEMA, schema))
    await db.execute(await db.fetchval(_OPEN_SCHEMA, schema))
    await db.execute(_CREATE_TABLE)


def _check(applied: dict[int, bytes], migrations: Sequence[Migration]) -> None:
    known = {migration.version: migration for migration in migrations}
    for version, checksum in applied.items():
        if version not in known:
            raise BadConfiguration(
                f"the database has version {version}, this program knows only up to {max(known)}: install the newer one"
            )
        if known[version].checksum != checksum:
            raise BadConfiguration(
                f"migration {version:04}_{known[version].name}.sql is not the one that was applied here: "
                "an applied file is never edited, install the release that belongs to this database"
            )


async def _apply_one(db: Db, migration: Migration) -> None:
    """All statements and the record of them in one transaction: plain Postgres rolls DDL back, so a migration that
    is killed at any statement has left nothing, and the next run does it again from its first statement."""
    async with db.transaction():
        for statement in statements(migration.sql):
            await db.execute(statement, timeout=None)
        await db.execute(_RECORD, migration.version, migration.name, migration.checksum)


@asynccontextmanager
async def _connect(dsn: str, schema: str | None) -> AsyncIterator[Db]:
    try:
        settings = session_settings(DbRole.OWNER, schema)
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S, server_settings=settings)
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError) as failure:
        raise DatabaseUnavailable(f"the database can't be reached: {failure}") from failure
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as refusal:
        raise BadConfiguration(f"the database refuses the owner's login: {refusal}") from refusal
    try:
        yield connection
    except asyncpg.InsufficientPrivilegeError as refusal:
        raise BadConfiguration(f"the owner's login lacks a right: {refusal}; see docs/database.md") from refusal
    finally:
        await connection.close()
