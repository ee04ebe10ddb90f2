"""How one virtual card deviates from the plain SGP.32 v1.2 one, as cards of the field do or the text allows."""

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


class Curves(Enum):
    """The keys of eIMs that a card can use (SGP.32 v1.2, one of P-256 and brainpoolP256r1 at least)."""

    BOTH = "both"
    OWN = "own"  # only those on the curve of its own key: another one is answered commandError


class TagLists(Enum):
    """What an IPA makes of a data request with tags of another version."""

    TOLERANT = "tolerant"  # leaves out what it doesn't know
    STRICT = "strict"  # incorrectTagList


class ProfileTags(Enum):
    """What a card makes of a listProfileInfo that names tags."""

    ANY = "any"  # gives those it knows
    REFUSED = "refused"  # incorrectInputValues: it takes only the plain form
    UNKNOWN = "unknown"  # and this one ends the package: unknownOrDamagedCommand


class NotificationForm(Enum):
    FULL = "full"  # OtherSignedNotification, with the certificates
    COMPACT = "compact"  # CompactOtherSignedNotification: the eIM adds them


class UnsignedErrors(Enum):
    """Whether an unsigned error tells the association token, as one open IPA does."""

    PLAIN = "plain"
    WITH_TOKEN = "withToken"


class Switches(msgspec.Struct, frozen=True):
    """One card's habits."""

    speaks: Speaks = Speaks.V1_2
    form: SignatureForm = SignatureForm.TOKEN  # what is signed behind the data; NONE: the placeholder, seqNumber 0
    coding: SignatureCoding = SignatureCoding.RAW
    shape: ResultShape = ResultShape.TAGGED
    curves: Curves = Curves.BOTH
    tag_lists: TagLists = TagLists.TOLERANT
    profile_tags: ProfileTags = ProfileTags.ANY
    notifications: NotificationForm = NotificationForm.FULL
    unsigned: UnsignedErrors = UnsignedErrors.PLAIN
    largest_package: int | None = None  # octets of BF51; a larger one is answered sizeOverflow
    largest_result: int | None = None  # octets of all EuiccResultData; more is answered resultSizeOverflow
    room_for_eims: int | None = None  # a further one is answered insufficientMemory


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
