"""Files that are, or were, uploaded, with what was wrong in them: tables `imports` and `import_problems`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import TenantId
from eim.store import Db

_BEGIN: Final = """
    INSERT INTO imports (id, tenant, key, terms, digest, actor) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant, key) DO NOTHING
"""
_FIND: Final = """
    SELECT id, terms, digest, records, accepted, refused, actor, created_at, changed_at, finished_at
      FROM imports WHERE tenant = $1 AND key = $2
"""
_READ: Final = """
    SELECT id, terms, digest, records, accepted, refused, actor, created_at, changed_at, finished_at
      FROM imports WHERE tenant = $1 AND id = $2
"""
# Goes on only where the last one ended: a second upload of the same file finds itself behind, and waits for nobody.
_ADVANCE: Final = """
    UPDATE imports SET records = $4, digest = $5, accepted = accepted + $6, refused = refused + $7, changed_at = now()
     WHERE tenant = $1 AND id = $2 AND records = $3 AND finished_at IS NULL
 RETURNING records
"""
_FINISH: Final = """
    UPDATE imports SET finished_at = now(), changed_at = now() WHERE tenant = $1 AND id = $2 AND finished_at IS NULL
"""
_ADD_PROBLEMS: Final = """
    INSERT INTO import_problems (import, line, tenant, code, detail)
    SELECT $2, u.line, $1, u.code, u.detail FROM unnest($3::bigint[], $4::text[], $5::text[]) AS u (line, code, detail)
"""
_PROBLEMS: Final = """
    SELECT line, code, detail FROM import_problems
     WHERE tenant = $1 AND import = $2 AND line > $3 ORDER BY line LIMIT $4
"""


class Import(msgspec.Struct, frozen=True):
    id: UUID
    terms: bytes  # SHA-256 of how it is read
    digest: bytes  # SHA-256 of the records taken so far
    records: int
    accepted: int
    refused: int
    actor: str
    created_at: datetime
    changed_at: datetime
    finished_at: datetime | None  # None: it runs, or was interrupted


class BadLine(msgspec.Struct, frozen=True):
    line: int  # of the file, from 1
    code: str
    detail: str


class Advance(msgspec.Struct, frozen=True):
    """One chunk that was taken."""

    before: int  # records that were taken before it
    records: int  # and with it
    digest: bytes
    accepted: int  # of this chunk
    problems: Sequence[BadLine]  # of this chunk


async def begin(db: Db, tenant: TenantId, new: UUID, key: str, terms: bytes, start: tuple[bytes, str]) -> Import:
    """The import under `key`, which is a new one unless it was begun before.

    start  the digest of no records, and on whose behalf it is
    """
    await db.execute(_BEGIN, new, tenant, key, terms, *start)
    row = await db.fetchrow(_FIND, tenant, key)
    if row is None:
        raise ValueError("the row was made by the statement before")
    return _import(row)


async def read(db: Db, tenant: TenantId, of: UUID) -> Import | None:
    row = await db.fetchrow(_READ, tenant, of)
    return _import(row) if row else None


async def advance(db: Db, tenant: TenantId, of: UUID, chunk: Advance) -> bool:
    """Write down a chunk, in the transaction that took it; False when it was taken by another upload meanwhile."""
    counts = (chunk.before, chunk.records, chunk.digest, chunk.accepted, len(chunk.problems))
    if await db.fetchval(_ADVANCE, tenant, of, *counts) is None:
        return False
    if chunk.problems:
        lines = [each.line for each in chunk.problems]
        codes, details = [each.code for each in chunk.problems], [each.detail for each in chunk.problems]
        await db.execute(_ADD_PROBLEMS, tenant, of, lines, codes, details)
    return True


async def finish(db: Db, tenant: TenantId, of: UUID) -> None:
    """All of it was taken. Again changes nothing."""
    await db.execute(_FINISH, tenant, of)


async def problems(db: Db, tenant: TenantId, of: UUID, after: int, limit: int) -> tuple[BadLine, ...]:
    """The bad lines behind line `after`, in their order."""
    rows = await db.fetch(_PROBLEMS, tenant, of, after, limit)
    return tuple(BadLine(row["line"], row["code"], row["detail"]) for row in rows)


def _import(row: Row) -> Import:
    return msgspec.convert(dict(row), Import)
