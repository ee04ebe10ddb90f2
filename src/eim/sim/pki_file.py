"""A simulated PKI kept in a file: later fleets come from the same card maker, and a server needs its root once."""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from eim.errors import BadConfiguration
from eim.sim.pki import Issuer, Pki


def load_or_make(path: Path, curve: ec.EllipticCurve | None = None) -> Pki:
    """The PKI in `path`, a new one on `curve` (P-256 by default) written there when the file is missing; mode 0600.

    Raises BadConfiguration when the file holds something else.
    """
    if path.exists():
        return _load(path)
    pki = Pki.new(curve)
    pem = b"".join(_pem(issuer) for issuer in (pki.root, pki.maker))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return pki


def _pem(issuer: Issuer) -> bytes:
    key = issuer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + issuer.certificate.public_bytes(Encoding.PEM)


def _load(path: Path) -> Pki:
    pem = path.read_bytes()
    blocks = [b"-----BEGIN PRIVATE KEY" + block for block in pem.split(b"-----BEGIN PRIVATE KEY")[1:]]
    try:
        root, maker = (_issuer(block) for block in blocks)
    except (ValueError, x509.ExtensionNotFound):
        raise BadConfiguration(f"{path} is no simulated PKI: name another file, or none to make one") from None
    return Pki(root, maker, maker.der)


def _issuer(block: bytes) -> Issuer:
    key = load_pem_private_key(block, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadConfiguration("the simulated PKI has a key of another kind than an elliptic curve: name another file")
    certificate = x509.load_pem_x509_certificate(block)
    return Issuer(
        key, certificate, certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
