import _ssl
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from eim._fast import tls
from eim.errors import KeyUnusable
from eim.keys import tickets
from eim.keys.files import private_pem
from eim.keys.tickets import Secret, Tickets, fault_of, shake_hands
from eim.keys.tls import Suites, TlsFiles, make_ca_and_leaf, server_context

TODAY = 20_800
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
Make = Callable[[], ssl.SSLContext]


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return make_ca_and_leaf(tmp_path / "tls", ("localhost",), datetime.now(UTC))


@pytest.fixture
def make(files: TlsFiles) -> Make:
    return lambda: server_context(files, Suites.ESIPA, ssl.TLSVersion.TLSv1_2)


def client(version: ssl.TLSVersion, curve: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if curve:  # not by set_ecdh_curve: some of Python's know no curves but those of elliptic signatures
        assert tls.bind(_ssl.__file__)
        assert tls.set_groups(context, object.__basicsize__, curve.encode())
    return context


def port(make: Make, secret: Secret) -> ssl.SSLContext:
    """A process's context with tickets by `secret`, of a day that is not today's."""
    context = make()
    made = Tickets(context, make, secret)
    assert made.fault is None
    made.renew(TODAY)
    return context


def resumes(first: ssl.SSLContext, second: ssl.SSLContext, version: ssl.TLSVersion) -> bool:
    device = client(version)
    given = shake_hands(device, first).session
    assert given is not None
    return bool(shake_hands(device, second, given).session_reused)


def test_contexts_of_this_python_can_be_given_keys(make: Make) -> None:
    assert fault_of(make) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_of_one_process_is_opened_by_another_of_the_same_secret_only(
    make: Make, version: ssl.TLSVersion
) -> None:
    secret = Secret(TODAY, bytes(32))
    one, other, stranger = port(make, secret), port(make, secret), port(make, Secret(TODAY, b"\1" * 32))
    assert resumes(one, other, version)
    assert resumes(other, one, version)
    assert not resumes(one, stranger, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_after_a_rotation_old_tickets_cost_a_full_handshake_once(make: Make, version: ssl.TLSVersion) -> None:
    context = make()
    made = Tickets(context, make, Secret(TODAY, bytes(32)))
    device = client(version)
    made.renew(TODAY)
    old = shake_hands(device, context).session
    made.renew(TODAY + 1)
    again = shake_hands(device, context, old)
    assert not again.session_reused
    assert shake_hands(device, context, again.session).session_reused


def test_one_ticket_is_given_in_a_handshake_of_tls_1_3(make: Make) -> None:
    assert make().num_tickets == 1


def test_all_who_start_from_one_secret_have_the_same_keys_on_the_same_day_whenever_they_started() -> None:
    early, late = Secret(TODAY, b"s" * 32), Secret(TODAY, b"s" * 32)
    early.keys(TODAY + 3)
    assert early.keys(TODAY + 5) == late.keys(TODAY + 5)
    assert len({Secret(TODAY, b"s" * 32).keys(TODAY + day) for day in range(50)}) == 50


def test_a_secret_goes_forward_only() -> None:
    secret = Secret(TODAY, b"s" * 32)
    yesterday = secret.keys(TODAY)
    today = secret.keys(TODAY + 1)
    assert secret.keys(TODAY) == today != yesterday


def test_what_goes_through_the_pipe_gives_the_same_keys_and_shows_in_no_text() -> None:
    secret = Secret.fresh()
    packed = secret.pack()
    assert len(packed) == tickets.PACKED
    day = int.from_bytes(packed[:8], "big") + 1
    assert Secret.unpack(packed).keys(day) == secret.keys(day)
    assert repr(secret) == "Secret(...)"
    assert Secret.fresh().keys(day) != Secret.fresh().keys(day)
    with pytest.raises(ValueError, match="40 octets"):
        Secret.unpack(packed[1:])


def test_a_file_is_a_secret_that_several_machines_share(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(bytes(range(48)))
    assert Secret.from_file(file).keys(TODAY) == Secret.from_file(file).keys(TODAY)
    file.write_bytes(bytes(range(31)))
    with pytest.raises(KeyUnusable, match="too short"):
        Secret.from_file(file)


@pytest.mark.parametrize(
    ("version", "curve"),
    [
        (ssl.TLSVersion.TLSv1_2, "prime256v1"),
        (ssl.TLSVersion.TLSv1_3, "prime256v1"),
        (ssl.TLSVersion.TLSv1_3, "X25519"),
    ],
)
def test_a_device_may_agree_on_the_groups_of_the_specification(make: Make, version: ssl.TLSVersion, curve: str) -> None:
    assert shake_hands(client(version, curve), port(make, Secret.fresh())).version() is not None


def test_a_device_of_brainpool_alone_is_served_from_a_certificate_of_its_curve(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.BrainpoolP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    files = TlsFiles(None, tmp_path / "certificate.pem", tmp_path / "key.pem")
    files.certificate.write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    files.key.write_bytes(private_pem(key))
    serving = port(lambda: server_context(files, Suites.ESIPA, ssl.TLSVersion.TLSv1_2), Secret.fresh())
    device = client(ssl.TLSVersion.TLSv1_2, "brainpoolP256r1")
    assert shake_hands(device, serving).version() == "TLSv1.2"
    given = shake_hands(device, serving).session
    assert shake_hands(device, serving, given).session_reused


@pytest.mark.parametrize("curve", ["secp384r1", "secp521r1", "X448"])
def test_groups_that_cost_us_more_are_not_offered(make: Make, curve: str) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)no suitable key share"):
        shake_hands(client(ssl.TLSVersion.TLSv1_3, curve), port(make, Secret.fresh()))


def test_where_libssl_cannot_be_reached_each_process_keeps_its_own_keys(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_ssl.__file__", "/nowhere/_ssl.so")
    context = make()
    made = Tickets(context, make, Secret.fresh())
    assert made.fault == "Python's libssl can't be reached"
    monkeypatch.undo()
    assert fault_of(make) is None
    keys = tls.ticket_keys(context, object.__basicsize__)
    made.renew(TODAY)
    assert tls.ticket_keys(context, object.__basicsize__) == keys
    assert resumes(context, context, ssl.TLSVersion.TLSv1_3)
