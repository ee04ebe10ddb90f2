"""Marks: what a denial calls a card, a maker or a certificate by; and the marks of one card."""

from typing import Final

from eim.domain.ids import Eid

SHORTEST_EIN: Final = 6  # digits; an EUM's identification number has 8 or more
LONGEST_EIN: Final = 20


def of_eid(eid: Eid) -> tuple[str, ...]:
    """The marks that an EID has by itself: its own, and each prefix that may be an EUM's number."""
    digits = eid.hex()
    return (one(eid), *(ein(digits[:size]) for size in range(SHORTEST_EIN, LONGEST_EIN + 1)))


def one(eid: Eid) -> str:
    """The mark of a single card."""
    return f"eid:{eid.hex()}"


def ein(digits: str) -> str:
    """The mark of all EIDs that begin with `digits`."""
    return f"ein:{digits}"


def eum(key_id: bytes) -> str:
    """The mark of all cards whose EUM certificate has this subject key identifier."""
    return f"eum:{key_id.hex()}"


def certificate(fingerprint: bytes) -> str:
    """The mark of one certificate, the card's or its EUM's: the SHA-256 of its DER."""
    return f"cert:{fingerprint.hex()}"


def serial(number: int, issuer_key_id: bytes) -> str:
    """The mark of the certificate that an issuer, by its key identifier, gave this serial number."""
    return f"serial:{number:x}@{issuer_key_id.hex()}"
