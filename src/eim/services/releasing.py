"""An operator looks at the cards to which nothing goes out, bars one, or lets one go; with a reason, audited."""

from datetime import datetime

from eim.domain.event import Happening
from eim.domain.ids import Eid, bucket_of, format_eid
from eim.errors import Conflict
from eim.services.caring import not_onboarded
from eim.services.tokens import Caller
from eim.store import Db, audit, barring, events, requests, work
from eim.store.audit import Record
from eim.store.barring import Bar, Barred
from eim.store.connect import Pool, transaction
from eim.store.events import Event
from eim.store.requests import Ask


class BarDesk:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, caller: Caller, after: tuple[datetime, Eid], limit: int) -> tuple[Barred, ...]:
        """Those to which nothing goes out, behind `after`, oldest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await barring.page(db, caller.tenant, after, limit)

    async def quarantine(self, caller: Caller, eid: Eid, reason: str) -> Bar:
        """Nothing goes out to it from now on; what is out is in doubt. Again is no error. Raises NotFound."""
        bucket = bucket_of(eid)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _lock(db, caller, eid)
            if found.quarantined_at is None:
                await barring.quarantine(db, bucket, eid, reason)
                operation = await barring.head(db, bucket, eid)
                told: dict[str, object] = {"why": reason, "by": caller.actor}
                happened = [Event(bucket, eid, Happening.EUICC_QUARANTINED, told)]
                if operation is not None and await work.doubt(db, bucket, operation, "quarantined"):
                    about = {"operation": str(operation), "reason": "quarantined"}
                    happened.append(Event(bucket, eid, Happening.OPERATION_IN_DOUBT, about))
                await events.append(db, caller.tenant, happened)
                await audit.write(db, [_record(caller, "euicc.quarantine", eid, reason)])
                await requests.add(db, bucket, eid, Ask.RESEAL, "quarantined")
                await events.hint(db, [bucket])
            return await _lock(db, caller, eid)

    async def release(self, caller: Caller, eid: Eid, reason: str) -> Bar:
        """End quarantine, or take an orphan that knows us again back; it is asked first what is true now.

        Raises NotFound, and Conflict when it is barred by a denial alone, or not at all.
        """
        bucket = bucket_of(eid)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _lock(db, caller, eid)
            if found.quarantined_at is None and found.orphaned_at is None:
                raise Conflict(
                    f"EID {format_eid(eid)} is denied: lift the denial {found.denied_by}"
                    if found.denied_by is not None
                    else f"EID {format_eid(eid)} is neither in quarantine nor an orphan"
                )
            await barring.release(db, caller.tenant, bucket, eid, found)
            told: dict[str, object] = {"why": reason, "by": caller.actor, "was": _was(found)}
            await events.append(db, caller.tenant, [Event(bucket, eid, Happening.EUICC_RELEASED, told)])
            await audit.write(db, [_record(caller, "euicc.release", eid, reason)])
            for ask in (Ask.INTRODUCE, Ask.RECOVER, Ask.AUDIT):
                await requests.add(db, bucket, eid, ask, "released")
            await events.hint(db, [bucket])
            return await _lock(db, caller, eid)


def _was(bar: Bar) -> str:
    return "orphaned" if bar.quarantined_at is None else f"quarantined: {bar.quarantine_why}"


async def _lock(db: Db, caller: Caller, eid: Eid) -> Bar:
    found = await barring.lock(db, caller.tenant, bucket_of(eid), eid)
    if found is None:
        raise not_onboarded(eid)
    return found


def _record(caller: Caller, action: str, eid: Eid, reason: str) -> Record:
    return Record(caller.tenant, caller.actor, action, format_eid(eid), {"reason": reason}, bucket_of(eid))
