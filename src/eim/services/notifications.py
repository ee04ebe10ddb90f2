"""Notifications for an SM-DP+ come in: stored durably before they are acknowledged (SGP.32 3.7). They go out elsewhere.

Nothing here depends on whether the SM-DP+ can be reached: the device's answer never waits for it.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import PendingNotification, decode
from eim.domain import inventory
from eim.domain.euicc import Profile, ProfileState
from eim.domain.event import Happening
from eim.domain.ids import Iccid
from eim.domain.notification import Verdict
from eim.domain.step import Delete, Disable, Enable
from eim.errors import Flooded, Malformed
from eim.protocol import notices
from eim.protocol.ecdsa import Curve, PublicKey
from eim.protocol.trust import Roots
from eim.services import certifying
from eim.services.visit import Visit
from eim.store import associations, notifications, requests
from eim.store import inventory as profiles
from eim.store.notifications import Taken
from eim.store.requests import Ask

_AN_HOUR: Final = 500  # notifications of one EID; a card makes a few for each profile change
_STEP: Final[dict[str, type[Enable | Disable | Delete]]] = {"enable": Enable, "disable": Disable, "delete": Delete}


async def keep(visit: Visit, octets: bytes, roots: Roots) -> int | None:
    """Store one PendingNotification TLV as it came; its seqNumber, which may be acknowledged after the commit.

    One that can't be read is stored all the same and has none: nothing a card gave us is lost. Raises Flooded for one
    that the card's key doesn't prove, when too many of those came: the IPA keeps it.
    """
    try:
        notification = decode(PendingNotification, octets)
    except Malformed:
        await _refuse_flood(visit)
        await _store(visit, Taken(hashlib.sha256(octets).digest(), octets))
        return None
    shown = notices.shown_in(notification, visit.eid, roots, visit.now)
    verdict = notices.judge(notification, _known_key(visit), shown)
    if verdict is not Verdict.VERIFIED:
        await _refuse_flood(visit)
    elif shown is not None and visit.card.public_key is None:
        chain = (notification.euicc_certificate or b"", notification.eum_certificate or b"")
        await certifying.certify(visit, chain, roots)
    if await _store(visit, _taken(notification, verdict)):
        await _learn(visit, notification, verdict)
    return notification.seq_number


async def keep_listed(visit: Visit, octets: bytes, roots: Roots) -> int | None:
    """Store one that a message lists beside a result; None when it is too much: not acknowledged, it is listed again.

    Whoever floods us with notifications for an EID must not keep its results from us.
    """
    try:
        return await keep(visit, octets, roots)
    except Flooded:
        return None


async def note_copy(visit: Visit, octets: bytes) -> None:
    """A download that the IPA ran itself is reported by a copy of its notification. The IPA delivers that one; the
    copy is never forwarded (SGP.32 section 5.7.4), but the card has another profile now, so it is asked."""
    try:
        notification = decode(PendingNotification, octets)
    except Malformed:
        return
    await _learn(visit, notification, Verdict.UNVERIFIED)


def _known_key(visit: Visit) -> PublicKey | None:
    card = visit.card
    if card.public_key is None or card.curve is None:
        return None
    return PublicKey(Curve(card.curve), card.public_key)


def _taken(notification: PendingNotification, verdict: Verdict) -> Taken:
    return Taken(
        digest=hashlib.sha256(notification.raw).digest(),
        octets=notification.raw,
        kind=notification.kind,
        seq_number=notification.seq_number,
        event=notification.event,
        address=notification.address,
        iccid=Iccid(notification.iccid) if notification.iccid else None,
        verdict=verdict,
    )


async def _refuse_flood(visit: Visit) -> None:
    if await notifications.within_the_hour(visit.db, visit.bucket, visit.eid) >= _AN_HOUR:
        raise Flooded("more notifications came for this EID within an hour than a card makes")


async def _store(visit: Visit, taken: Taken) -> bool:
    """Whether it is new."""
    new = await notifications.insert(visit.db, visit.bucket, visit.eid, visit.tenant, taken)
    if new is None:
        return False
    about = {"notification": str(new), "event": taken.event, "address": taken.address, "seq": taken.seq_number}
    await visit.record(Happening.NOTIFICATION_STORED, about | {"verdict": taken.verdict.value})
    return True


async def _learn(visit: Visit, notification: PendingNotification, verdict: Verdict) -> None:
    """One that contradicts the inventory makes a worker list the card's profiles, whoever sent it. What the card
    signed, and nothing later overtook, is believed at once."""
    if notification.iccid is None or notification.event is None:
        return
    iccid = Iccid(notification.iccid)
    known = await profiles.read(visit.db, visit.bucket, visit.eid)
    if not _contradicts(known, notification.event, iccid):
        return
    step, seq = _STEP.get(notification.event), notification.seq_number
    if verdict is Verdict.VERIFIED and step is not None and seq is not None and _is_news(visit, seq):
        now = inventory.after(known, step(iccid))
        await profiles.write(visit.db, visit.bucket, visit.eid, visit.tenant, now)
        await associations.raise_seq(visit.db, visit.bucket, visit.eid, seq)
        visit.card = msgspec.structs.replace(visit.card, highest_seq=seq)
    await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, "a notification contradicts the inventory")


def _is_news(visit: Visit, seq: int) -> bool:
    """Whether it is later than all that was applied, by the count that the card's results and notifications share."""
    return visit.card.highest_seq is None or seq > visit.card.highest_seq


def _contradicts(known: Sequence[Profile], event: str, iccid: Iccid) -> bool:
    found = next((p for p in known if p.iccid == iccid), None)
    if event == "enable":
        return found is None or found.state is not ProfileState.ENABLED
    if event == "disable":  # one that is gone, as when one package disables and deletes it, is not enabled either
        return found is not None and found.state is ProfileState.ENABLED
    return (found is not None) if event == "delete" else found is None
