"""Notifications as operators see them: which are on their way and why they wait; one more try, or the end."""

from datetime import datetime
from uuid import UUID

from eim.domain.event import Happening
from eim.domain.ids import format_eid
from eim.domain.notification import State
from eim.errors import Conflict, NotFound
from eim.services.tokens import Caller
from eim.store import Db, audit, events, notifications
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.events import Event
from eim.store.notifications import Filter, Notification

_OVER = (State.DELIVERED, State.GIVEN_UP)


class Outstanding:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, caller: Caller, ident: UUID) -> Notification:
        """Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return _known(await notifications.read(db, caller.tenant, ident), ident)

    async def page(
        self, caller: Caller, wanted: Filter, after: tuple[datetime, UUID], limit: int
    ) -> tuple[Notification, ...]:
        """Those behind `after`, oldest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await notifications.page(db, caller.tenant, wanted, after, limit)

    async def retry(self, caller: Caller, ident: UUID) -> Notification:
        """Try it at once, or look again at why it is held. Raises NotFound, Conflict when it is over."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _lock(db, caller, ident)
            await notifications.retry(db, found.bucket, ident)
            await _audit(db, caller, "notification.retry", found, {})
            return _known(await notifications.read(db, caller.tenant, ident), ident)

    async def give_up(self, caller: Caller, ident: UUID, reason: str) -> Notification:
        """It goes nowhere any more, and holds up none behind it. Raises NotFound, Conflict when it is over."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _lock(db, caller, ident)
            await notifications.give_up(db, found.bucket, ident, f"{caller.actor}: {reason}")
            if found.iccid is not None:
                await notifications.wake(db, found.bucket, found.eid, found.iccid)
            await _audit(db, caller, "notification.give_up", found, {"reason": reason})
            about = {"notification": str(ident), "event": found.event, "seq": found.seq_number, "host": found.host}
            said = about | {"by": caller.actor, "reason": reason}
            told = Event(found.bucket, found.eid, Happening.NOTIFICATION_GIVEN_UP, said)
            await events.append(db, caller.tenant, [told])
            return _known(await notifications.read(db, caller.tenant, ident), ident)


async def _lock(db: Db, caller: Caller, ident: UUID) -> Notification:
    known = _known(await notifications.read(db, caller.tenant, ident), ident)
    found = _known(await notifications.lock(db, caller.tenant, known.bucket, ident), ident)
    if found.state in _OVER:
        raise Conflict(f"this notification is over: it is {found.state.value.replace('_', ' ')}")
    return found


async def _audit(db: Db, caller: Caller, action: str, found: Notification, about: dict[str, object]) -> None:
    data = {"eid": format_eid(found.eid), "event": found.event, "seq": found.seq_number} | about
    await audit.write(db, [Record(caller.tenant, caller.actor, action, str(found.id), data, found.bucket)])


def _known(found: Notification | None, ident: UUID) -> Notification:
    if found is None:
        raise NotFound(f"there is no notification {ident}")
    return found
