"""What an operator does with one eUICC's entry: writes a label and tags on it, or takes it out of the eIM."""

from collections.abc import Sequence
from enum import Enum

import msgspec
from msgspec import UNSET, UnsetType

from eim.domain.event import Happening
from eim.domain.ids import Eid, bucket_of, format_eid
from eim.errors import Guarded, InvalidRequest, NotFound, PreconditionFailed
from eim.services.onboarding import check_time_zone
from eim.services.tokens import Caller
from eim.store import audit, euiccs, events, requests
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.euiccs import Editable, Leaving
from eim.store.events import Event
from eim.store.requests import Ask


class Guard(Enum):
    HOLDS = "holds"  # refuse while operations are open
    FORCED = "forced"


class Edit(msgspec.Struct, frozen=True):
    """What is to be changed; UNSET stays."""

    label: str | UnsetType | None = UNSET
    tags: Sequence[str] | UnsetType = UNSET
    group: str | UnsetType | None = UNSET
    time_zone: str | UnsetType | None = UNSET
    unverifiable: bool | UnsetType = UNSET
    reason: str | None = None  # why; needed to change `unverifiable`


class Care:
    """Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def edit(self, caller: Caller, eid: Eid, edit: Edit, version: str | None) -> None:
        """Change what is written on it.

        version  of the Editable that the caller saw; None: whatever is there

        Raises NotFound, InvalidRequest for a time zone that is none or a missing reason, PreconditionFailed when it
        is another by now.
        """
        check_time_zone(None if edit.time_zone is UNSET else edit.time_zone)
        bucket = bucket_of(eid)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            now = await euiccs.editable(db, caller.tenant, bucket, eid)
            if now is None:
                raise not_onboarded(eid)
            if version is not None and version != now.version:
                raise PreconditionFailed("it was changed meanwhile: read it again, and send its ETag as If-Match")
            new = Editable(
                now.label if edit.label is UNSET else edit.label,
                now.tags if edit.tags is UNSET else tuple(dict.fromkeys(edit.tags)),
                now.group if edit.group is UNSET else edit.group,
                now.time_zone if edit.time_zone is UNSET else edit.time_zone,
                now.unverifiable if edit.unverifiable is UNSET else edit.unverifiable,
            )
            if new.unverifiable != now.unverifiable and edit.reason is None:
                raise InvalidRequest("say why with 'reason': it decides whether what a card sends is believed")
            if new != now:
                await euiccs.edit(db, caller.tenant, bucket, eid, new)
                about = msgspec.structs.asdict(new) | {"reason": edit.reason}
                await audit.write(db, [_record(caller, "euicc.edit", eid, about)])
                told = Event(bucket, eid, Happening.EUICC_EDITED, about | {"by": caller.actor})
                await events.append(db, caller.tenant, [told])
            if new.time_zone != now.time_zone:  # a worker finds the windows of its operations anew
                await requests.add(db, bucket, eid, Ask.REOPEN, "its time zone changed")
                await events.hint(db, [bucket])

    async def offboard(self, caller: Caller, eid: Eid, reason: str, rule: Guard) -> Leaving:
        """Take it out; what a later association has to begin above is given, and kept.

        Raises NotFound and Guarded. What was received of it stays as evidence: results, events, audit.
        """
        bucket = bucket_of(eid)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            left = await euiccs.leaving(db, caller.tenant, bucket, eid)
            if left is None:
                raise not_onboarded(eid)
            if left.open and rule is Guard.HOLDS:
                raise Guarded(
                    f"{left.open} operations of this eUICC are open, and what is out it may still carry out: "
                    "wait for them or withdraw them, or force it"
                )
            await euiccs.remove(db, caller.tenant, bucket, eid, left)
            about: dict[str, object] = {
                "reason": reason,
                "force": rule is Guard.FORCED,
                "counter": left.counter,
                "association_token": left.association_token,
                "identity": left.eim_id,
                "open": left.open,
            }
            await audit.write(db, [_record(caller, "euicc.offboard", eid, about)])
            said = {"by": caller.actor, "reason": reason, "counter": left.counter, "identity": left.eim_id}
            await events.append(db, caller.tenant, [Event(bucket, eid, Happening.EUICC_OFFBOARDED, said)])
        return left


def not_onboarded(eid: Eid) -> NotFound:
    """The one sentence, whether another tenant has it or nobody."""
    return NotFound(f"EID {format_eid(eid)} is not onboarded")


def _record(caller: Caller, action: str, eid: Eid, data: dict[str, object]) -> Record:
    return Record(caller.tenant, caller.actor, action, format_eid(eid), data, bucket_of(eid))
