"""Every package ever sealed: table `packages`. Within an association a counter never carries two octet strings."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record

from eim.domain.euicc import Speaks
from eim.domain.ids import Bucket, Eid, IdentityId, TenantId, TransactionId
from eim.store import Db
from eim.store.drawing import draw
from eim.store.work import Asked

_INSERT: Final = """
    INSERT INTO packages (bucket, eid, number, operation, identity, counter, transaction, token, speaks, sealed, gate,
                          not_before, key_number, association, closes_at, state, queued)
    SELECT u.*, u.state = 'waiting'
      FROM unnest($1::smallint[], $2::bytea[], $3::bigint[], $4::uuid[], $5::smallint[], $6::integer[], $7::bytea[],
                  $8::bigint[], $9::text[], $10::bytea[], $11::integer[], $12::timestamptz[], $13::smallint[],
                  $14::smallint[], $15::timestamptz[], $16::text[])
           AS u (bucket, eid, number, operation, identity, counter, transaction, token, speaks, sealed, gate,
                 not_before, key_number, association, closes_at, state)
"""
_AUDIT: Final = """
    INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
    SELECT u.bucket, u.id, u.tenant, 'worker', 'package.sealed', u.operation::text,
           jsonb_build_object('number', u.number, 'counter', u.counter, 'sha256', encode(u.digest, 'hex'))
      FROM unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::uuid[], $5::bigint[], $6::integer[], $7::bytea[])
        AS u (bucket, id, tenant, operation, number, counter, digest)
"""
# A result needs the package and the operation that it carried: one round trip for both.
_BY_TRANSACTION: Final = """
    SELECT p.number, p.operation, p.counter, p.transaction, p.token, p.speaks, p.sealed, p.state, p.key_number,
           o.id, o.kind, o.iccid, o.rollback, o.details, o.state AS stands, o.doubt, o.outcome, o.order_id,
           o.attempts, o.retries
      FROM packages p LEFT JOIN operations o ON o.bucket = p.bucket AND o.id = p.operation
     WHERE p.bucket = $1 AND p.eid = $2 AND p.transaction = $3 AND p.counter IS NOT DISTINCT FROM $4
"""
_BY_COUNTER: Final = """
    SELECT p.number, p.operation, p.counter, p.transaction, p.token, p.speaks, p.sealed, p.state, p.key_number,
           o.id, o.kind, o.iccid, o.rollback, o.details, o.state AS stands, o.doubt, o.outcome, o.order_id,
           o.attempts, o.retries
      FROM packages p LEFT JOIN operations o ON o.bucket = p.bucket AND o.id = p.operation
     WHERE p.bucket = $1 AND p.eid = $2 AND p.counter = $3
     ORDER BY p.number DESC LIMIT 1
"""
_DATA_REQUEST: Final = """
    SELECT number, operation, counter, transaction, token, speaks, sealed, state, key_number FROM packages
     WHERE bucket = $1 AND eid = $2 AND transaction = $3 AND counter IS NULL
"""
_HEAD: Final = """
    SELECT p.number, p.operation, p.counter, p.transaction, p.token, p.speaks, p.sealed, p.state, p.key_number
      FROM mailbox m JOIN packages p ON p.bucket = m.bucket AND p.eid = m.eid AND p.number = m.number
     WHERE m.bucket = $1 AND m.eid = $2 AND m.handed_at IS NOT NULL
"""
_OWNER: Final = "SELECT eid FROM packages WHERE bucket = $1 AND transaction = $2 LIMIT 1"
_FOREIGN: Final = "SELECT bucket, eid FROM foreign_transactions WHERE transaction = $1"
_NOTE_FOREIGN: Final = """
    INSERT INTO foreign_transactions (transaction, bucket, eid) VALUES ($1, $2, $3)
    ON CONFLICT (transaction) DO NOTHING
