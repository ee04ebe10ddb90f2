"""What a card's certificates may be denied by: fingerprints, serial numbers, the EUM's key identifier."""

import hashlib

from eim.domain import denial
from eim.protocol.certificates import Who, parse


def marks_of(euicc: bytes, eum: bytes) -> tuple[str, ...]:
    """The marks of a card by its own and its EUM's certificate, both DER. Raises UntrustedCertificate."""
    own, maker = parse(euicc, Who.EUICC), parse(eum, Who.EUM)
    marks = [denial.certificate(hashlib.sha256(each.der).digest()) for each in (own, maker)]
    marks += [denial.serial(each.serial, each.authority_key_id or b"") for each in (own, maker)]
    return (*marks, denial.eum(maker.subject_key_id or b""))
