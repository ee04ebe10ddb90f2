import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eim.errors import KeyUnusable
from eim.keys.files import private_pem
from eim.keys.tls import Suites, TlsFiles, configured_pair, make_ca_and_leaf, server_context
from eim.protocol.published_keys import Mode

SGP26 = Path(__file__).resolve().parents[3] / "shared" / "data" / "sgp26"
NAMES = ("eim.example.com", "localhost", "127.0.0.1", "::1")
NOW = datetime.now(UTC)
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Spoken(msgspec.Struct, frozen=True):
    """What client and server agreed on."""

    version: str | None
    cipher: str
    protocol: str | None
    certificate: bytes | None


@contextmanager
def listening(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that greets each client, once for each connection, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server, context), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _greet(server: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = server.accept()
        except OSError:
            return
        plain.settimeout(5)
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.sendall(b"hello")
        except OSError:
            plain.close()


def call(port: int, client: ssl.SSLContext, name: str = "eim.example.com") -> Spoken:
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        client.wrap_socket(plain, server_hostname=name) as connection,
    ):
        assert connection.recv(5) == b"hello"
        cipher = connection.cipher()
        assert cipher is not None
        protocol = connection.selected_alpn_protocol()
        return Spoken(connection.version(), cipher[0], protocol, connection.getpeercert(binary_form=True))


