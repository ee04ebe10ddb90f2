"""The CI roots of the configuration, from files."""

from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from eim.errors import BadConfiguration, KeyUnusable, UntrustedCertificate
from eim.keys.disk import read
from eim.protocol.ecdsa import spki
from eim.protocol.published_keys import Mode, is_published_test_key
from eim.protocol.trust import Roots, load_roots


def read_roots(files: Iterable[Path], mode: Mode) -> Roots:
    """The roots in `files`, each DER or PEM with any number of certificates.

    Raises BadConfiguration with one line for each file that can't serve. Published test roots serve in test mode only.
    """
    problems: list[str] = []
    found: list[bytes] = []
    for file in files:
        try:
            found += _of_file(file, mode)
        except (KeyUnusable, UntrustedCertificate) as error:
            problems.append(f"  trust.roots: {file}: {error}")
    if problems:
        raise BadConfiguration("the roots can't be used:\n" + "\n".join(problems))
    return load_roots(found)


def _of_file(file: Path, mode: Mode) -> list[bytes]:
    ders = certificates_in(read(file, "the root"), f"the root {file}")
    for root in load_roots(ders).certificates:
        if mode is not Mode.TEST and is_published_test_key(spki(root.public_key)):
            raise KeyUnusable(
                "it is a published test root that vouches for any card: remove it, or set server.test_mode"
            )
    return ders


def certificates_in(content: bytes, what: str) -> list[bytes]:
    """The certificates in `content`, PEM or DER, as DER. Raises KeyUnusable when there is none."""
    try:
        if b"-----BEGIN" not in content:
            return [x509.load_der_x509_certificate(content).public_bytes(Encoding.DER)]
        return [each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(content)]
    except ValueError:
        raise KeyUnusable(f"{what} is no certificate: it must be a DER or PEM file") from None
