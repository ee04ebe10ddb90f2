from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eim._fast import ecdsa as native
from eim.errors import Malformed
from eim.protocol.ecdsa import (
    CRYPTOGRAPHY,
    Check,
    Curve,
    NativeProvider,
    Provider,
    PublicKey,
    public_key_from_spki,
    raw_signature,
    spki,
    verify,
    verify_batch,
    verify_der,
)

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ORDERS = {Curve.P256: N, Curve.BRAINPOOL: 0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7}
CURVES = {Curve.P256: ec.SECP256R1(), Curve.BRAINPOOL: ec.BrainpoolP256R1()}
MESSAGE = b"what was signed"
PROVIDERS = (CRYPTOGRAPHY, NativeProvider()) if native.available() else (CRYPTOGRAPHY,)


class Signed:
    """A key of our own and a sound signature of it over MESSAGE."""

    def __init__(self, curve: Curve) -> None:
        self.private = ec.generate_private_key(CURVES[curve])
        self.spki = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key = public_key_from_spki(self.spki)
        self.der = self.private.sign(MESSAGE, ec.ECDSA(SHA256()))
        self.r, self.s = decode_dss_signature(self.der)
        self.raw = raw(self.r, self.s)


def raw(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@pytest.fixture(params=list(Curve), ids=lambda curve: curve.value)
def signed(request: pytest.FixtureRequest) -> Signed:
    return Signed(request.param)


def test_a_sound_signature_holds_raw_and_as_der(signed: Signed) -> None:
    assert verify(signed.key, MESSAGE, signed.raw)
    assert verify_der(signed.key, MESSAGE, signed.der)


def test_the_malleable_twin_is_a_signature_too(signed: Signed) -> None:
    assert verify(signed.key, MESSAGE, raw(signed.r, ORDERS[signed.key.curve] - signed.s))


def test_another_message_or_another_key_does_not_hold(signed: Signed) -> None:
    assert not verify(signed.key, MESSAGE + b".", signed.raw)
    assert not verify(Signed(signed.key.curve).key, MESSAGE, signed.raw)


def test_der_does_not_pass_for_raw_nor_raw_for_der(signed: Signed) -> None:
    assert not verify(signed.key, MESSAGE, signed.der)
    assert not verify_der(signed.key, MESSAGE, signed.raw)


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_only_64_octets_can_be_a_signature(signed: Signed, size: int) -> None:
    assert not verify(signed.key, MESSAGE, (signed.raw * 2)[:size])
    assert not verify(signed.key, MESSAGE, signed.raw.rjust(size, b"\0")[:size])


def test_numbers_out_of_range_are_no_signature(signed: Signed) -> None:
    order = ORDERS[signed.key.curve]
    for bad in (0, order, order + 1, P, 2**256 - 1):
        assert not verify(signed.key, MESSAGE, raw(bad, signed.s))
        assert not verify(signed.key, MESSAGE, raw(signed.r, bad))
        assert not verify_der(signed.key, MESSAGE, encode_dss_signature(bad, signed.s))
        assert not verify_der(signed.key, MESSAGE, encode_dss_signature(signed.r, bad))
        for other in (0, order, order + 1, P, 2**256 - 1):
            assert not verify(signed.key, MESSAGE, raw(bad, other))


def test_der_is_read_strictly(signed: Signed) -> None:
    inner = signed.der[2:]
    for broken in (
        b"",
        signed.der + b"\0",
        signed.der[:-1],
        b"\x30\x81" + signed.der[1:],  # a length in two octets that fits in one
        b"\x30\x80" + inner + b"\0\0",  # BER, indefinite length
        b"\x31" + signed.der[1:],
        encode_dss_signature(signed.r + (1 << 256), signed.s),
    ):
        assert raw_signature(broken) is None
        assert not verify_der(signed.key, MESSAGE, broken)


def test_a_key_survives_its_way_through_der(signed: Signed) -> None:
    assert spki(signed.key) == signed.spki
    assert len(signed.key.point) == 65


def test_points_that_are_none_are_refused(signed: Signed) -> None:
    prefix = signed.spki[:-65]
    x, y = signed.key.point[1:33], signed.key.point[33:]
    off_curve = bytes([y[-1] ^ 1])
    for point in (
        b"\x04" + x + y[:-1] + off_curve,
        b"\x04" + bytes(64),
        b"\x04" + P.to_bytes(32, "big") + y,
        b"\x05" + x + y,
    ):
        with pytest.raises(Malformed):
            public_key_from_spki(prefix + point)
        for provider in PROVIDERS:
            assert not verify(PublicKey(signed.key.curve, point), MESSAGE, signed.raw, provider)


def test_a_point_of_one_curve_is_none_of_the_other() -> None:
    key = PublicKey(Curve.BRAINPOOL, Signed(Curve.P256).key.point)
    for provider in PROVIDERS:
        assert not verify(key, MESSAGE, bytes(31) + b"\1" + bytes(31) + b"\1", provider)


def test_only_the_one_spelling_of_a_key_is_taken(signed: Signed) -> None:
    compressed = signed.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    infinity = bytes.fromhex("3019301306072a8648ce3d020106082a8648ce3d03010703020000")
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    for der in (
        b"",
        signed.spki[:-1],
        signed.spki + b"\0",
        bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed,
        infinity,
        p384.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        explicit_parameters(signed.key.point),
    ):
        with pytest.raises(Malformed):
            public_key_from_spki(der)


def explicit_parameters(point: bytes) -> bytes:
    """P-256 written out (RFC 3279 SpecifiedECDomain) instead of named: the door of CVE-2020-0601."""
    a, b = P - 3, 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    g = bytes.fromhex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    )
    field = tlv(0x30, bytes.fromhex("06072a8648ce3d0101") + tlv(0x02, b"\0" + P.to_bytes(32, "big")))
    curve = tlv(0x30, tlv(0x04, a.to_bytes(32, "big")) + tlv(0x04, b.to_bytes(32, "big")))
    order = tlv(0x02, b"\0" + N.to_bytes(32, "big"))
    parameters = tlv(0x30, b"\x02\x01\x01" + field + curve + tlv(0x04, g) + order + b"\x02\x01\x01")
    return tlv(0x30, tlv(0x30, bytes.fromhex("06072a8648ce3d0201") + parameters) + tlv(0x03, b"\0" + point))


def tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + value


def test_the_provider_that_is_given_judges() -> None:
    class Refusing:
        def check_point(self, key: PublicKey) -> None:
            raise Malformed("this provider knows no point")

        def verify(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
            return False

        def verify_many(self, curve: Curve, checks: Sequence[Check]) -> Sequence[bool]:
            return [False] * len(checks)

    signed = Signed(Curve.P256)
    assert not verify(signed.key, MESSAGE, signed.raw, Refusing())
    with pytest.raises(Malformed):
        public_key_from_spki(signed.spki, Refusing())


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: type(provider).__name__)
def test_a_batch_of_both_curves_gets_its_verdicts_in_order(provider: Provider) -> None:
    first, second = Signed(Curve.P256), Signed(Curve.BRAINPOOL)
    checks = [
        Check(first.key, MESSAGE, first.raw),
        Check(second.key, MESSAGE, second.raw),
        Check(second.key, MESSAGE, first.raw),
        Check(first.key, MESSAGE, first.raw[:-1]),
        Check(first.key, MESSAGE + b".", first.raw),
        Check(second.key, MESSAGE, second.raw),
    ]
    assert verify_batch(checks, provider) == [True, True, False, False, False, True]
