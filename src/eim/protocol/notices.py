"""Notifications that cards sign for an SM-DP+: whose signature it is, and compact forms made whole. Pure.

SGP.32 sections 3.7, 5.14.7; SGP.22 section 5.7.
"""

from datetime import datetime

import msgspec

from eim.asn1.rsp import PendingNotification
from eim.asn1.sgp32 import encode
from eim.domain.ids import Eid
from eim.domain.notification import Verdict
from eim.errors import UntrustedCertificate
from eim.protocol.ecdsa import PublicKey, verify
from eim.protocol.trust import Roots, TrustedEuicc, check_chain


def judge(notification: PendingNotification, key: PublicKey | None, shown: TrustedEuicc | None) -> Verdict:
    """Whose signature it is.

    key    the one that is known of the card
    shown  what the certificates inside prove, when they are the card's

    A card may have a second key under another CI, and an installation result brings no certificate; so a signature
    that the known key didn't make says nothing, unless the certificate inside is the card's and it isn't that key's.
    """
    keys = [each for each in (shown.public_key if shown else None, key) if each is not None]
    if not notification.signed:
        return Verdict.UNVERIFIED
    if any(verify(each, notification.signed, notification.signature) for each in keys):
        return Verdict.VERIFIED
    return Verdict.REFUSED if shown is not None else Verdict.UNVERIFIED


def shown_in(notification: PendingNotification, eid: Eid, roots: Roots, at: datetime) -> TrustedEuicc | None:
    """What its certificates prove, when they lead to a root and are of `eid`; None otherwise."""
    if notification.euicc_certificate is None or notification.eum_certificate is None:
        return None
    try:
        trusted = check_chain(notification.euicc_certificate, notification.eum_certificate, roots, at)
    except UntrustedCertificate:
        return None
    return trusted if trusted.eid == eid else None


def expand(compact: PendingNotification, euicc_certificate: bytes, eum_certificate: bytes) -> PendingNotification:
    """The OtherSignedNotification that a CompactOtherSignedNotification stands for (SGP.32 section 5.14.7).

    What the card signed stays as it came. Whether these are the right certificates, the signature says: `judge`.
    """
    whole = msgspec.structs.replace(
        compact,
        kind="otherSignedNotification",
        euicc_certificate=euicc_certificate,
        eum_certificate=eum_certificate,
        raw=b"",
    )
    return msgspec.structs.replace(whole, raw=encode(whole))