"""

_HIGHEST: Final = 2**31 - 1  # what the column holds; a result may say more, and no package of ours carried that


class Sealed(msgspec.Struct, frozen=True):
    """One package as it will travel."""

    bucket: Bucket
    eid: Eid
    tenant: TenantId
    number: int
    operation: UUID
    identity: IdentityId
    counter: int | None
    transaction: TransactionId | None
    token: int | None
    speaks: Speaks
    octets: bytes
    gate: int
    not_before: datetime
    key_number: int = 0  # of the identity: the key that signed it
    association: int = 0  # whose count the counter belongs to
    closes_at: datetime | None = None
    is_head: bool = False  # of its mailbox, which is free


class Package(msgspec.Struct, frozen=True):
    """A package as its row holds it, for the result that comes back."""

    number: int
    operation: UUID
    counter: int | None
    transaction: bytes | None
    token: int | None
    speaks: str
    sealed: bytes
    state: str
    key_number: int = 0  # the key that signed it
    carried: Asked | None = None  # the operation as it stands, where the package was looked up for a result


async def insert(db: Db, sealed: Sequence[Sealed]) -> None:
    """Store packages and their audit records; two statements for any number."""
    buckets = [s.bucket for s in sealed]
    await db.execute(
        _INSERT,
        buckets,
        [s.eid for s in sealed],
        [s.number for s in sealed],
        [s.operation for s in sealed],
        [s.identity for s in sealed],
        [s.counter for s in sealed],
        [s.transaction for s in sealed],
        [s.token for s in sealed],
        [s.speaks.value for s in sealed],
        [s.octets for s in sealed],
        [s.gate for s in sealed],
        [s.not_before for s in sealed],
        [s.key_number for s in sealed],
        [s.association for s in sealed],
        [s.closes_at for s in sealed],
        ["head" if s.is_head else "waiting" for s in sealed],
    )
    await db.execute(
        _AUDIT,
        buckets,
        draw(buckets),
        [s.tenant for s in sealed],
        [s.operation for s in sealed],
        [s.number for s in sealed],
        [s.counter for s in sealed],
        [sha256(s.octets).digest() for s in sealed],
    )


async def of_result(
    db: Db, bucket: Bucket, eid: Eid, transaction: TransactionId | None, counter: int
) -> Package | None:
    """The package that a signed result answers: by (EID, transaction, counter); by counter when it names none."""
    if not 0 <= counter <= _HIGHEST:
        return None
    if transaction is None:
        return _with_operation(await db.fetchrow(_BY_COUNTER, bucket, eid, counter))
    return _with_operation(await db.fetchrow(_BY_TRANSACTION, bucket, eid, transaction, counter))


async def of_data(db: Db, bucket: Bucket, eid: Eid, transaction: TransactionId) -> Package | None:
    """The data request that carried `transaction`."""
    return _package(await db.fetchrow(_DATA_REQUEST, bucket, eid, transaction))


async def head(db: Db, bucket: Bucket, eid: Eid) -> Package | None:
    """The package that is out now."""
    return _package(await db.fetchrow(_HEAD, bucket, eid))


async def owner_of(db: Db, bucket: Bucket, transaction: TransactionId) -> Eid | None:
    """Whose package carried `transaction`, one of ours: one partition, one index."""
    eid = await db.fetchval(_OWNER, bucket, transaction)
    return Eid(eid) if eid is not None else None


async def owner_of_foreign(db: Db, transaction: TransactionId) -> tuple[Bucket, Eid] | None:
    """Whose package carried `transaction`, an id that is not of our making."""
    row = await db.fetchrow(_FOREIGN, transaction)
    return (Bucket(row["bucket"]), Eid(row["eid"])) if row else None


async def note_foreign(db: Db, bucket: Bucket, eid: Eid, transaction: TransactionId) -> None:
    """Remember whose an id is that doesn't carry its bucket."""
    await db.execute(_NOTE_FOREIGN, transaction, bucket, eid)


def _with_operation(row: Record | None) -> Package | None:
    package = _package(row)
    if row is None or package is None or row["id"] is None:
        return package
    carried = msgspec.convert({**row, "state": row["stands"]}, Asked)
    return msgspec.structs.replace(package, carried=carried)


def _package(row: Record | None) -> Package | None:
    if row is None:
        return None
    return Package(
        row["number"],
        row["operation"],
        row["counter"],
        row["transaction"],
        row["token"],
        row["speaks"],
        row["sealed"],
        row["state"],
        row["key_number"],
    )
