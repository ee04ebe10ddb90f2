"""A card's certificates come: checked, kept, and what waited for them is looked at (SGP.32 reference, 13.3)."""

import hashlib

import msgspec

from eim.domain.event import Happening
from eim.domain.suspicion import Why
from eim.errors import UntrustedCertificate
from eim.protocol import trust
from eim.protocol.marks import marks_of
from eim.protocol.trust import Roots, TrustedEuicc
from eim.services import barring, settling
from eim.services.visit import Visit
from eim.store import associations, denials, notifications


async def certify(visit: Visit, chain: tuple[bytes, bytes], roots: Roots) -> None:
    """Check the chain and keep it. Another key for an EID we know is an alarm, not an update.

    chain  the certificates of the eUICC and of its EUM, as DER
    """
    try:
        trusted = trust.check_chain(*chain, roots, visit.now)
    except UntrustedCertificate as refusal:
        await visit.record(Happening.CERTIFICATE_REFUSED, {"why": str(refusal)})
        return
    key = trusted.public_key
    if trusted.eid != visit.eid:
        await visit.record(Happening.CERTIFICATE_REFUSED, {"why": "it is of another EID"})
    elif visit.card.public_key is None:
        known = (key.curve.value, key.point)
        await associations.certify(visit.db, visit.bucket, visit.eid, chain, known, trusted.ci_key_id)
        visit.card = msgspec.structs.replace(visit.card, curve=key.curve.value, public_key=key.point)
        await visit.audit("euicc.certified", {"ci": trusted.ci_key_id.hex()})
        await _perhaps_denied(visit, chain)
        await settling.settle_unverified(visit)
        await notifications.look_again(visit.db, visit.bucket, visit.eid)
    elif visit.card.public_key != key.point:
        await _second_key(visit, chain[0], trusted)


async def _second_key(visit: Visit, certificate: bytes, trusted: TrustedEuicc) -> None:
    """A card may have a certificate under each of several issuers. Two keys under one issuer are two cards."""
    same = trusted.ci_key_id == visit.card.ci_key_id
    why = "a certificate with another key came for a known EID" + ("" if same else ", of another issuer")
    await visit.record(Happening.EUICC_KEY_CHANGED, {"why": why})
    if same:
        prints = [hashlib.sha256(each or b"").hexdigest() for each in (visit.card.euicc_certificate, certificate)]
        await barring.suspect(visit, Why.SECOND_KEY, {"known": prints[0], "new": prints[1]})


async def _perhaps_denied(visit: Visit, chain: tuple[bytes, bytes]) -> None:
    marks = marks_of(*chain)
    await denials.mark(visit.db, visit.bucket, visit.eid, marks)
    denial = await denials.standing(visit.db, visit.tenant, marks)
    if denial is not None and visit.card.denied_by is None:
        await barring.deny(visit, denial, "device")
