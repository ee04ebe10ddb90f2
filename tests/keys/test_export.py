from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eim.asn1 import sgp32
from eim.asn1.sgp32 import AddInitialEimRequest, CertificateChoice, EimConfigurationData, SpkiChoice
from eim.domain.identity import EimIdType, Identity
from eim.keys.export import Exported, TlsTrust, export
from eim.keys.files import spki_of
from eim.keys.tls import TlsFiles, make_ca_and_leaf

SPKI = spki_of(ec.generate_private_key(ec.SECP256R1()).public_key())
IDENTITY = Identity("default", "eim.example.com", EimIdType.FQDN, "eim.example.com:8443", 5)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return make_ca_and_leaf(tmp_path / "tls", ("eim.example.com",), datetime.now(UTC))


def configuration(exported: Exported) -> EimConfigurationData:
    (only,) = sgp32.decode(AddInitialEimRequest, exported.request).configs
    assert only == sgp32.decode(EimConfigurationData, exported.configuration)
    return only


def test_a_card_is_told_all_that_it_needs(files: TlsFiles) -> None:
    exported = export(IDENTITY, SPKI, files, TlsTrust.CA)
    told = configuration(exported)
    assert (told.eim_id, told.fqdn, told.id_type) == ("eim.example.com", "eim.example.com:8443", 2)
    assert (told.counter, told.association_token) == (5, -1)
    assert told.public_key == SpkiChoice(SPKI)
    assert told.protocols == frozenset({0})
    assert exported.warnings == ()


def test_the_octets_begin_as_the_standard_says(files: TlsFiles) -> None:
    exported = export(IDENTITY, SPKI, files, TlsTrust.NONE)
    size = len(exported.configuration)
    assert (
        exported.request == b"\xbf\x57\x81" + bytes([size + 3]) + b"\xa0\x81" + bytes([size]) + exported.configuration
    )
    # 80 eimId, 81 eimFqdn, 82 eimIdType, 83 counterValue, 84 associationToken -1, A5 { A0 { SPKI without its 30 } }, 87
    text = exported.configuration.hex()
    assert text.startswith("3081")
    assert (
        "800f" + b"eim.example.com".hex() + "8114" + b"eim.example.com:8443".hex() + "820102830105" + "8401ff" in text
    )
    assert "a55ba059" + SPKI[2:].hex() + "87020780" in text


def test_the_ca_is_the_trust_by_default_and_goes_in_without_its_outer_tag(files: TlsFiles) -> None:
    assert files.ca is not None
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes()).public_bytes(Encoding.DER)
    exported = export(IDENTITY, SPKI, files, TlsTrust.CA)
    assert configuration(exported).tls_trust == CertificateChoice(ca)
    assert ca[4:] in exported.configuration
    assert ca not in exported.configuration


def test_pinning_the_leaf_is_possible_and_warns(files: TlsFiles) -> None:
    exported = export(IDENTITY, SPKI, files, TlsTrust.LEAF)
    key = x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_key()
    pinned = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert configuration(exported).tls_trust == SpkiChoice(pinned)
    assert "no device reaches the eIM" in exported.warnings[0]


def test_a_configured_certificate_is_exported_by_the_ca_in_its_file(files: TlsFiles, tmp_path: Path) -> None:
    assert files.ca is not None
    chain = tmp_path / "chain.pem"
    chain.write_bytes(files.certificate.read_bytes() + files.ca.read_bytes())
    told = configuration(export(IDENTITY, SPKI, TlsFiles(None, chain, files.key), TlsTrust.CA))
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes()).public_bytes(Encoding.DER)
    assert told.tls_trust == CertificateChoice(ca)


def test_a_configured_certificate_without_its_ca_gives_no_trust_and_a_warning(files: TlsFiles) -> None:
    exported = export(IDENTITY, SPKI, TlsFiles(None, files.certificate, files.key), TlsTrust.CA)
    assert configuration(exported).tls_trust is None
    assert "without its CA" in exported.warnings[0]


def test_a_card_that_would_look_for_the_eim_on_itself_is_warned_of(files: TlsFiles) -> None:
    here = Identity("default", "eim-1", EimIdType.PROPRIETARY, "localhost:8443")
    assert any("--fqdn" in warning for warning in export(here, SPKI, files, TlsTrust.CA).warnings)
