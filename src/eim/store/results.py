"""What cards sent back, as it came: tables `results`, `strays`."""

from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, TenantId
from eim.store import Db
from eim.store.drawing import draw

_FIND: Final = "SELECT id, verdict FROM results WHERE bucket = $1 AND eid = $2 AND digest = $3"
_INSERT: Final = """
    INSERT INTO results (bucket, id, eid, tenant, digest, octets, kind, operation, transaction, counter, seq_number,
                         verdict, form, coding, late, note)
    VALUES ($1, $16, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""
_VERDICT: Final = """
    UPDATE results SET verdict = $4, form = $5, coding = $6 WHERE bucket = $1 AND eid = $2 AND digest = $3
"""
_UNVERIFIED: Final = """
    SELECT octets FROM results WHERE bucket = $1 AND eid = $2 AND verdict = 'unverified'
     ORDER BY seq_number NULLS LAST, received_at
     LIMIT 50
"""
# What anybody could have sent; the answer to a question of ours is not among it.
_RECENT_UNPROVEN: Final = """
    SELECT count(*) FROM results
     WHERE bucket = $1 AND eid = $2 AND received_at > now() - interval '1 hour'
       AND (verdict IN ('refused', 'foreign', 'unverified')
            OR verdict = 'unsigned' AND kind NOT IN ('data', 'dataError'))
"""
_OVERTAKEN: Final = """
    SELECT EXISTS (SELECT 1 FROM results r
                     JOIN packages p ON p.bucket = r.bucket AND p.eid = r.eid AND p.operation = r.operation
                                    AND p.counter = r.counter
                    WHERE r.bucket = $1 AND r.eid = $2 AND p.number > $3 AND r.kind = 'result'
                      AND r.verdict IN ('verified', 'unverifiable'))
"""
_OTHERS: Final = """
    SELECT octets FROM results
     WHERE bucket = $1 AND eid = $2 AND counter = $3 AND kind = 'result' AND verdict = 'verified' AND digest <> $4
     ORDER BY received_at LIMIT 10
"""
# Bounded: when the table is full the oldest strays make room, so a flood can't fill the disk.
_STRAY: Final = """
    INSERT INTO strays (id, source, digest, octets) VALUES (gen_random_uuid(), $1, $2, $3)
    ON CONFLICT (digest) DO NOTHING
"""
_TRIM_STRAYS: Final = """
    DELETE FROM strays WHERE id IN (SELECT id FROM strays ORDER BY received_at DESC OFFSET $1)
"""

_HIGHEST: Final = 2**31 - 1  # what the column holds; a stranger's counter may be larger, and stands in the octets


class Stored(msgspec.Struct, frozen=True):
    """One result as its row holds it."""

    digest: bytes  # SHA-256 of octets
    octets: bytes
    kind: str
    verdict: str
    operation: UUID | None = None
    transaction: bytes | None = None
    counter: int | None = None
    seq_number: int | None = None
    form: str | None = None
    coding: str | None = None
    late: bool = False
    note: str | None = None


async def verdict_of(db: Db, bucket: Bucket, eid: Eid, digest: bytes) -> str | None:
    """The verdict on these very octets if they came before; None when they are new."""
    row = await db.fetchrow(_FIND, bucket, eid, digest)
    return str(row["verdict"]) if row else None


async def insert(db: Db, bucket: Bucket, eid: Eid, tenant: TenantId, result: Stored) -> None:
    """Keep a result that `verdict_of` didn't know, under the eUICC's lock."""
    (ident,) = draw([bucket])
    await db.execute(
        _INSERT,
        bucket,
        eid,
        tenant,
        result.digest,
        result.octets,
        result.kind,
        result.operation,
        result.transaction,
        result.counter if result.counter is not None and abs(result.counter) <= _HIGHEST else None,
        result.seq_number,
        result.verdict,
        result.form,
        result.coding,
        result.late,
        result.note,
        ident,
    )


async def judge(db: Db, bucket: Bucket, eid: Eid, digest: bytes, verdict: str, form: str, coding: str) -> None:
    """An unverified result was verified when its certificate came."""
    await db.execute(_VERDICT, bucket, eid, digest, verdict, form, coding)


async def unverified(db: Db, bucket: Bucket, eid: Eid) -> list[bytes]:
    """The octets of results that wait for a certificate, in the card's order."""
    return [bytes(row["octets"]) for row in await db.fetch(_UNVERIFIED, bucket, eid)]


async def unproven_within_the_hour(db: Db, bucket: Bucket, eid: Eid) -> int:
    """How many unsigned errors and unreadable messages this EID had in the last hour: anybody can send them."""
    return int(await db.fetchval(_RECENT_UNPROVEN, bucket, eid))


async def was_overtaken(db: Db, bucket: Bucket, eid: Eid, number: int) -> bool:
    """Whether the result of a package behind the one with this number is known: the card executed that one later."""
    return bool(await db.fetchval(_OVERTAKEN, bucket, eid, number))


async def others_of(db: Db, bucket: Bucket, eid: Eid, counter: int, digest: bytes) -> list[bytes]:
    """Verified results of the same counter with other octets, oldest first."""
    return [bytes(row["octets"]) for row in await db.fetch(_OTHERS, bucket, eid, counter, digest)]


async def keep_stray(db: Db, source: str, digest: bytes, octets: bytes, limit: int) -> None:
    """Keep a message that names nobody we know; beyond `limit` rows the oldest go."""
    await db.execute(_STRAY, source, digest, octets)
    await db.execute(_TRIM_STRAYS, limit)
