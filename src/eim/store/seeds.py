"""What `eim seed` writes by hand: rows that otherwise only devices and the worker bring about. The owner's rights."""

from typing import Final
from uuid import UUID

import msgspec

from eim.domain.euicc import Speaks
from eim.domain.ids import Bucket, Eid, TransactionId
from eim.domain.step import Compact
from eim.store import Db

_COUNT: Final = """
    UPDATE euiccs SET counter = $3 WHERE bucket = $1 AND eid = $2 AND counter <= $3 RETURNING counter
"""
# Another token than the one before ends what was proven with that one.
_TOKEN: Final = """
    UPDATE euiccs
       SET introduced_at = coalesce(introduced_at, now()), association_token = $3,
           token_proven = token_proven AND association_token IS NOT DISTINCT FROM $3,
           signature_form = CASE WHEN association_token IS NOT DISTINCT FROM $3 THEN signature_form END,
           signature_coding = CASE WHEN association_token IS NOT DISTINCT FROM $3 THEN signature_coding END
     WHERE bucket = $1 AND eid = $2
"""
_UNVERIFIABLE: Final = "UPDATE euiccs SET unverifiable = $3 WHERE bucket = $1 AND eid = $2"
_BELIEVE: Final = "UPDATE euiccs SET curve = $3, public_key = $4 WHERE bucket = $1 AND eid = $2"
_NUMBER: Final = """
    UPDATE euiccs
       SET packages = packages + 1, counter = greatest(counter, coalesce($3, 0)),
           ordinals = 1 + greatest(ordinals, (SELECT max(o.ordinal) FROM operations o
                                               WHERE o.bucket = $1 AND o.eid = $2))
     WHERE bucket = $1 AND eid = $2
 RETURNING packages, ordinals
"""
_OPERATION: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, iccid, rollback, details, state,
                            ordered_by, handed_at)
    SELECT $1, $3, $2, e.tenant, e.identity, $4, $5, $6, $7, $8, 'out', $9, now()
      FROM euiccs e WHERE e.bucket = $1 AND e.eid = $2
"""
_PACKAGE: Final = """
    INSERT INTO packages (bucket, eid, number, operation, identity, counter, transaction, token, speaks, sealed, gate,
                          not_before, state, queued)
    SELECT $1, $2, $3, $4, e.identity, $5, $6, e.association_token, $7, $8, 1, now(), 'head', false
      FROM euiccs e WHERE e.bucket = $1 AND e.eid = $2
"""
_HEAD: Final = """
    UPDATE mailbox
       SET number = $3, operation = $4, counter = $5, sealed = $6, gate = 1, not_before = now(), handed_at = now(),
           deliveries = 1, highest_handed = greatest(highest_handed, coalesce($5, 0))
     WHERE bucket = $1 AND eid = $2
"""


class Head(msgspec.Struct, frozen=True):
    """A package that is out already."""

    operation: UUID
    what: Compact
    counter: int | None
    transaction: TransactionId | None
    speaks: Speaks
    sealed: bytes  # one complete BF51 or BF52 TLV


async def count(db: Db, bucket: Bucket, eid: Eid, counter: int) -> bool:
    """Make `counter` the last one used; False when a higher one was: counters never fall."""
    return await db.fetchval(_COUNT, bucket, eid, counter) is not None


async def know_token(db: Db, bucket: Bucket, eid: Eid, token: int | None) -> None:
    """The association token is known; None: known to be absent. Signed packages may be made from now on."""
    await db.execute(_TOKEN, bucket, eid, token)


async def flag_unverifiable(db: Db, bucket: Bucket, eid: Eid) -> None:
    """This card can't sign: what it sends is believed."""
    await db.execute(_UNVERIFIABLE, bucket, eid, True)


async def believe(db: Db, bucket: Bucket, eid: Eid, curve: str, point: bytes) -> None:
    """Take a key without a certificate. `point` has 65 octets."""
    await db.execute(_BELIEVE, bucket, eid, curve, point)


async def put_out(db: Db, bucket: Bucket, eid: Eid, head: Head, by: str) -> None:
    """Make a package the head, as if it had been handed out just now. Lock the eUICC and unseal before."""
    row = await db.fetchrow(_NUMBER, bucket, eid, head.counter)
    if row is None:
        raise ValueError("the eUICC's row is made first")
    number, ordinal = row["packages"], row["ordinals"]
    what = head.what
    columns = (what.kind.value, what.iccid, what.rollback, what.details)
    await db.execute(_OPERATION, bucket, eid, head.operation, ordinal, *columns, by)
    carried = (head.operation, head.counter, head.transaction, head.speaks.value, head.sealed)
    await db.execute(_PACKAGE, bucket, eid, number, *carried)
    await db.execute(_HEAD, bucket, eid, number, head.operation, head.counter, head.sealed)
