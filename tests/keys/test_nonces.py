"""A nonce that two signatures share gives the key away: r is never seen twice, in one process or in forked ones."""

import os
from pathlib import Path

import pytest

from eim.asn1.sgp32 import ListProfileInfo, PsmoList
from eim.domain.ids import Eid
from eim.keys import files
from eim.keys.files import KeyStore, Signer
from eim.protocol.ecdsa import Curve
from eim.protocol.esep import contents
from eim.protocol.published_keys import Mode

# One package, so that nothing but the nonce makes a signature another one.
SAME = (Eid(bytes(16)), 1, None, None, contents(PsmoList((ListProfileInfo(),))))
AT_ONCE = 1000


def signer_in(folder: Path, curve: Curve = Curve.P256) -> Signer:
    store = KeyStore(folder, Mode.TEST)
    store.create_identity_key("nonces", curve)
    return store.load("nonces")


def nonces(signer: Signer, many: int) -> list[bytes]:
    """The r of so many signatures."""
    return [made[-64:-32] for _ in range(many // AT_ONCE) for made in signer.seal("eim.example.com", [SAME] * AT_ONCE)]


@pytest.mark.parametrize("many", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_no_nonce_is_used_twice(tmp_path: Path, many: int) -> None:
    """Reliability 45."""
    assert len(set(nonces(signer_in(tmp_path), many))) == many


def test_no_nonce_is_used_twice_on_brainpool(tmp_path: Path) -> None:
    assert len(set(nonces(signer_in(tmp_path, Curve.BRAINPOOL), 2_000))) == 2_000


@pytest.mark.parametrize("native", [True, False])
def test_a_forked_process_draws_other_nonces_than_its_parent(
    tmp_path: Path, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability 45."""
    if not native:
        monkeypatch.setattr(files, "_native", lambda *_: None)
    signer, many = signer_in(tmp_path), 3_000
    before = nonces(signer, AT_ONCE)  # whatever is kept between two signatures is there by now
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(b"".join(nonces(signer, many)))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        octets = pipe.read()
    os.waitpid(child, 0)
    theirs = [octets[at : at + 32] for at in range(0, len(octets), 32)]
    assert len(theirs) == many
    assert len({*before, *theirs, *nonces(signer, many)}) == AT_ONCE + 2 * many
