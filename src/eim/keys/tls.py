"""What the TLS ports show: a configured certificate, or a CA and a leaf of our own that are kept with the data.

Devices are told the CA (trustedPublicKeyDataTls of SGP.32 section 2.11.1.1.1), so leaves may be renewed for years.
"""

import ssl
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from eim.errors import KeyUnusable
from eim.keys import issuing
from eim.keys.disk import exists, make_private_folder, read, write_once, write_over
from eim.keys.files import generate, parse_private_key, private_pem, refuse_published
from eim.protocol.ecdsa import Curve
from eim.protocol.published_keys import Mode
from eim.protocol.trust import Roots

_GCM: Final = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"


class Suites(Enum):
    """The TLS 1.2 suites of a port, as OpenSSL names them (SGP.32 section 6.1); TLS 1.3 has its own."""

    ESIPA = _GCM
    ESIPA_CONFORMANCE = f"{_GCM}:ECDHE-ECDSA-AES128-SHA256"
    OPERATOR = f"{_GCM}:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files of one TLS port. `ca` is None when the certificate was configured and its CA is not ours."""

    ca: Path | None
    certificate: Path  # the leaf first, then issuers if there are any
    key: Path


def make_ca_and_leaf(folder: Path, names: Sequence[str], now: datetime) -> TlsFiles:
    """The CA and the leaf in `folder`, made or renewed when that is due.

    names  DNS names and IP addresses that the leaf must have, at least one

    Safe to repeat, also after being killed half-way. The leaf is issued anew, with the same key and from the same CA,
    when less than 60 days are left of its 398 or `names` changed. Raises KeyUnusable.
    """
    make_private_folder(folder)
    authority = issuing.Authority(_certificate_of_ca(folder, now), _key(folder / "ca-key.pem", "the key of our TLS CA"))
    key = _key(folder / "server-key.pem", "the key of our TLS certificate")
    path = folder / "server.pem"
    current = _first(read(path, "our TLS certificate"), path) if exists(path, "our TLS certificate") else None
    if current is None or issuing.is_due(current, authority, key.public_key(), names, now):
        leaf = issuing.issue_leaf(authority, key.public_key(), names, now)
        write_over(path, leaf.public_bytes(Encoding.PEM))
    return TlsFiles(folder / "ca.pem", path, folder / "server-key.pem")


def _certificate_of_ca(folder: Path, now: datetime) -> x509.Certificate:
    path = folder / "ca.pem"
    if not exists(path, "our TLS CA"):
        key = _key(folder / "ca-key.pem", "the key of our TLS CA")
        write_once(path, issuing.issue_ca(key, now).public_bytes(Encoding.PEM))
    ca = _first(read(path, "our TLS CA"), path)
    if ca.not_valid_after_utc <= now:
        raise KeyUnusable(
            f"our TLS CA expired on {ca.not_valid_after_utc:%Y-%m-%d}: devices need another one; move {folder} away"
        )
    return ca


def _key(path: Path, what: str) -> ec.EllipticCurvePrivateKey:
    """The key in `path`, drawn when there is none yet."""
    if not exists(path, what):
        write_once(path, private_pem(generate(Curve.P256)))
    return parse_private_key(read(path, what), what, path)


def configured_pair(certificate: Path, key: Path, now: datetime, mode: Mode) -> TlsFiles:
    """The configured certificate and key, checked.

    Raises KeyUnusable when either can't be read, the key is another one's, a published test key outside test mode, or
    the certificate is not valid now: devices would refuse it one by one, so the port does not open.
    """
    leaf = _first(read(certificate, "the TLS certificate"), certificate)
    if now > leaf.not_valid_after_utc:
        raise KeyUnusable(f"the TLS certificate {certificate} expired on {leaf.not_valid_after_utc:%Y-%m-%d}: renew it")
    if now < leaf.not_valid_before_utc:
        begin = f"{leaf.not_valid_before_utc:%Y-%m-%d}"
        raise KeyUnusable(
            f"the TLS certificate {certificate} is valid from {begin} only: is this machine's clock right?"
        )
    if _public_half(key) != _spki(leaf):
        raise KeyUnusable(f"the TLS key {key} does not belong to the certificate {certificate}: configure its own")
    refuse_published(_spki(leaf), f"the TLS key {key}", mode)
    return TlsFiles(None, certificate, key)


def _public_half(path: Path) -> bytes:
    try:
        key = load_pem_private_key(read(path, "the TLS key"), None)
    except (TypeError, ValueError):
        raise KeyUnusable(f"the TLS key {path} is no PEM private key without passphrase: write it as one") from None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _first(content: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except ValueError:
        raise KeyUnusable(f"{path} is no PEM certificate: write it as one, the server's own first") from None


def smdp_context(roots: Roots, curve: Curve) -> ssl.SSLContext:
    """The TLS context for calls to an SM-DP+ whose certificate leads to a GSMA CI (SGP.22 section 2.6.6).

    roots  anchors of the chain; none are trusted when there are none
    curve  of its certificate: OpenSSL has to offer brainpoolP256r1 itself, which TLS 1.3 doesn't have
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.set_ciphers(_GCM)
    if curve is Curve.BRAINPOOL:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ecdh_curve("brainpoolP256r1")
    if roots.certificates:
        context.load_verify_locations(cadata=b"".join(root.der for root in roots.certificates))
    return context


def server_context(files: TlsFiles, suites: Suites, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    """The context of a port: HTTP/1.1 only, no compression, no renegotiation. Raises KeyUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.set_ciphers(suites.value)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1  # a device has one connection: a second ticket is 200 octets for nothing
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise KeyUnusable(f"{files.certificate} and {files.key} can't serve TLS: {reason}") from None
    return context
