from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eim.domain.ids import eid_check_digits_hold, format_eid
from eim.errors import BadConfiguration
from eim.protocol.trust import check_chain, load_roots
from eim.sim.pki import EIN, Pki, eids


def test_eids_are_different_and_their_check_digits_hold() -> None:
    made = eids(EIN, 500)
    assert len(set(made)) == 500
    assert all(eid_check_digits_hold(eid) and format_eid(eid).startswith(EIN) for eid in made)


def test_a_prefix_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="no room"):
        eids("8" * 29, 10)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.BrainpoolP256R1()], ids=["P-256", "brainpool"])
def test_a_card_s_chain_leads_to_the_root(curve: ec.EllipticCurve) -> None:
    pki = Pki.new(curve)
    (eid,) = eids(EIN, 1)
    key, euicc, eum = pki.issue(eid)
    trusted = check_chain(euicc, eum, load_roots([pki.root_der]), datetime(2026, 6, 1, tzinfo=UTC))
    assert trusted.eid == eid
    assert trusted.ci_key_id == pki.ci_key_id
    assert trusted.public_key.point == key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def test_cryptography_finds_each_signature_of_the_chain_sound() -> None:
    pki = Pki.new()
    card = pki.credentials(eids(EIN, 1)[0])
    euicc = x509.load_der_x509_certificate(card.euicc_certificate)
    eum = x509.load_der_x509_certificate(card.eum_certificate)
    root = x509.load_der_x509_certificate(pki.root_der)
    euicc.verify_directly_issued_by(eum)
    eum.verify_directly_issued_by(root)


def test_neither_keys_nor_certificates_are_shown() -> None:
    pki = Pki.new()
    (eid,) = eids(EIN, 1)
    assert repr(pki.credentials(eid)) == f"Credentials({format_eid(eid)})"
