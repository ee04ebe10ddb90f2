import stat
from pathlib import Path

import pytest

from eim.domain.identity import EimIdType, Identity, IdentityWish
from eim.errors import BadConfiguration, KeyUnusable
from eim.keys.files import KeyStore
from eim.keys.identity import ensure_identity, init_identity, read_identity
from eim.protocol.ecdsa import Curve
from eim.protocol.published_keys import Mode, fingerprint


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def store(data: Path) -> KeyStore:
    return KeyStore(data / "keys", Mode.PRODUCTION)


def made(data: Path, **wish: object) -> Identity:
    return init_identity(data, store(data), IdentityWish(**wish), "localhost:8443", Curve.P256)  # type: ignore[arg-type]  # values of one test each


def test_without_any_wish_the_identity_is_named_after_its_key(data: Path) -> None:
    identity = made(data)
    name = f"eim-{fingerprint(store(data).load('default').spki).hex()[:16]}"
    assert identity == Identity("default", name, EimIdType.PROPRIETARY, "localhost:8443")


def test_a_host_is_a_name(data: Path) -> None:
    identity = made(data, fqdn="eim.example.com:443")
    assert identity == Identity("default", "eim.example.com", EimIdType.FQDN, "eim.example.com:443")


def test_an_address_is_no_name(data: Path) -> None:
    identity = made(data, fqdn="192.0.2.1:443")
    assert identity.eim_id_type is EimIdType.PROPRIETARY
    assert identity.eim_id.startswith("eim-")


def test_an_oid_is_taken_as_it_is(data: Path) -> None:
    identity = made(data, eim_id="1.3.6.1.4.1.99999.1", eim_id_type=EimIdType.OID, key_name="mine")
    assert (identity.eim_id, identity.eim_id_type.number, identity.key_name) == ("1.3.6.1.4.1.99999.1", 1, "mine")


def test_the_file_gives_back_what_was_made_and_belongs_to_its_owner(data: Path) -> None:
    identity = made(data, eim_id='quote " and \\ and ü', fqdn="eim.example.com")
    assert read_identity(data) == identity
    assert stat.S_IMODE((data / "identity.toml").stat().st_mode) == 0o600


def test_an_identity_is_made_once(data: Path) -> None:
    first = made(data)
    with pytest.raises(KeyUnusable, match="there is an identity already"):
        made(data, fqdn="other.example.com")
    assert read_identity(data) == first


def test_serving_makes_what_is_missing_and_keeps_what_is_there(data: Path) -> None:
    assert read_identity(data) is None
    first = ensure_identity(data, store(data), IdentityWish(), "localhost:8443")
    again = ensure_identity(data, store(data), IdentityWish(fqdn="other.example.com"), "localhost:1")
    assert again == first


def test_a_making_that_was_killed_after_the_key_is_completed_with_that_key(data: Path) -> None:
    spki = store(data).create_identity_key("default")
    made(data)
    assert store(data).load("default").spki == spki


def test_a_wish_that_can_not_be_makes_nothing(data: Path) -> None:
    with pytest.raises(BadConfiguration, match="no OID"):
        made(data, eim_id="eim.example.com", eim_id_type=EimIdType.OID)
    assert not data.exists()


def test_a_file_that_was_spoiled_is_refused_in_words(data: Path) -> None:
    made(data)
    for content in ("key_name = ", "key_name = 1", 'eim_id = "x"'):
        (data / "identity.toml").write_text(content)
        with pytest.raises(KeyUnusable, match="can't be used"):
            read_identity(data)
