"""What a factory loads into cards so that they obey this eIM: AddInitialEim or the bare configuration (§3.5)."""

from enum import Enum
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eim.asn1 import sgp32
from eim.asn1.sgp32 import AddInitialEimRequest, CertificateChoice, EimConfigurationData, PublicKeyChoice, SpkiChoice
from eim.domain.identity import Identity, split_host
from eim.errors import KeyUnusable
from eim.keys.disk import read
from eim.keys.roots import certificates_in
from eim.keys.tls import TlsFiles

_DRAW_A_TOKEN: Final = -1  # asks the eUICC for an association token
_RETRIEVE_HTTPS: Final = frozenset({0})
_PINNED: Final = (
    "the cards will trust this one TLS key and no other: if it is ever lost or changed, no device reaches the eIM "
    "again. Export the CA instead unless a device can't check a chain"
)
_NO_CA: Final = (
    "the configured TLS certificate comes without its CA, so the cards get no TLS trust and the devices must have "
    "the CA in their own store: append the CA to the certificate's file to export it"
)


_NOWHERE: Final = (
    "the fqdn is this machine's own name for itself: cards elsewhere would look for the eIM on themselves. Make the "
    "identity with --fqdn before any card is loaded"
)


class TlsTrust(Enum):
    """What the cards are told about our TLS port."""

    CA = "ca"
    LEAF = "leaf"
    NONE = "none"


class Exported(msgspec.Struct, frozen=True):
    """Two complete TLVs; `warnings` are sentences for whoever asked."""

    request: bytes  # BF57, AddInitialEimRequest
    configuration: bytes  # 30, EimConfigurationData
    warnings: tuple[str, ...]


def export(identity: Identity, spki: bytes, files: TlsFiles, trust: TlsTrust) -> Exported:
    """The configuration of `identity` for cards.

    spki   the DER SubjectPublicKeyInfo of the identity's signing key
    files  the TLS port that devices will reach

    The counter is the identity's initial one, and the card draws the association token. Raises KeyUnusable.
    """
    chosen, warnings = _trust(files, trust)
    configuration = EimConfigurationData(
        eim_id=identity.eim_id,
        fqdn=identity.fqdn,
        id_type=identity.eim_id_type.number,
        counter=identity.initial_counter,
        association_token=_DRAW_A_TOKEN,
        public_key=SpkiChoice(spki),
        tls_trust=chosen,
        protocols=_RETRIEVE_HTTPS,
    )
    if split_host(identity.fqdn) in ("localhost", "127.0.0.1", "::1"):
        warnings += (_NOWHERE,)
    request = AddInitialEimRequest((configuration,))
    return Exported(sgp32.encode(request), sgp32.encode(configuration), warnings)


def _trust(files: TlsFiles, trust: TlsTrust) -> tuple[PublicKeyChoice | None, tuple[str, ...]]:
    if trust is TlsTrust.NONE:
        return None, ()
    if trust is TlsTrust.LEAF:
        leaf = _certificates(files)[0]
        return SpkiChoice(leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), (_PINNED,)
    ca = _ca(files)
    return (CertificateChoice(ca), ()) if ca else (None, (_NO_CA,))


def _ca(files: TlsFiles) -> bytes | None:
    """The CA certificate as DER: ours, or the last of the configured file when that is one."""
    if files.ca is not None:
        return certificates_in(read(files.ca, "our TLS CA"), str(files.ca))[0]
    last = _certificates(files)[-1]
    try:
        is_ca = last.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    return last.public_bytes(Encoding.DER) if is_ca else None


def _certificates(files: TlsFiles) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read(files.certificate, "the TLS certificate"))
    except ValueError:
        raise KeyUnusable(f"{files.certificate} is no PEM certificate") from None
