"""TLS certificates of simulated SM-DP+ (CERT.DP.TLS, SGP.22 section 4.5.2.1), sound ones and those with one flaw."""

import ssl
import warnings
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eim.sim.pki import Pki

_ROLE: Final = "2.23.146.1.2.1."  # id-rspRole: 3 dp-tls, 4 dp-auth
_DATA: Final = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
_AGREEMENT: Final = x509.KeyUsage(False, False, False, False, True, False, False, False, False)
_DAY: Final = timedelta(days=1)

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Flaw(Enum):
    """What is wrong with a server's TLS, and nothing else is (SGP.33-3 sections 4.2.15, 4.2.18)."""

    BAD_SIGNATURE = "the issuer is right and another key has signed"
    EXPIRED = "it was valid until yesterday"
    NOT_YET_VALID = "it is valid from tomorrow"
    WRONG_NAME = "it is of another server"
    ONLY_COMMON_NAME = "its name is in the subject alone"
    SELF_SIGNED = "it has signed itself"
    UNKNOWN_CI = "another CI has issued it"
    ISSUED_BY_LEAF = "another server's certificate has issued it"
    WRONG_CURVE = "its key is on P-384"
    RSA_KEY = "its key is RSA"
    WRONG_ROLE = "it has the role of SM-DP+ authentication"
    NO_ROLE = "it has no role"
    WRONG_KEY_USAGE = "its key is for key agreement"
    WRONG_EXTENDED_USAGE = "it is for TLS clients"
    OLD_PROTOCOL = "it speaks TLS 1.1 at most"


def server_context(pki: Pki, names: tuple[str, ...], folder: Path, flaw: Flaw | None = None) -> ssl.SSLContext:
    """The TLS of a server called `names`. `folder` takes its files, which may be deleted afterwards."""
    key, chain = issue(pki, names, flaw)
    path = folder / f"dp-tls-{flaw.name.lower() if flaw else 'sound'}.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + b"".join(each.public_bytes(Encoding.PEM) for each in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if flaw is Flaw.OLD_PROTOCOL:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it is old on purpose
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    if isinstance(pki.root.key.curve, ec.BrainpoolP256R1):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ecdh_curve("brainpoolP256r1")
    context.load_cert_chain(path)
    return context


def issue(pki: Pki, names: tuple[str, ...], flaw: Flaw | None = None) -> tuple[_Key, list[x509.Certificate]]:
    """A key, and the certificates that the server shows: its own first."""
    key = _key(pki, flaw)
    if flaw is Flaw.SELF_SIGNED:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        return key, [_builder(subject, names, key, flaw).sign(key, SHA256())]
    if flaw is Flaw.ISSUED_BY_LEAF:
        leaf_key, (leaf,) = issue(pki, ("another.example.com",))
        return key, [_builder(leaf.subject, names, key, flaw).sign(leaf_key, SHA256()), leaf]
    root = Pki.new(pki.root.key.curve).root if flaw is Flaw.UNKNOWN_CI else pki.root
    signer = ec.generate_private_key(root.key.curve) if flaw is Flaw.BAD_SIGNATURE else root.key
    builder = _builder(root.certificate.subject, names, key, flaw)
    authority = x509.AuthorityKeyIdentifier(root.key_id, None, None)
    return key, [builder.add_extension(authority, critical=False).sign(signer, SHA256())]


def _key(pki: Pki, flaw: Flaw | None) -> _Key:
    if flaw is Flaw.RSA_KEY:
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP384R1() if flaw is Flaw.WRONG_CURVE else pki.root.key.curve)


def _builder(issuer: x509.Name, names: tuple[str, ...], key: _Key, flaw: Flaw | None) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    since = now + _DAY if flaw is Flaw.NOT_YET_VALID else now - 30 * _DAY
    until = now - _DAY if flaw is Flaw.EXPIRED else now + 365 * _DAY
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    number = x509.random_serial_number()
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), number, since, until)
    usage = _AGREEMENT if flaw is Flaw.WRONG_KEY_USAGE else _DATA
    client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
    purposes = [client] if flaw is Flaw.WRONG_EXTENDED_USAGE else [server, client]
    builder = (
        builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=True)
    )
    if flaw is not Flaw.NO_ROLE:
        role = x509.ObjectIdentifier(_ROLE + ("4" if flaw is Flaw.WRONG_ROLE else "3"))
        builder = builder.add_extension(x509.CertificatePolicies([x509.PolicyInformation(role, None)]), critical=False)
    if flaw is Flaw.ONLY_COMMON_NAME:
        return builder
    said = ("another.example.com",) if flaw is Flaw.WRONG_NAME else names
    return builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in said]), critical=False)
