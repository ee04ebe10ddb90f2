"""Notifications for an SM-DP+: stored durably before they are acknowledged; the relay delivers them (SGP.32 3.7)."""

import hashlib
from typing import Final

from eim.asn1.sgp32 import PendingNotification, decode
from eim.domain.euicc import ProfileState
from eim.domain.event import Happening
from eim.domain.ids import Iccid
from eim.errors import Flooded, Malformed
from eim.protocol.ecdsa import Curve, PublicKey, verify
from eim.services.visit import Visit
from eim.store import inventory, requests, results
from eim.store.requests import Ask
from eim.store.results import StoredNotification

_AN_HOUR: Final = 500  # notifications of one EID; a card makes a few for each profile change
_STATE_AFTER: Final = {"enable": ProfileState.ENABLED, "disable": ProfileState.DISABLED}


async def keep(visit: Visit, octets: bytes) -> int | None:
    """Store one PendingNotification TLV as it came; its seqNumber, which may be acknowledged after the commit.

    One that can't be read is stored all the same and has none: nothing a card gave us is lost.
    """
    try:
        notification = decode(PendingNotification, octets)
    except Malformed:
        await _refuse_flood(visit)
        await _store(visit, StoredNotification(hashlib.sha256(octets).digest(), octets, None, None, None, None))
        return None
    await keep_read(visit, notification)
    return notification.seq_number


async def keep_listed(visit: Visit, octets: bytes) -> int | None:
    """Store one that a message lists beside a result; None when it is too much: not acknowledged, it is listed again.

    Whoever floods us with notifications for an EID must not keep its results from us.
    """
    try:
        return await keep(visit, octets)
    except Flooded:
        return None


async def keep_read(visit: Visit, notification: PendingNotification) -> None:
    """Store a notification; one that contradicts the inventory makes a worker list the card's profiles.

    Raises Flooded for one that the card's key doesn't prove, when too many of those came: the IPA keeps it.
    """
    if not _is_proven(visit, notification):
        await _refuse_flood(visit)
    stored = StoredNotification(
        digest=hashlib.sha256(notification.raw).digest(),
        octets=notification.raw,
        seq_number=notification.seq_number,
        event=notification.event,
        address=notification.address,
        iccid=Iccid(notification.iccid) if notification.iccid else None,
    )
    if await _store(visit, stored) and await _contradicts(visit, stored):
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, "a notification contradicts the inventory")


def _is_proven(visit: Visit, notification: PendingNotification) -> bool:
    """Whether the card's own key signed it (SGP.32 section 5.14.7)."""
    card = visit.card
    if card.public_key is None or card.curve is None or not notification.signed:
        return False
    return verify(PublicKey(Curve(card.curve), card.public_key), notification.signed, notification.signature)


async def _refuse_flood(visit: Visit) -> None:
    if await results.notifications_within_the_hour(visit.db, visit.bucket, visit.eid) >= _AN_HOUR:
        raise Flooded("more notifications came for this EID within an hour than a card makes")


async def _store(visit: Visit, stored: StoredNotification) -> bool:
    """Whether it is new."""
    new = await results.insert_notification(visit.db, visit.bucket, visit.eid, visit.tenant, stored)
    if new is None:
        return False
    about = {"event": stored.event, "address": stored.address, "seq": stored.seq_number}
    await visit.record(Happening.NOTIFICATION_STORED, about)
    return True


async def _contradicts(visit: Visit, stored: StoredNotification) -> bool:
    if stored.iccid is None or stored.event is None:
        return False
    known = await inventory.read(visit.db, visit.bucket, visit.eid)
    found = next((p for p in known if p.iccid == stored.iccid), None)
    if stored.event in _STATE_AFTER:
        return found is None or found.state is not _STATE_AFTER[stored.event]
    return (found is not None) if stored.event == "delete" else found is None
