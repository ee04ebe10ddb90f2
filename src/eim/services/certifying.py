"""A card's certificates come: checked, kept, and what waited for them is looked at (SGP.32 reference, 13.3)."""

import msgspec

from eim.domain.event import Happening
from eim.errors import UntrustedCertificate
from eim.protocol import trust
from eim.protocol.trust import Roots
from eim.services import settling
from eim.services.visit import Visit
from eim.store import associations, notifications


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
        await settling.settle_unverified(visit)
        await notifications.look_again(visit.db, visit.bucket, visit.eid)
    elif visit.card.public_key != key.point:
        await visit.record(Happening.EUICC_KEY_CHANGED, {"why": "a certificate with another key came for a known EID"})
