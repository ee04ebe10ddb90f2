"""Taking an operation back: without a trace as long as the card never had it, else the card is asked (design 3.3)."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from eim.domain.event import Happening
from eim.domain.ids import Bucket, TenantId, bucket_in
from eim.domain.operation import State, move
from eim.errors import Conflict, NotFound
from eim.services.tokens import Caller
from eim.store import Db, audit, events, operations, requests
from eim.store.audit import Record
from eim.store.events import Event
from eim.store.operations import Operation
from eim.store.requests import Ask

_OURS: Final = "eim"


async def withdraw(db: Db, caller: Caller, bucket: Bucket, operation: UUID) -> Operation:
    """Take one back whose eUICC is locked; again changes nothing. Raises NotFound, and Conflict for what has ended."""
    found = await _take_back(db, caller.tenant, bucket, operation)
    if not _withdrawn(found):
        await _withdraw(db, caller, bucket, found)
        await tell(db, caller, bucket, [found])
    return await read(db, caller.tenant, operation)


async def read(db: Db, tenant: TenantId, operation: UUID) -> Operation:
    bucket = bucket_in(operation)
    found = await operations.read(db, tenant, bucket, operation) if bucket is not None else None
    if found is None:
        raise NotFound(f"there is no operation {operation}")
    return found


async def _take_back(db: Db, tenant: TenantId, bucket: Bucket, operation: UUID) -> Operation:
    """The operation as it stands when no device can fetch it any more, unless one already did."""
    found = await read(db, tenant, operation)
    if found.state is not State.SEALED or found.ordered_by == _OURS:
        return found
    await operations.take_back(db, bucket, found.eid)
    return await read(db, tenant, operation)


def _withdrawn(found: Operation) -> bool:
    return found.state is State.WITHDRAWN or (found.state is State.IN_DOUBT and found.doubt == "withdrawn")


async def _withdraw(db: Db, caller: Caller, bucket: Bucket, found: Operation) -> None:
    if found.ordered_by == _OURS:
        raise Conflict("this operation is the eIM's own: it needs the answer, so it can't be withdrawn")
    if found.state in (State.OUT, State.IN_DOUBT):
        await operations.doubt(db, caller.tenant, bucket, found.id)
        await requests.add(db, bucket, found.eid, Ask.RECOVER, "withdrawn")
        return
    move(found.state, State.WITHDRAWN)
    await operations.withdraw(db, caller.tenant, bucket, found.id, caller.actor)


async def tell(db: Db, caller: Caller, bucket: Bucket, found: Sequence[Operation]) -> None:
    """What the timelines and the audit say of those that were taken back, given as they were before."""
    told = [
        Event(
            bucket,
            each.eid,
            Happening.OPERATION_WITHDRAWN,
            {"operation": str(each.id), "was": each.state.value, "by": caller.actor},
        )
        for each in found
    ]
    await events.append(db, caller.tenant, told)
    records = [
        Record(caller.tenant, caller.actor, "operation.withdraw", str(each.id), {"was": each.state.value}, bucket)
        for each in found
    ]
    await audit.write(db, records)
    await events.hint(db, [bucket])
