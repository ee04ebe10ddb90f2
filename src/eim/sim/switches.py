"""How one virtual card deviates from the plain SGP.32 v1.2 one. Each has been seen in the field."""

from enum import Enum
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks

PLACEHOLDER: Final = b"R" * 32 + b"S" * 32  # what emulated consumer cards give instead of a signature
_HALF: Final = 32


class ResultShape(Enum):
    """The tag around a signed result in BF51."""

    TAGGED = 0xA0
    BARE = 0x30


class Switches(msgspec.Struct, frozen=True):
    """One card's habits."""

    speaks: Speaks = Speaks.V1_2
    form: SignatureForm = SignatureForm.TOKEN  # what is signed behind the data; NONE: the placeholder, seqNumber 0
    coding: SignatureCoding = SignatureCoding.RAW
    shape: ResultShape = ResultShape.TAGGED


STANDARD: Final = Switches()


def sign(key: ec.EllipticCurvePrivateKey, tbs: bytes, coding: SignatureCoding) -> bytes:
    """ECDSA with SHA-256: r || s in 64 octets, or DER for a card that has that wrong."""
    der = key.sign(tbs, ec.ECDSA(SHA256()))
    if coding is SignatureCoding.DER:
        return der
    r, s = decode_dss_signature(der)
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


def verify(key: ec.EllipticCurvePublicKey, tbs: bytes, signature: bytes) -> bool:
    """Whether `signature` is 64 octets r || s and holds; a card accepts no other coding."""
    if len(signature) != 2 * _HALF:
        return False
    der = encode_dss_signature(int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big"))
    try:
        key.verify(der, tbs, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
