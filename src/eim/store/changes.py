"""What happened to a card though nobody ordered it: columns of `euiccs` that are read with its lock."""

from typing import Final

from eim.domain.ids import Bucket, Eid
from eim.domain.operation import Kind
from eim.store import Db

_REPORTED: Final = "UPDATE euiccs SET reported_cause = $3 WHERE bucket = $1 AND eid = $2"
_RESET: Final = "UPDATE euiccs SET reset_at = now() WHERE bucket = $1 AND eid = $2"
_SPOKE: Final = "UPDATE euiccs SET reset_at = NULL WHERE bucket = $1 AND eid = $2"
_ECALL: Final = """
    UPDATE euiccs SET ecall_since = coalesce(ecall_since, now()), ecall_answers = ecall_answers + 1
     WHERE bucket = $1 AND eid = $2
"""
_ECALL_OVER: Final = "UPDATE euiccs SET ecall_since = NULL, ecall_answers = 0 WHERE bucket = $1 AND eid = $2"
# The inventory that is to explain it was asked for and has not come.
_AWAITED: Final = """
    SELECT EXISTS (SELECT 1 FROM requests WHERE bucket = $1 AND eid = $2 AND kind = 'audit')
        OR EXISTS (SELECT 1 FROM operations
                    WHERE bucket = $1 AND eid = $2 AND kind = 'listProfileInfo' AND details IS NULL
                      AND state IN ('accepted', 'sealed', 'out'))
"""
_ASKED: Final = """
    SELECT count(*) FROM operations
     WHERE bucket = $1 AND eid = $2 AND kind = $3 AND ordered_by = 'eim' AND created_at > now() - interval '1 hour'
"""


async def reported(db: Db, bucket: Bucket, eid: Eid, cause: int | None) -> None:
    """The device said that something changed; None: an inventory has explained it."""
    await db.execute(_REPORTED, bucket, eid, cause)


async def reset(db: Db, bucket: Bucket, eid: Eid) -> None:
    """The device said that the card's memory was reset."""
    await db.execute(_RESET, bucket, eid)


async def spoke(db: Db, bucket: Bucket, eid: Eid) -> None:
    """The card signed something for us: it still knows us, whatever was reset."""
    await db.execute(_SPOKE, bucket, eid)


async def in_ecall(db: Db, bucket: Bucket, eid: Eid) -> None:
    """It answered that it is in an emergency call."""
    await db.execute(_ECALL, bucket, eid)


async def ecall_over(db: Db, bucket: Bucket, eid: Eid) -> None:
    await db.execute(_ECALL_OVER, bucket, eid)


async def is_awaited(db: Db, bucket: Bucket, eid: Eid) -> bool:
    """Whether an inventory that will show the change is on its way already."""
    return bool(await db.fetchval(_AWAITED, bucket, eid))


async def asked_within_the_hour(db: Db, bucket: Bucket, eid: Eid, kind: Kind) -> int:
    """How many operations of `kind` the eIM itself placed for it in the last hour."""
    return int(await db.fetchval(_ASKED, bucket, eid, kind.value))
