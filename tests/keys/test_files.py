import stat
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from eim._fast import ecdsa
from eim.asn1.sgp32 import ListProfileInfo, PsmoList
from eim.domain.ids import Eid, TransactionId
from eim.errors import KeyUnusable
from eim.keys.files import KeyStore, private_pem
from eim.protocol.ecdsa import Curve, public_key_from_spki, verify
from eim.protocol.esep import contents
from eim.protocol.published_keys import Mode
from tests.keys.unprivileged import as_nobody
from tests.reference import package as twin

SGP26 = Path(__file__).resolve().parents[3] / "shared" / "data" / "sgp26"
needs_sgp26 = pytest.mark.skipif(not SGP26.is_dir(), reason="the SGP.26 keys are not beside this checkout")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


@pytest.fixture
def store(folder: Path) -> KeyStore:
    return KeyStore(folder, Mode.PRODUCTION)


def sentence(store: KeyStore, name: str = "default") -> str:
    with pytest.raises(KeyUnusable) as refused:
        store.load(name)
    text = str(refused.value)
    assert "\n" not in text
    return text


def put(folder: Path, content: bytes, mode: int = 0o600) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "default.pem"
    path.write_bytes(content)
    path.chmod(mode)


@pytest.mark.parametrize("curve", list(Curve))
def test_what_a_made_key_signs_verifies_with_its_public_half(store: KeyStore, curve: Curve) -> None:
    spki = store.create_identity_key("default", curve)
    signer = store.load("default")
    assert signer.spki == spki
    assert signer.curve is curve
    for message in (b"", b"a package", bytes(5000)):
        signature = signer.sign(message)
        assert len(signature) == 64
        assert verify(public_key_from_spki(spki), message, signature)


@pytest.mark.parametrize("curve", list(Curve))
@pytest.mark.parametrize("native", [True, False])
def test_packages_are_sealed_alike_with_a_libcrypto_and_without(store: KeyStore, curve: Curve, native: bool) -> None:
    key = public_key_from_spki(store.create_identity_key("default", curve))
    signer = store.load("default")
    assert (signer._native is not None) is ecdsa.available()
    if not native:
        signer._native = None
    asked = PsmoList((ListProfileInfo(),))
    named = TransactionId(bytes(range(16)))
    eids = [Eid(bytes([n]) * 16) for n in range(3)]
    made = signer.seal("eim.example.com", [(eid, 127 + n, named, n, contents(asked)) for n, eid in enumerate(eids)])
    for n, (eid, octets) in enumerate(zip(eids, made, strict=True)):
        unsigned = twin.assemble(("eim.example.com", eid, n), asked, 127 + n, named)
        assert octets == twin.seal(unsigned, octets[-64:])
        assert verify(key, unsigned.tbs, octets[-64:])


def test_no_two_signatures_share_their_r(store: KeyStore) -> None:
    store.create_identity_key("default")
    signer = store.load("default")
    assert len({signer.sign(b"the same")[:32] for _ in range(500)}) == 500


def test_only_its_owner_may_read_a_key(store: KeyStore, folder: Path) -> None:
    store.create_identity_key("default")
    assert stat.S_IMODE((folder / "default.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["default.pem"]


def test_a_key_is_never_overwritten(store: KeyStore, folder: Path) -> None:
    store.create_identity_key("default")
    before = (folder / "default.pem").read_bytes()
    with pytest.raises(KeyUnusable, match="not overwritten"):
        store.create_identity_key("default")
    assert (folder / "default.pem").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["default.pem"]


def test_a_missing_key_is_named_with_its_file(store: KeyStore, folder: Path) -> None:
    assert not store.holds("default")
    assert str(folder / "default.pem") in sentence(store)


def test_a_role_that_may_not_read_its_key_says_so_in_one_sentence() -> None:
    with tempfile.TemporaryDirectory() as open_folder:  # pytest's own can't be entered by others
        folder = Path(open_folder)
        folder.chmod(0o755)
        store = KeyStore(folder, Mode.PRODUCTION)
        store.create_identity_key("default")
        key = folder / "default.pem"
        key.chmod(0o600 if key.stat().st_uid == 0 else 0)
        with as_nobody():
            text = sentence(store)
    assert "may not read" in text
    assert str(key) in text


def test_a_folder_that_may_not_be_entered_is_one_sentence_too(store: KeyStore, folder: Path) -> None:
    store.create_identity_key("default")
    folder.chmod(0o700 if folder.stat().st_uid == 0 else 0)
    try:
        with as_nobody():
            assert "may not read" in sentence(store)
            with pytest.raises(KeyUnusable, match="can't be reached"):
                store.holds("default")
    finally:
        folder.chmod(0o700)


def test_a_key_that_everyone_may_read_is_refused(store: KeyStore, folder: Path) -> None:
    store.create_identity_key("default")
    (folder / "default.pem").chmod(0o644)
    assert "mode 0600" in sentence(store)


def test_keys_of_other_kinds_are_refused(store: KeyStore, folder: Path) -> None:
    put(folder, private_pem(ec.generate_private_key(ec.SECP384R1())))
    assert "secp384r1" in sentence(store)
    key = rsa.generate_private_key(65537, 2048)
    put(folder, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "no elliptic-curve key" in sentence(store)


def test_a_broken_or_encrypted_file_is_refused_without_a_word_of_its_content(store: KeyStore, folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = private_pem(key)
    for content in (b"", b"not a key", pem[: len(pem) // 2], pem.replace(b"M", b"N", 1)):
        put(folder, content)
        assert "no private key" in sentence(store)
    put(folder, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")))
    assert "is encrypted" in sentence(store)


@pytest.mark.parametrize("name", ["", "../default", "a/b", ".hidden", "Default", "x" * 65])
def test_a_name_can_not_lead_out_of_the_folder(store: KeyStore, name: str) -> None:
    with pytest.raises(KeyUnusable, match="can't be the name of a key"):
        store.create_identity_key(name)
    with pytest.raises(KeyUnusable, match="can't be the name of a key"):
        store.load(name)


def test_a_signer_shows_nothing_of_its_key(store: KeyStore) -> None:
    store.create_identity_key("default")
    assert repr(store.load("default")) == "Signer('default', P-256)"


@needs_sgp26
def test_every_published_test_key_is_refused_outside_test_mode(store: KeyStore, folder: Path) -> None:
    files = [*SGP26.rglob("SK_*.pem"), *SGP26.rglob("*.key")]
    assert len(files) > 20
    for file in files:
        put(folder, file.read_bytes())
        assert "published test key" in sentence(store)
        assert len(KeyStore(folder, Mode.TEST).load("default").sign(b"x")) == 64
