"""Where a notification goes, and whether it may: decided from what it says, its card's key and what operators allow."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from eim.asn1.sgp32 import PendingNotification, decode
from eim.domain.ids import TenantId
from eim.domain.notification import Reason, State, Verdict
from eim.domain.smdp import Smdp, canonical
from eim.errors import EimError
from eim.protocol import notices
from eim.protocol.ecdsa import Curve, PublicKey
from eim.protocol.trust import Roots
from eim.store.forwarding import Sorted, Unsorted
from eim.store.smdps import Entry


class Book:
    """Which servers may be called: a tenant's own entries, then those of the configuration.

    verified_only  whether only what is proven to be the card's goes
    """

    def __init__(self, entries: Sequence[Entry], allowed: Sequence[Smdp], *, verified_only: bool) -> None:
        self._entries = {(entry.tenant, entry.address): entry for entry in entries}
        self._allowed = {smdp.address: smdp for smdp in allowed}
        self.verified_only = verified_only

    def find(self, tenant: TenantId, host: str) -> Smdp | Reason:
        """How to call it, or why it may not be called."""
        entry = self._entries.get((tenant, host))
        if entry is not None:
            return entry.smdp if entry.enabled else Reason.DISABLED
        return self._allowed.get(host, Reason.NOT_ALLOWED)


def sort(found: Unsorted, book: Book, roots: Roots, now: datetime) -> Sorted:
    """Decide about one notification. Its octets stay as they came; a compact form is made whole beside them.

    Whatever is wrong with one is its own fault and never that of the others.
    """
    try:
        return _sort(found, book, roots, now)
    except (EimError, ValueError):
        return _held(found, Reason.UNREADABLE, Verdict.UNVERIFIED)


def _sort(found: Unsorted, book: Book, roots: Roots, now: datetime) -> Sorted:
    read = decode(PendingNotification, found.octets)
    key = PublicKey(Curve(found.curve), found.public_key) if found.curve and found.public_key else None
    verdict = found.verdict
    if verdict is None or verdict is Verdict.UNVERIFIED:  # the card's certificate may have come since
        verdict = notices.judge(read, key, notices.shown_in(read, found.eid, roots, now))
    whole, reason = _expanded(found, read, key) if read.kind.startswith("compact") else (None, None)
    if whole is not None:
        verdict = Verdict.VERIFIED
    host = canonical(read.address) if read.address else None
    return _placed(found, book, Sorted(found.bucket, found.id, State.WAITING, verdict, host, whole, reason), read)


def _expanded(
    found: Unsorted, compact: PendingNotification, key: PublicKey | None
) -> tuple[bytes | None, Reason | None]:
    """What a compact form stands for, when the signature then verifies; otherwise why it can't be made whole."""
    if not compact.signed:
        return None, Reason.SESSION_UNKNOWN
    if found.euicc_certificate is None or found.eum_certificate is None or key is None:
        return None, Reason.CERTIFICATE_UNKNOWN
    whole = notices.expand(compact, found.euicc_certificate, found.eum_certificate)
    if notices.judge(whole, key, None) is not Verdict.VERIFIED:
        return None, Reason.SIGNATURE_WRONG
    return whole.raw, None


def _placed(found: Unsorted, book: Book, going: Sorted, read: PendingNotification) -> Sorted:
    if going.reason is not None:
        return _held(found, going.reason, going.verdict, going.host)
    if not read.address or going.host is None:
        return _held(found, Reason.INVALID_ADDRESS if read.address else Reason.NO_ADDRESS, going.verdict)
    if going.verdict is Verdict.REFUSED:
        return _held(found, Reason.SIGNATURE_WRONG, going.verdict, going.host)
    allowed = book.find(found.tenant, going.host)
    if isinstance(allowed, Reason):
        return msgspec.structs.replace(going, state=State.HELD, reason=allowed)
    if book.verified_only and going.verdict is not Verdict.VERIFIED:
        return _held(found, Reason.UNVERIFIED, going.verdict, going.host)
    return going


def _held(found: Unsorted, reason: Reason, verdict: Verdict, host: str | None = None) -> Sorted:
    return Sorted(found.bucket, found.id, State.HELD, verdict, host, None, reason)
