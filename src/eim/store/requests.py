"""What the device role asks of a worker: table `requests`. It may not make operations itself (design 1)."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid
from eim.store import Db
from eim.store.drawing import draw


class Ask(StrEnum):
    AUDIT = "audit"  # list its profiles: they changed without us
    RECOVER = "recover"  # what is out is in doubt: fetch results, then list
    INTRODUCE = "introduce"  # ask for its data again
    REOPEN = "reopen"  # its time zone changed: the windows of its operations are others
    EIMS = "eims"  # list its eIMs
    RESEAL = "reseal"  # token or version changed: what was not handed out is sealed anew


# One open request of a kind an eUICC is enough, however often the card repeats itself; but one that is due later does
# not hold up one that is due now.
_ADD: Final = """
    INSERT INTO requests (bucket, id, eid, kind, reason, not_before)
    SELECT $1, $6::uuid, $2, $3, $4, now() + make_interval(secs => $5)
     WHERE NOT EXISTS (SELECT 1 FROM requests r
                        WHERE r.bucket = $1 AND r.eid = $2 AND r.kind = $3
                          AND r.not_before <= now() + make_interval(secs => $5))
"""
_DUE: Final = """
    SELECT bucket, id, eid, kind, reason FROM requests
     WHERE bucket = ANY ($1::smallint[]) AND not_before <= now()
     ORDER BY bucket, created_at
     LIMIT $2
"""
_DELETE: Final = "DELETE FROM requests WHERE bucket = $1 AND id = $2"
_HINT: Final = "SELECT pg_notify('eim_work', $1)"


class Request(msgspec.Struct, frozen=True):
    bucket: Bucket
    id: UUID
    eid: Eid
    kind: Ask
    reason: str


async def add(db: Db, bucket: Bucket, eid: Eid, kind: Ask, reason: str, delay: float = 0.0) -> None:
    """Ask a worker; nothing happens when the same is asked already. `delay` in seconds."""
    (request,) = draw([bucket])
    await db.execute(_ADD, bucket, eid, kind.value, reason, delay, request)


async def due(db: Db, buckets: Sequence[Bucket], limit: int) -> list[Request]:
    """The oldest open requests of these buckets."""
    rows = await db.fetch(_DUE, buckets, limit)
    return [Request(Bucket(r["bucket"]), r["id"], Eid(r["eid"]), Ask(r["kind"]), r["reason"]) for r in rows]


async def delete(db: Db, request: Request) -> None:
    """It is done: in the transaction that did it."""
    await db.execute(_DELETE, request.bucket, request.id)


async def hint(db: Db, bucket: Bucket, eid: Eid | None = None) -> None:
    """Wake the worker of `bucket` when this transaction commits. A hint only: its own polling is the truth.

    eid  there may be more to seal for this eUICC: it need not be looked for among others
    """
    await db.execute(_HINT, f"{bucket}:{eid.hex()}" if eid is not None else str(bucket))
