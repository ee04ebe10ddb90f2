"""Issuing our own TLS certificates: one CA of 20 years, leaves of 398 days under it (SGP.32 section 2.11, SGP.26)."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_LIFE: Final = timedelta(days=20 * 365)
_LEAF_LIFE: Final = timedelta(days=398)
_RENEW_BEFORE: Final = timedelta(days=60)
_SKEW: Final = timedelta(hours=24)  # devices' clocks run late
_NOTHING: Final = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}
_SIGNS_CERTIFICATES: Final = x509.KeyUsage(**_NOTHING | {"key_cert_sign": True, "crl_sign": True})
_SIGNS_DATA: Final = x509.KeyUsage(**_NOTHING | {"digital_signature": True})


class Authority(msgspec.Struct, frozen=True):
    """A CA with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"Authority({self.certificate.subject.rfc4514_string()})"


def issue_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """A self-signed CA certificate. Its name holds the key's identifier: two installations never share one."""
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"eim TLS CA {key_id.digest.hex()[:8]}")])
    return (
        _builder(name, name, key.public_key(), now)
        .not_valid_after(now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, SHA256())
    )


def issue_leaf(
    authority: Authority, key: ec.EllipticCurvePublicKey, names: Sequence[str], now: datetime
) -> x509.Certificate:
    """A server certificate for `names`, never outliving its CA."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    ca = authority.certificate
    return (
        _builder(subject, ca.subject, key, now)
        .not_valid_after(min(now + _LEAF_LIFE - _SKEW, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SIGNS_DATA, critical=True)
        .add_extension(usage, critical=False)
        .add_extension(_alternatives(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, SHA256())
    )


def is_due(
    leaf: x509.Certificate,
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    names: Sequence[str],
    now: datetime,
) -> bool:
    """Whether `leaf` must be issued anew: dates, key, names or issuer are not (or soon no longer) right."""
    left = leaf.not_valid_after_utc - now
    # A CA in its last weeks can't give a later end: then the one there serves until it ends.
    ending = left < _RENEW_BEFORE and leaf.not_valid_after_utc < authority.certificate.not_valid_after_utc
    return (
        ending
        or now < leaf.not_valid_before_utc
        or leaf.public_key() != key
        or _alternatives_of(leaf) != set(_alternatives(names))
        or not _is_issued_by(leaf, authority)
    )


def _is_issued_by(leaf: x509.Certificate, authority: Authority) -> bool:
    try:
        leaf.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _alternatives_of(leaf: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _alternatives(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_alternative(name) for name in dict.fromkeys(names)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number()).not_valid_before(now - _SKEW)
