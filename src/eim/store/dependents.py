"""Operations that come after another one, or after an event: table `operations`, columns `after`, `held`.

Who ends an operation lets go of what comes after it, or skips it, in the same transaction.
"""

from typing import Final
from uuid import UUID

import msgspec

from eim.domain.ids import Bucket, Eid, Iccid, TenantId
from eim.domain.operation import Kind, State
from eim.domain.step import Details, Step, steps_of
from eim.store import Db

_RELEASE: Final = """
    UPDATE operations
       SET held = CASE WHEN after_event IS NULL THEN NULL WHEN after_event = 'contact' THEN 'contact' ELSE 'event' END
     WHERE bucket = $1 AND after = $2 AND held = 'operation' AND state = 'accepted'
"""
# All that hangs on it, however long the chain. What was sealed, being let go before, is not taken back here.
_SKIP: Final = """
    WITH RECURSIVE behind AS (
        SELECT o.id FROM operations o WHERE o.bucket = $1 AND o.after = $2 AND o.state = 'accepted'
         UNION
        SELECT o.id FROM behind b JOIN operations o ON o.bucket = $1 AND o.after = b.id AND o.state = 'accepted'
    ), skipped AS (
        UPDATE operations o
           SET state = 'failed', ended_at = now(),
               outcome = jsonb_build_object('reason', 'dependencyFailed', 'after', o.after)
          FROM behind b
         WHERE o.bucket = $1 AND o.id = b.id
     RETURNING o.id, o.eid, o.tenant,
               jsonb_build_object('operation', o.id, 'kind', o.kind, 'reason', 'dependencyFailed', 'after', o.after)
                   AS about
    ), told AS (
        INSERT INTO events (bucket, id, eid, tenant, kind, data)
        SELECT $1, gen_random_uuid(), s.eid, s.tenant, 'operation.failed', s.about FROM skipped s
    )
    INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
    SELECT $1, gen_random_uuid(), s.tenant, $3, 'operation.failed', upper(encode(s.eid, 'hex')), s.about FROM skipped s
"""
_HEARD: Final = """
    UPDATE operations SET held = NULL WHERE bucket = $1 AND eid = $2 AND held = 'contact' AND state = 'accepted'
"""

# It and those it comes after itself, the first one first.
_BEFORE: Final = """
    WITH RECURSIVE before AS (
        SELECT o.id, o.eid, o.after, o.kind, o.iccid, o.rollback, o.details, o.state, 1 AS depth
          FROM operations o WHERE o.bucket = $1 AND o.id = $2 AND o.tenant = $3
         UNION ALL
        SELECT o.id, o.eid, o.after, o.kind, o.iccid, o.rollback, o.details, o.state, b.depth + 1
          FROM before b JOIN operations o ON o.bucket = $1 AND o.id = b.after AND o.tenant = $3
    )
    SELECT id, eid, kind, iccid, rollback, details, state FROM before ORDER BY depth DESC
"""


class Before(msgspec.Struct, frozen=True):
    """An operation that another one comes after."""

    id: UUID
    eid: Eid
    kind: Kind
    iccid: Iccid | None
    rollback: bool
    details: Details | None
    state: State

    @property
    def steps(self) -> tuple[Step, ...]:
        """What it asks of the card, in this order."""
        return steps_of(self.kind, self.iccid, self.details, rollback=self.rollback)


async def before(db: Db, tenant: TenantId, bucket: Bucket, operation: UUID) -> list[Before]:
    """`operation`, last, and all it comes after itself; empty when the tenant has none of this id."""
    return [msgspec.convert(dict(row), Before) for row in await db.fetch(_BEFORE, bucket, operation, tenant)]


async def follow(db: Db, bucket: Bucket, operation: UUID, state: State, actor: str) -> None:
    """`operation` has just ended in `state`: what comes after it may go on, or is skipped. Lock the eUICC before."""
    if state is State.DONE:
        await db.execute(_RELEASE, bucket, operation)
    else:
        await db.execute(_SKIP, bucket, operation, actor)


async def heard(db: Db, bucket: Bucket, eid: Eid) -> None:
    """The card called: what waited for that waits no more."""
    await db.execute(_HEARD, bucket, eid)
