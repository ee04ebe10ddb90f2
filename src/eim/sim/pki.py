"""A certificate issuer, a card maker and its cards' certificates, all in memory (SGP.22 section 4.5.2; SGP.26).

Keys are drawn anew for every `Pki.new()`: no published test key is among them.
"""

import hmac
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from eim.domain.ids import Eid, format_eid
from eim.errors import BadConfiguration

EIN: Final = "89990017"  # the card maker's EID prefix; its certificate permits no other
_MAKER: Final = "Simulated Cards"
_ROLE: Final = "2.23.146.1.2.1."  # id-rspRole: 0 ci, 1 euicc, 2 eum
_FROM: Final = datetime(2024, 1, 1, tzinfo=UTC)
_UNTIL: Final = datetime(2060, 1, 1, tzinfo=UTC)
_CARDS_UNTIL: Final = datetime(
    7496, 1, 24, tzinfo=UTC
)  # cards outlive their keys' usefulness: such dates are in the field
_SIGNS_CERTIFICATES: Final = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
_SIGNS_DATA: Final = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
_SCALAR: Final = 32  # octets
_ORDERS: Final = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "brainpoolP256r1": 0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7,
}
_EID_BODY: Final = 30  # digits before the two check digits


class Credentials(msgspec.Struct, frozen=True):
    """What one card holds. Certificates are complete DER, with their outer 30."""

    eid: Eid
    key: ec.EllipticCurvePrivateKey
    euicc_certificate: bytes
    eum_certificate: bytes
    ci_key_id: bytes  # 20 octets: the SKI of the root, as in euiccCiPKIdListForSigning

    def __repr__(self) -> str:
        return f"Credentials({format_eid(self.eid)})"


class Issuer(msgspec.Struct, frozen=True):
    """A key that signs certificates, and its own certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    key_id: bytes  # the subject key identifier, 20 octets

    def __repr__(self) -> str:
        return f"Issuer({self.certificate.subject.rfc4514_string()!r})"

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


class Pki(msgspec.Struct, frozen=True):
    """A root and one card maker under it, ready to issue cards."""

    root: Issuer
    maker: Issuer
    maker_der: bytes

    @classmethod
    def new(cls, curve: ec.EllipticCurve | None = None) -> "Pki":
        """Fresh keys on `curve`, P-256 when none is named; BrainpoolP256R1 is the other one SGP.32 allows."""
        on = curve or ec.SECP256R1()
        root = _root(ec.generate_private_key(on))
        maker = _maker(ec.generate_private_key(on), root)
        return cls(root, maker, maker.der)

    def __repr__(self) -> str:
        return f"Pki(ci_key_id={self.root.key_id.hex()})"

    @property
    def root_der(self) -> bytes:
        """The root certificate, for the server's list of roots."""
        return self.root.der

    @property
    def root_pem(self) -> bytes:
        return self.root.certificate.public_bytes(Encoding.PEM)

    @property
    def ci_key_id(self) -> bytes:
        """The root's subject key identifier, 20 octets."""
        return self.root.key_id

    def credentials(self, eid: Eid, issue: int = 0) -> Credentials:
        """The key of the card `eid`, with the certificates that lead to the root.

        The same maker gives the same card the same key, so a fleet made again is the fleet it was. Another `issue`
        is another card under the same EID, with a key of its own: a forgery that its maker signed.
        """
        key = _card_key(self.maker.key, eid, issue)
        der = _card_certificate(eid, key.public_key(), self.maker).public_bytes(Encoding.DER)
        return Credentials(eid, key, der, self.maker_der, self.ci_key_id)

    def issue(self, eid: Eid) -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes]:
        """(key, CERT.EUICC, CERT.EUM) for `eid`, as DER."""
        made = self.credentials(eid)
        return made.key, made.euicc_certificate, made.eum_certificate


def _card_key(maker: ec.EllipticCurvePrivateKey, eid: Eid, issue: int) -> ec.EllipticCurvePrivateKey:
    secret = maker.private_numbers().private_value.to_bytes(_SCALAR, "big")
    drawn = b"".join(hmac.digest(secret, bytes((issue, part)) + eid, "sha256") for part in range(2))
    return ec.derive_private_key(int.from_bytes(drawn, "big") % (_ORDERS[maker.curve.name] - 1) + 1, maker.curve)


def _root(key: ec.EllipticCurvePrivateKey) -> Issuer:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Simulated CI"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Simulated CI"),
        ]
    )
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(name, name, key.public_key(), _UNTIL)
        .add_extension(key_id, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(_role(0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("2.999.1"))]), critical=False
        )
    )
    return Issuer(key, builder.sign(key, SHA256()), key_id.digest)


def _maker(key: ec.EllipticCurvePrivateKey, root: Issuer) -> Issuer:
    maker = x509.NameAttribute(NameOID.ORGANIZATION_NAME, _MAKER)
    permitted = x509.DirectoryName(x509.Name([maker, x509.NameAttribute(NameOID.SERIAL_NUMBER, EIN)]))
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(
            x509.Name([maker, x509.NameAttribute(NameOID.COMMON_NAME, "Simulated EUM")]),
            root.certificate.subject,
            key.public_key(),
            _UNTIL,
        )
        .add_extension(_authority(root), critical=False)
        .add_extension(key_id, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(_role(2), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=[permitted], excluded_subtrees=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("2.999.5"))]), critical=False
        )
    )
    return Issuer(key, builder.sign(root.key, SHA256()), key_id.digest)


def _card_certificate(eid: Eid, key: ec.EllipticCurvePublicKey, maker: Issuer) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _MAKER),
            x509.NameAttribute(NameOID.COMMON_NAME, "Simulated eUICC"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, format_eid(eid)),
        ]
    )
    builder = (
        _builder(subject, maker.certificate.subject, key, _CARDS_UNTIL)
        .add_extension(_authority(maker), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_SIGNS_DATA, critical=True)
        .add_extension(_role(1), critical=True)
    )
    return builder.sign(maker.key, SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), _FROM, until)


def _authority(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(issuer.key_id, None, None)


def _role(number: int) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(f"{_ROLE}{number}"), None)])


def eids(prefix: str, n: int) -> list[Eid]:
    """`n` EIDs that start with the digits `prefix`, numbered from 1, with right check digits (SGP.02 section 2.2.2)."""
    room = _EID_BODY - len(prefix)
    if not prefix.isdigit() or room < len(str(n)):
        raise BadConfiguration(
            f"no room for {n} EIDs behind {prefix!r}: give a prefix of digits, shorter than {_EID_BODY - len(str(n))}"
        )
    return [_with_check_digits(f"{prefix}{number:0{room}d}") for number in range(1, n + 1)]


def _with_check_digits(body: str) -> Eid:
    check = 98 - int(body) * 100 % 97
    return Eid(bytes.fromhex(f"{body}{check:02d}"))