def client(files: TlsFiles, maximum: ssl.TLSVersion = TLS_1_3, ciphers: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.maximum_version = maximum
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def leaf(files: TlsFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return make_ca_and_leaf(tmp_path / "tls", NAMES, NOW)


@pytest.mark.parametrize("name", ["eim.example.com", "localhost", "127.0.0.1", "::1"])
def test_a_device_that_holds_the_ca_reaches_the_server_by_each_name(files: TlsFiles, name: str) -> None:
    with listening(server_context(files, Suites.ESIPA, TLS_1_2)) as port:
        assert call(port, client(files), name).version == "TLSv1.3"


def test_a_device_of_tls_1_2_gets_the_suite_of_the_specification_and_http_1_1(files: TlsFiles) -> None:
    with listening(server_context(files, Suites.ESIPA, TLS_1_2)) as port:
        spoken = call(port, client(files, TLS_1_2))
        assert (spoken.version, spoken.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")
        assert spoken.protocol == "http/1.1"
        assert call(port, client(files, TLS_1_2, "ECDHE-ECDSA-AES256-GCM-SHA384")).version == "TLSv1.2"


def test_whoever_does_not_hold_the_ca_or_expects_another_name_turns_away(files: TlsFiles, tmp_path: Path) -> None:
    other = make_ca_and_leaf(tmp_path / "other", NAMES, NOW)
    with listening(server_context(files, Suites.ESIPA, TLS_1_2)) as port:
        with pytest.raises(ssl.SSLCertVerificationError):
            call(port, client(other))
        with pytest.raises(ssl.SSLCertVerificationError):
            call(port, client(files), "other.example.com")


def test_old_suites_are_refused_and_cbc_is_there_for_conformance_tools_only(files: TlsFiles) -> None:
    cbc = "ECDHE-ECDSA-AES128-SHA256"
    with listening(server_context(files, Suites.ESIPA, TLS_1_2)) as port:
        for ciphers in (cbc, "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-CHACHA20-POLY1305"):
            with pytest.raises(OSError, match=r"(?i)handshake|reset|EOF"):
                call(port, client(files, TLS_1_2, ciphers))
    with listening(server_context(files, Suites.ESIPA_CONFORMANCE, TLS_1_2)) as port:
        assert call(port, client(files, TLS_1_2, cbc)).cipher == cbc


def test_tls_1_2_can_be_turned_off_and_1_1_is_never_spoken(files: TlsFiles) -> None:
    with listening(server_context(files, Suites.ESIPA, TLS_1_3)) as port, pytest.raises(OSError, match=r"(?i)version"):
        call(port, client(files, TLS_1_2))
    context = server_context(files, Suites.ESIPA, TLS_1_2)
    assert context.minimum_version is TLS_1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_ca_and_leaf_say_what_they_are_for(files: TlsFiles) -> None:
    assert files.ca is not None
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca) == (True, True)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert ca.not_valid_after_utc - NOW > timedelta(days=3650)
    mine = leaf(files)
    used = mine.extensions.get_extension_for_class(x509.KeyUsage)
    assert (used.critical, used.value.digital_signature, used.value.key_cert_sign) == (True, True, False)
    purposes = set(mine.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert mine.not_valid_after_utc - mine.not_valid_before_utc == timedelta(days=398)
    assert isinstance(mine.public_key(), ec.EllipticCurvePublicKey)


def test_keys_and_certificates_are_readable_by_their_owner_only(files: TlsFiles) -> None:
    folder = files.key.parent
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("ca.pem", "ca-key.pem", "server.pem", "server-key.pem"), 0o600
    )
    assert folder.stat().st_mode & 0o777 == 0o700


def content(files: TlsFiles) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files.key.parent.iterdir()}


def test_a_second_start_changes_nothing(files: TlsFiles) -> None:
    before = content(files)
    assert make_ca_and_leaf(files.key.parent, NAMES, NOW + timedelta(days=300)) == files
    assert content(files) == before


def test_near_its_end_the_leaf_is_issued_anew_and_devices_that_hold_ca_or_key_notice_nothing(tmp_path: Path) -> None:
    old = make_ca_and_leaf(tmp_path / "tls", NAMES, NOW - timedelta(days=350))
    before, key, trusting = content(old), leaf(old).public_key(), client(old)
    files = make_ca_and_leaf(tmp_path / "tls", NAMES, NOW)
    changed = {name for name, octets in content(files).items() if octets != before[name]}
    assert changed == {"server.pem"}
    assert leaf(files).public_key() == key
    assert leaf(files).not_valid_after_utc > NOW + timedelta(days=396)
    with listening(server_context(files, Suites.ESIPA, TLS_1_2)) as port:
        assert call(port, trusting).version == "TLSv1.3"


def test_other_names_are_a_new_leaf_from_the_same_ca(files: TlsFiles) -> None:
    before = content(files)
    again = make_ca_and_leaf(files.key.parent, ("new.example.com",), NOW)
    assert content(again)["ca.pem"] == before["ca.pem"]
    with listening(server_context(again, Suites.ESIPA, TLS_1_2)) as port:
        assert call(port, client(again), "new.example.com").version == "TLSv1.3"


@pytest.mark.parametrize("kept", range(4))
def test_a_start_that_was_killed_half_way_is_completed_by_the_next(files: TlsFiles, kept: int) -> None:
    order = ("ca-key.pem", "ca.pem", "server-key.pem", "server.pem")
    for name in order[kept:]:
        (files.key.parent / name).unlink()
    before = content(files)
    again = make_ca_and_leaf(files.key.parent, NAMES, NOW)
    assert {name: octets for name, octets in content(again).items() if name in before} == before
    with listening(server_context(again, Suites.ESIPA, TLS_1_2)) as port:
        assert call(port, client(again)).version == "TLSv1.3"


def test_a_ca_that_has_expired_stops_the_start(tmp_path: Path) -> None:
    make_ca_and_leaf(tmp_path / "tls", NAMES, NOW - timedelta(days=21 * 365))
    with pytest.raises(KeyUnusable, match="CA expired on"):
        make_ca_and_leaf(tmp_path / "tls", NAMES, NOW)


class Configured(msgspec.Struct, frozen=True):
    certificate: Path
    key: Path

    def pair(self, mode: Mode = Mode.PRODUCTION) -> TlsFiles:
        return configured_pair(self.certificate, self.key, NOW, mode)


def configured(
    folder: Path, begin: datetime = NOW - timedelta(days=1), end: datetime = NOW + timedelta(days=1)
) -> Configured:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eim.example.com")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(begin).not_valid_after(end).sign(key, SHA256())
    made = Configured(folder / "certificate.pem", folder / "key.pem")
    made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key.write_bytes(private_pem(key))
    return made


def refused(these: Configured) -> str:
    with pytest.raises(KeyUnusable) as error:
        these.pair()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_configured_certificate_is_served(tmp_path: Path) -> None:
    these = configured(tmp_path)
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.load_verify_locations(these.certificate)
    unchecked.check_hostname = False
    with listening(server_context(these.pair(), Suites.OPERATOR, TLS_1_2)) as port:
        expected = x509.load_pem_x509_certificate(these.certificate.read_bytes()).public_bytes(Encoding.DER)
        assert call(port, unchecked).certificate == expected


def test_a_configured_certificate_outside_its_dates_stops_the_start(tmp_path: Path) -> None:
    yesterday, tomorrow = NOW - timedelta(days=1), NOW + timedelta(days=1)
    assert "expired on" in refused(configured(tmp_path, NOW - timedelta(days=9), yesterday))
    assert "valid from" in refused(configured(tmp_path, tomorrow, NOW + timedelta(days=9)))


def test_a_key_of_another_certificate_stops_the_start(tmp_path: Path) -> None:
    these = configured(tmp_path)
    these.key.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    assert "does not belong to" in refused(these)


def test_missing_and_broken_files_are_one_sentence_each(tmp_path: Path) -> None:
    these = configured(tmp_path)
    these.key.write_bytes(b"nonsense")
    assert "no PEM private key" in refused(these)
    these.key.unlink()
    assert "there is no file" in refused(these)
    these.certificate.write_bytes(b"nonsense")
    assert "no PEM certificate" in refused(these)
    these.certificate.unlink()
    assert "there is no file" in refused(these)


@pytest.mark.skipif(not SGP26.is_dir(), reason="the SGP.26 keys are not beside this checkout")
@pytest.mark.parametrize("curve", ["nist", "brp"])
def test_a_published_tls_key_serves_in_test_mode_only(tmp_path: Path, curve: str) -> None:
    folder = SGP26 / f"generated-{curve}"
    der = (folder / f"CERT_EIM_TLS_{curve.upper()}.der").read_bytes()
    these = Configured(tmp_path / "certificate.pem", folder / f"SK_EIM_TLS_{curve.upper()}.pem")
    these.certificate.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
    assert "published test key" in refused(these)
    server_context(these.pair(Mode.TEST), Suites.ESIPA, TLS_1_2)
