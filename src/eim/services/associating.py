"""An association as it changes: its counter near the end, its key on the way to another.

In the caller's transaction, under the eUICC's lock. Worker role.
"""

import secrets
from typing import Final

import msgspec

from eim.domain import counter
from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, TenantId, format_eid, with_bucket
from eim.domain.operation import Kind, Priority
from eim.store import Db, associations, audit, events, work
from eim.store.associations import Allocated, Card

_BY: Final = "eim"
_NEW_COUNT: Final = 0  # where a card begins to count with a new key


class RenewalRule(msgspec.Struct, frozen=True):
    """Whether the eIM gives a card a new key, and with it a new count, by itself."""

    automatic: bool


async def alarm(db: Db, allocated: Allocated, renewal: RenewalRule) -> bool:
    """Say once that the counter has passed 90 % of its ceiling; whether the association is renewed for that."""
    bucket, eid = allocated.bucket, allocated.eid
    await associations.alarmed(db, bucket, eid)
    about = {"counter": allocated.counter, "ceiling": counter.CEILING}
    await events.record(db, bucket, eid, allocated.tenant, Happening.EUICC_COUNTER_HIGH, about)
    card = await associations.lock(db, bucket, eid)
    return renewal.automatic and card is not None and await renew(db, bucket, eid, card)


async def exhausted(db: Db, bucket: Bucket, eid: Eid, renewal: RenewalRule) -> bool:
    """No counter is left for what is due: renew the association with the last one (True), or wait for an operator.

    Nothing, where the counter is not at its end: the eUICC was taken out, and is onboarded anew, since it was planned.
    """
    card = await associations.lock(db, bucket, eid)
    if card is None or card.counter < counter.LAST:
        return False
    if renewal.automatic and await renew(db, bucket, eid, card):
        return True
    await stall(db, bucket, eid, card.tenant, "counterExhausted")
    return False


async def renew(db: Db, bucket: Bucket, eid: Eid, card: Card) -> bool:
    """Order the updateEim that brings our newest key and a new count. False: there is no newer key, or none may go."""
    newest = await associations.newest_key(db, card.identity)
    if newest <= card.key_number or card.counter >= counter.CEILING:
        return False
    if await work.is_renewing(db, bucket, eid):
        return True
    await associations.renewing(db, bucket, eid, newest, _NEW_COUNT)
    operation = with_bucket(bucket, secrets.token_bytes(14))
    await work.place(db, bucket, eid, operation, Kind.RENEW, Priority.URGENT, _BY)
    about: dict[str, object] = {"key": newest, "counter": card.counter, "operation": str(operation)}
    await audit.record(
        db, bucket, card.tenant, actor="worker", action="euicc.renew", subject=format_eid(eid), data=about
    )
    return True


async def stall(db: Db, bucket: Bucket, eid: Eid, tenant: TenantId, why: str) -> None:
    """Sign nothing more for this eUICC: only an operator can help. Said once."""
    if await associations.stall(db, bucket, eid, why):
        about = {"reason": why}
        await events.record(db, bucket, eid, tenant, Happening.EUICC_STALLED, about)
        await audit.record(
            db, bucket, tenant, actor="worker", action="euicc.stalled", subject=format_eid(eid), data=about
        )
