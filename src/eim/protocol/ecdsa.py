"""ECDSA with SHA-256 on the two curves of SGP.32 section 2.11 (SGP.22 section 2.6.7): public keys and signatures.

Verification goes through a `Provider`: libcrypto bound natively where there is one, `cryptography` where there is none
(an interpreter with a static OpenSSL on a machine without libcrypto). Both judge alike; a caller may name one.
"""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from eim._fast import ecdsa as native
from eim.errors import Malformed

SIGNATURE_SIZE: Final = 64  # r || s, 32 octets each, big-endian (TR-03111 plain)
POINT_SIZE: Final = 65  # 04 || x || y


class Curve(Enum):
    """The value is the name people and the database use."""

    P256 = "P-256"
    BRAINPOOL = "brainpoolP256r1"


class PublicKey(msgspec.Struct, frozen=True):
    """A public key as its point. `public_key_from_spki` has checked that it lies on the curve."""

    curve: Curve
    point: bytes  # 65 octets, 04 || x || y


class Provider(Protocol):
    """What a library must do to verify for us. `signature` is 64 octets with r and s in 1..n-1."""

    def check_point(self, key: PublicKey) -> None:
        """Raise Malformed when the point is not on the curve."""
        ...

    def verify(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        """False also for a key that is no point on its curve."""
        ...

    def verify_many(self, curve: Curve, checks: "Sequence[Check]") -> Sequence[bool]:
        """The verdicts, in order. All keys are on `curve`."""
        ...


class Check(msgspec.Struct, frozen=True):
    """One question: is `signature` (r || s) one of `key` over SHA-256(`message`)?"""

    key: PublicKey
    message: bytes
    signature: bytes


# All of a SubjectPublicKeyInfo before its point: id-ecPublicKey, the named curve, a BIT STRING of 66 octets. DER has no
# other spelling, so whatever doesn't begin so has explicit parameters, a compressed point, infinity or another curve.
_SPKI_PREFIX: Final = {
    Curve.P256: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
    Curve.BRAINPOOL: bytes.fromhex("305a301406072a8648ce3d020106092b2403030208010107034200"),
}
_ORDER: Final = {
    Curve.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Curve.BRAINPOOL: 0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7,
}
_ORDER_OCTETS: Final = {curve: order.to_bytes(32, "big") for curve, order in _ORDER.items()}
_ZERO: Final = bytes(32)


class CryptographyProvider:
    """pyca/cryptography. Holds nothing: any number of threads may share one."""

    def check_point(self, key: PublicKey) -> None:
        _load(key)

    def verify(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        try:
            _load(key).verify(der, message, ec.ECDSA(SHA256()))
        except (InvalidSignature, Malformed):
            return False
        return True

    def verify_many(self, curve: Curve, checks: Sequence[Check]) -> Sequence[bool]:
        return [self.verify(each.key, each.message, each.signature) for each in checks]


class NativeProvider:
    """libcrypto, without the GIL. Holds nothing: any number of threads may share one.

    threads  among how many a large batch is shared; one where every core has a process of its own already
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def check_point(self, key: PublicKey) -> None:
        if len(key.point) != POINT_SIZE or key.point[0] != 4:
            raise Malformed("the public key is not an uncompressed point of 65 octets")
        if not native.is_on_curve(_LANE[key.curve], key.point):
            raise Malformed(f"the public key is not a point on {key.curve.value}")

    def verify(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        return self.verify_many(key.curve, [Check(key, message, signature)])[0]

    def verify_many(self, curve: Curve, checks: Sequence[Check]) -> Sequence[bool]:
        points = b"".join([each.key.point for each in checks])
        signatures = b"".join([each.signature for each in checks])
        messages = [each.message for each in checks]
        verdicts = native.verify_messages(_LANE[curve], points, messages, signatures, self._threads)
        return [verdict == 1 for verdict in verdicts]


_LANE: Final = {Curve.P256: native.P256, Curve.BRAINPOOL: native.BRAINPOOL}
CRYPTOGRAPHY: Final[Provider] = CryptographyProvider()
DEFAULT: Final[Provider] = NativeProvider() if native.available() else CRYPTOGRAPHY


# A memo of a pure function over immutable values: EUM and CI keys come back at each chain, and one result is tried
# against several candidates. 1024 keys are about a megabyte.
@lru_cache(maxsize=1024)
def _load(key: PublicKey) -> ec.EllipticCurvePublicKey:
    curve: ec.EllipticCurve = ec.SECP256R1() if key.curve is Curve.P256 else ec.BrainpoolP256R1()
    if len(key.point) != POINT_SIZE or key.point[0] != 4:
        raise Malformed("the public key is not an uncompressed point of 65 octets")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, key.point)
    except ValueError:
        raise Malformed(f"the public key is not a point on {key.curve.value}") from None
    except UnsupportedAlgorithm:
        raise Malformed(f"the OpenSSL in use does not know {key.curve.value}") from None


def public_key_from_spki(der: bytes, provider: Provider = DEFAULT) -> PublicKey:
    """The key in a complete DER SubjectPublicKeyInfo (91 octets on P-256, 92 on brainpoolP256r1).

    Raises Malformed for any other curve, explicit parameters, a compressed point, infinity and a point off the curve.
    """
    for curve, prefix in _SPKI_PREFIX.items():
        if der.startswith(prefix) and len(der) == len(prefix) + POINT_SIZE and der[len(prefix)] == 4:
            key = PublicKey(curve, bytes(der[len(prefix) :]))
            provider.check_point(key)
            return key
    raise Malformed("the public key is not an uncompressed point on P-256 or brainpoolP256r1, named by its OID")


def spki(key: PublicKey) -> bytes:
    """The DER SubjectPublicKeyInfo of `key`."""
    return _SPKI_PREFIX[key.curve] + key.point


def verify(key: PublicKey, message: bytes, signature: bytes, provider: Provider = DEFAULT) -> bool:
    """Whether `signature`, exactly 64 octets r || s, is one of `key` over SHA-256(`message`).

    Any other length, and r or s outside 1..n-1, is False. The malleable twin (r, n - s) is as valid as its
    brother: never use a signature's octets to tell one message from another.
    """
    return _in_range(key.curve, signature) and provider.verify(key, message, signature)


def verify_batch(checks: Sequence[Check], provider: Provider = DEFAULT) -> list[bool]:
    """`verify` for each, in order. The curves are separate lanes: a slow one holds up nothing of the other."""
    verdicts = [False] * len(checks)
    for curve in Curve:
        lane = [at for at, each in enumerate(checks) if each.key.curve is curve and _in_range(curve, each.signature)]
        for at, verdict in zip(lane, provider.verify_many(curve, [checks[at] for at in lane]), strict=True):
            verdicts[at] = verdict
    return verdicts


def _in_range(curve: Curve, signature: bytes) -> bool:
    if len(signature) != SIGNATURE_SIZE:
        return False
    order = _ORDER_OCTETS[curve]  # big-endian of one length compare like numbers
    return _ZERO < signature[:32] < order and _ZERO < signature[32:] < order


def verify_der(key: PublicKey, message: bytes, signature: bytes, provider: Provider = DEFAULT) -> bool:
    """The same for the deviation of some cards, an X9.62 Ecdsa-Sig-Value; strictly DER, anything else is False."""
    raw = raw_signature(signature)
    return raw is not None and verify(key, message, raw, provider)


def raw_signature(der: bytes) -> bytes | None:
    """The 64 octets r || s of a DER Ecdsa-Sig-Value; None when it is not DER or its numbers don't fit 32 octets."""
    try:
        r, s = decode_dss_signature(der)
        if encode_dss_signature(r, s) != der:
            return None
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    except (ValueError, OverflowError):
        return None
