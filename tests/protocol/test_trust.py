import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from eim.domain.ids import Eid
from eim.errors import UntrustedCertificate
from eim.protocol import trust
from eim.protocol.certificates import Fault, Who, parse
from eim.protocol.ecdsa import Curve, spki
from eim.protocol.published_keys import TEST_KEYS, fingerprint, is_published_test_key
from eim.protocol.trust import TrustedEuicc, check_chain, eid_in_certificate, load_roots
from tests.protocol.chain import (
    EID,
    NOW,
    Extension,
    Recipe,
    Recipes,
    issued_by,
    name_of,
    permitting,
    recipes,
    role,
    usage,
)

SGP26 = Path(__file__).resolve().parents[3] / "shared" / "data" / "sgp26"
needs_sgp26 = pytest.mark.skipif(not SGP26.is_dir(), reason="the SGP.26 certificates are not beside this checkout")

SINGLE_FAULTS = {
    "00_good_control": None,
    "01_malleable_twin_s_to_n_minus_s": None,
    "02_euicc_expired_only": "euicc-expired",
    "04_euicc_role_eum_policy": "euicc-role",
    "06_euicc_keyusage_certsign": "euicc-key-usage",
    "08_euicc_org_not_permitted": "euicc-organization",
    "10_euicc_eid_bad_check_digits": "euicc-eid",
    "12_euicc_unknown_critical_ext": "euicc-critical-extension",
    "14_euicc_signed_by_other_key": "euicc-signature",
    "16_sig_s_zero": "euicc-signature",
    "18_sig_r_plus_n": "euicc-signature",
    "20_euicc_p384_key": "euicc-public-key",
    "22_euicc_sha384_signature": "euicc-signature-algorithm",
    "24_eum_no_certsign": "eum-key-usage",
    "26_eum_role_dpauth": "eum-role",
    "28_eum_no_name_constraints": "eum-name-constraints",
    "30_chain_swapped": "eum-role",
    "32_euicc_issued_by_euicc": "eum-role",
}


def judged(these: Recipes, at: datetime = NOW) -> TrustedEuicc:
    ci = these.ci.made()
    eum = these.eum.made(ci)
    return check_chain(these.euicc.made(eum).der, eum.der, load_roots([ci.der]), at)


def reason(these: Recipes, at: datetime = NOW) -> str:
    with pytest.raises(UntrustedCertificate) as refused:
        judged(these, at)
    return refused.value.reason


def euicc(these: Recipes, recipe: Recipe) -> Recipes:
    return Recipes(these.ci, these.eum, recipe)


def eum(these: Recipes, recipe: Recipe) -> Recipes:
    return Recipes(these.ci, recipe, these.euicc)


@pytest.fixture
def sound() -> Recipes:
    return recipes()


@pytest.mark.parametrize(("curve", "name"), [(ec.SECP256R1(), Curve.P256), (ec.BrainpoolP256R1(), Curve.BRAINPOOL)])
def test_a_sound_chain_proves_eid_key_and_ci(curve: ec.EllipticCurve, name: Curve) -> None:
    these = recipes(curve)
    trusted = judged(these)
    assert trusted.eid == EID
    assert trusted.public_key.curve is name
    assert spki(trusted.public_key) == these.euicc.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert trusted.ci_key_id == x509.SubjectKeyIdentifier.from_public_key(these.ci.key.public_key()).digest


def test_a_card_may_be_on_another_curve_than_its_eum(sound: Recipes) -> None:
    key = ec.generate_private_key(ec.BrainpoolP256R1())
    assert judged(euicc(sound, sound.euicc.but(key=key))).public_key.curve is Curve.BRAINPOOL


def test_years_beyond_every_calendar_are_read(sound: Recipes) -> None:
    for end in (datetime(7496, 1, 24, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)):
        assert judged(euicc(sound, sound.euicc.but(not_after=end))).eid == EID


@pytest.mark.parametrize("which", ["ci", "eum", "euicc"])
def test_each_certificate_must_be_valid_on_the_day(sound: Recipes, which: str) -> None:
    parts = {"ci": sound.ci, "eum": sound.eum, "euicc": sound.euicc}
    expired = Recipes(**parts | {which: parts[which].but(not_after=datetime(2025, 1, 1, tzinfo=UTC))})
    early = Recipes(**parts | {which: parts[which].but(not_before=datetime(2027, 1, 1, tzinfo=UTC))})
    assert reason(expired) == f"{which}-expired"
    assert reason(early) == f"{which}-not-yet-valid"


@pytest.mark.parametrize(
    ("fault", "extension", "value"),
    [
        ("role", "role", role(2)),
        ("role", "role", None),
        ("role", "role", Extension(role(1).value, critical=False)),
        ("role", "role", role(1, "2.23.146.1.2.1.2")),
        ("key-usage", "ku", Extension(usage("digital_signature", "key_cert_sign"), True)),
        ("key-usage", "ku", Extension(usage("key_agreement"), True)),
        ("key-usage", "ku", None),
        ("basic-constraints", "bc", Extension(x509.BasicConstraints(ca=True, path_length=0), True)),
        ("key-identifier", "akid", None),
        ("key-identifier", "akid", issued_by(ec.generate_private_key(ec.SECP256R1()))),
        (
            "critical-extension",
            "more",
            Extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.77"), b"\5\0"), True),
        ),
    ],
)
def test_a_card_certificate_with_one_fault_is_refused_for_it(
    sound: Recipes, fault: str, extension: str, value: Extension | None
) -> None:
    assert reason(euicc(sound, sound.euicc.but(extensions={extension: value}))) == f"euicc-{fault}"


def test_an_unknown_extension_that_is_not_critical_does_no_harm(sound: Recipes) -> None:
    more = Extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.77"), b"\5\0"))
    assert judged(euicc(sound, sound.euicc.but(extensions={"more": more}))).eid == EID


@pytest.mark.parametrize(
    ("fault", "extension", "value"),
    [
        ("role", "role", role(4)),
        ("role", "role", Extension(role(2).value, critical=False)),
        ("key-usage", "ku", Extension(usage("digital_signature"), True)),
        ("basic-constraints", "bc", None),
        ("basic-constraints", "bc", Extension(x509.BasicConstraints(ca=False, path_length=None), True)),
        ("basic-constraints", "bc", Extension(x509.BasicConstraints(ca=True, path_length=None), True)),
        ("basic-constraints", "bc", Extension(x509.BasicConstraints(ca=True, path_length=1), True)),
        ("name-constraints", "nc", None),
        ("name-constraints", "nc", permitting(name_of(O="Maker", serialNumber="89049032"), critical=False)),
        ("name-constraints", "nc", permitting(name_of(O="Maker"))),
        ("name-constraints", "nc", permitting(name_of(serialNumber="89049032"))),
        ("name-constraints", "nc", permitting(name_of(O="Maker", serialNumber="8904903X"))),
        ("name-constraints", "nc", Extension(x509.NameConstraints([x509.DNSName("example.com")], None), True)),
        (
            "name-constraints",
            "nc",
            Extension(x509.NameConstraints(None, [x509.DirectoryName(name_of(O="Other"))]), True),
        ),
        ("key-identifier", "skid", None),
        ("unknown-ci", "akid", None),
        ("unknown-ci", "akid", issued_by(ec.generate_private_key(ec.SECP256R1()))),
        (
            "critical-extension",
            "more",
            Extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.77"), b"\5\0"), True),
        ),
    ],
)
def test_an_eum_certificate_with_one_fault_is_refused_for_it(
    sound: Recipes, fault: str, extension: str, value: Extension | None
) -> None:
    assert reason(eum(sound, sound.eum.but(extensions={extension: value}))) == f"eum-{fault}"


def test_only_ecdsa_with_sha256_signs(sound: Recipes) -> None:
    assert reason(euicc(sound, sound.euicc.but(hash=SHA384()))) == "euicc-signature-algorithm"
    assert reason(eum(sound, sound.eum.but(hash=SHA384()))) == "eum-signature-algorithm"


def test_a_key_on_a_third_curve_is_refused(sound: Recipes) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    assert reason(euicc(sound, sound.euicc.but(key=key))) == "euicc-public-key"


def test_a_signature_of_another_key_is_refused(sound: Recipes) -> None:
    ci = sound.ci.made()
    maker = sound.eum.made(ci)
    forger = sound.eum.but(key=ec.generate_private_key(ec.SECP256R1())).made(ci)
    with pytest.raises(UntrustedCertificate) as refused:
        check_chain(sound.euicc.made(forger).der, maker.der, load_roots([ci.der]), NOW)
    assert refused.value.reason == "euicc-signature"


def test_an_issuer_of_another_name_is_refused(sound: Recipes) -> None:
    other = name_of(O="Other", CN="Other EUM")
    assert reason(euicc(sound, sound.euicc.but(issuer=other))) == "euicc-issuer"
    assert reason(eum(sound, sound.eum.but(issuer=other))) == "eum-issuer"


@pytest.mark.parametrize(
    ("fault", "subject"),
    [
        ("organization", name_of(O="Other", serialNumber=EID.hex())),
        ("organization", name_of(serialNumber=EID.hex())),
        ("organization", name_of(("O", "Maker"), ("O", "Other"), serialNumber=EID.hex())),
        ("eid-range", name_of(O="Maker", serialNumber="89049033123451234512345678901208")),
        ("eid", name_of(O="Maker", serialNumber="89049032123451234512345678901236")),
        ("eid", name_of(O="Maker", serialNumber="8904903212345123451234567890123")),
        ("eid", name_of(O="Maker", serialNumber="8904903212345123451234567890123A")),
        ("eid", name_of(("serialNumber", EID.hex()), ("serialNumber", EID.hex()), O="Maker")),
        ("eid", name_of(O="Maker")),
    ],
)
def test_a_card_may_only_be_what_its_eum_may_certify(sound: Recipes, fault: str, subject: x509.Name) -> None:
    assert reason(euicc(sound, sound.euicc.but(subject=subject))) == f"euicc-{fault}"


def test_an_eum_with_several_ranges_certifies_in_each_of_them(sound: Recipes) -> None:
    ranges = permitting(name_of(O="Maker", serialNumber="89000000"), name_of(O="Maker", serialNumber="8904"))
    assert judged(eum(sound, sound.eum.but(extensions={"nc": ranges}))).eid == EID


def test_prefix_and_organization_must_come_from_the_same_permitted_name(sound: Recipes) -> None:
    crossed = permitting(name_of(O="Maker", serialNumber="89000000"), name_of(O="Other", serialNumber="89049032"))
    assert reason(eum(sound, sound.eum.but(extensions={"nc": crossed}))) == "euicc-eid-range"


def test_the_root_that_issued_is_found_among_roots_of_the_same_key(sound: Recipes) -> None:
    ci = sound.ci.made()
    maker = sound.eum.made(ci)
    card = sound.euicc.made(maker)
    renamed = sound.ci.but(subject=name_of(CN="The same key under another name")).made()
    expired = sound.ci.but(not_after=datetime(2025, 1, 1, tzinfo=UTC)).made()
    for roots in ([renamed, expired, ci], [ci, expired, renamed]):
        assert check_chain(card.der, maker.der, load_roots([each.der for each in roots]), NOW).eid == EID
    with pytest.raises(UntrustedCertificate) as refused:
        check_chain(card.der, maker.der, load_roots([expired.der]), NOW)
    assert refused.value.reason == "ci-expired"


def test_a_ci_of_the_same_name_and_key_identifier_but_another_key_vouches_for_nothing(sound: Recipes) -> None:
    maker = sound.eum.made(sound.ci.made())
    impostor = sound.ci.but(key=ec.generate_private_key(ec.SECP256R1())).made()  # keeps the key identifier
    with pytest.raises(UntrustedCertificate) as refused:
        check_chain(sound.euicc.made(maker).der, maker.der, load_roots([impostor.der]), NOW)
    assert refused.value.reason == "eum-signature"


def test_of_cis_with_one_name_and_serial_the_key_decides(sound: Recipes) -> None:
    """Reliability 41. Two issues of one CI, as of SGP.26 v1.5 and v3, stand for each other; an impostor for nobody."""
    recipe = sound.ci.but(serial=0x00B8)
    first = recipe.made()
    second = recipe.but(not_after=datetime(2060, 1, 1, tzinfo=UTC)).made()
    assert first.der != second.der
    impostor = recipe.but(key=ec.generate_private_key(ec.SECP256R1())).made()  # keeps name, serial and key identifier
    stranger = recipes().ci.made()
    maker = sound.eum.made(first)
    card = sound.euicc.made(maker)
    for roots, expected in (
        ([first], None),
        ([second], None),
        ([second, first], None),
        ([impostor, second], None),
        ([second, impostor], None),
        ([impostor], "eum-signature"),
        ([stranger], "eum-unknown-ci"),
    ):
        assert verdict(card.der, maker.der, [root.der for root in roots]) == expected


def test_without_roots_no_card_is_believed(sound: Recipes) -> None:
    maker = sound.eum.made(sound.ci.made())
    with pytest.raises(UntrustedCertificate) as refused:
        check_chain(sound.euicc.made(maker).der, maker.der, load_roots([]), NOW)
    assert refused.value.reason == "eum-unknown-ci"


def test_what_is_remembered_of_a_chain_is_neither_its_day_nor_its_roots(sound: Recipes) -> None:
    ci, other = sound.ci.made(), recipes().ci.made()
    maker = sound.eum.made(ci)
    card = sound.euicc.but(not_after=NOW + timedelta(days=1)).made(maker)
    for at, expected in [(NOW, ""), (NOW + timedelta(days=2), "euicc-expired")] * 2:
        for roots in ([ci], [other], [other, ci], []):
            wanted = expected if ci in roots else "eum-unknown-ci"
            assert verdict_at(card.der, maker.der, [root.der for root in roots], at) == wanted


def verdict_at(card: bytes, maker: bytes, roots: list[bytes], at: datetime) -> str:
    try:
        check_chain(card, maker, load_roots(roots), at)
    except UntrustedCertificate as refused:
        return refused.reason
    return ""


def test_a_chain_that_comes_again_is_not_verified_again_and_what_is_remembered_is_bounded(sound: Recipes) -> None:
    ci = sound.ci.made()
    maker = sound.eum.made(ci)
    card, forged = sound.euicc.made(maker).der, sound.euicc.made(sound.eum.made(recipes().ci.made())).der
    for octets in (card, forged):
        verdict_at(octets, maker.der, [ci.der], NOW)
        before = trust._is_signed.cache_info()
        assert verdict_at(octets, maker.der, [ci.der], NOW) == verdict_at(octets, maker.der, [ci.der], NOW)
        after = trust._is_signed.cache_info()
        assert (after.misses, after.maxsize) == (before.misses, 1024)
        assert after.hits > before.hits


def test_what_is_no_ci_can_be_no_root(sound: Recipes) -> None:
    with pytest.raises(UntrustedCertificate) as refused:
        load_roots([sound.eum.made(sound.ci.made()).der])
    assert refused.value.reason == "ci-role"


def test_octets_that_are_no_certificate_are_refused(sound: Recipes) -> None:
    ci = sound.ci.made()
    maker = sound.eum.made(ci)
    card = sound.euicc.made(maker).der
    for broken in (b"", b"\x30\x00", card[:-1], card + b"\0", bytes(500)):
        with pytest.raises(UntrustedCertificate) as refused:
            check_chain(broken, maker.der, load_roots([ci.der]), NOW)
        assert refused.value.reason == "euicc-unreadable"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_single_flipped_bit_is_believed_or_breaks_the_check(sound: Recipes) -> None:
    ci = sound.ci.made()
    maker = sound.eum.made(ci)
    card = sound.euicc.made(maker).der
    roots = load_roots([ci.der])
    for bit in range(len(card) * 8):
        flipped = bytearray(card)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UntrustedCertificate):
            check_chain(bytes(flipped), maker.der, roots, NOW)


def test_the_eid_of_a_certificate_can_be_read_without_believing_it(sound: Recipes) -> None:
    assert eid_in_certificate(sound.euicc.made().der) == Eid(EID)
    assert eid_in_certificate(sound.eum.made().der) is None
    assert eid_in_certificate(b"nonsense") is None


def test_every_fault_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "keys-and-trust.md").read_text()
    assert all(f"`{fault.value}`" in page for fault in Fault)


@needs_sgp26
@pytest.mark.parametrize("case", sorted(SINGLE_FAULTS))
def test_each_single_fault_chain_of_sgp26_gets_its_verdict(case: str) -> None:
    folder = SGP26 / "single-fault-nist"
    listed = {each["case"]: each for each in json.loads((folder / "cases.json").read_text())}
    assert set(listed) == set(SINGLE_FAULTS)
    this = listed[case]
    assert this["expect"].startswith("accept") == (SINGLE_FAULTS[case] is None)
    octets = {
        part: ((SGP26 if "/" in this[part] else folder) / this[part]).read_bytes() for part in ("euicc", "eum", "ci")
    }
    at = datetime.fromisoformat(this["at"])
    assert verdict(octets["euicc"], octets["eum"], [octets["ci"]], at) == SINGLE_FAULTS[case]


def verdict(card: bytes, maker: bytes, roots: list[bytes], at: datetime = NOW) -> str | None:
    """None: believed."""
    try:
        assert check_chain(card, maker, load_roots(roots), at).eid == EID
    except UntrustedCertificate as error:
        return error.reason
    return None


def file(path: str) -> bytes:
    return (SGP26 / path).read_bytes()


@needs_sgp26
def test_the_test_chains_of_both_curves_and_both_releases_hold() -> None:
    ci = [
        file("v1.5-nist/CERT_CI_ECDSA_NIST.der"),
        file("v3-variant-o-nist/CERT_CI_SIG_NIST.der"),
        file("v1.5-brp/CERT_CI_ECDSA_BRP.der"),
        file("v1.0-2017-nist/ci-2017.der"),
    ]
    nist = file("v1.5-nist/CERT_EUICC_ECDSA_NIST.der"), file("v1.5-nist/CERT_EUM_ECDSA_NIST.der")
    brp = file("v1.5-brp/CERT_EUICC_ECDSA_BRP.der"), file("v1.5-brp/CERT_EUM_ECDSA_BRP.der")
    v3 = file("v3-variant-o-nist/CERT_EUICC_SIG_NIST.der"), file("v3-variant-o-nist/CERT_EUM_SIG_NIST.der")
    for card, maker in (nist, brp, v3):
        assert verdict(card, maker, ci) is None
        assert verdict(card, maker, ci[::-1]) is None
    assert verdict(*nist, [ci[1]]) is None  # v1.5 and v3 share key, subject and serial: either stands for the other
    assert verdict(*v3, [ci[0]]) is None
    assert verdict(*nist, [ci[3]]) == "eum-issuer"  # the same key once more, under another name
    assert verdict(*nist, [ci[2]]) == "eum-unknown-ci"


@needs_sgp26
@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("EXPIRED", "euicc-expired"),
        ("INVALID", "euicc-key-identifier"),
        ("INVALID_EID", "euicc-eid-range"),
        ("UNMATCHED_EID", "euicc-eid"),
    ],
)
def test_the_invalid_cards_of_the_ttcn3_suite_are_refused(card: str, expected: str) -> None:
    octets = file(f"invalid-nist/CERT_EUICC_ECDSA_NIST_{card}.der")
    ci = [file("v1.5-nist/CERT_CI_ECDSA_NIST.der")]
    assert verdict(octets, file("v1.5-nist/CERT_EUM_ECDSA_NIST.der"), ci) == expected


@needs_sgp26
@pytest.mark.parametrize("maker", ["EXPIRED", "INVALID", "UNKNOWN_CI"])
def test_the_invalid_eums_of_the_ttcn3_suite_are_refused_for_their_role_first(maker: str) -> None:
    octets = file(f"invalid-nist/CERT_EUM_ECDSA_NIST_{maker}.der")
    card = file("v1.5-nist/CERT_EUICC_ECDSA_NIST.der")
    assert verdict(card, octets, [file("v1.5-nist/CERT_CI_ECDSA_NIST.der")]) == "eum-role"


@needs_sgp26
def test_the_live_roots_are_taken_and_are_no_test_keys() -> None:
    for path in sorted((SGP26 / "live-ci").iterdir()):
        der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
        (root,) = load_roots([der]).certificates
        assert not is_published_test_key(spki(root.public_key))


@needs_sgp26
def test_every_key_in_the_sgp26_folder_is_known_as_published() -> None:
    spkis = {_spki(path) for path in SGP26.rglob("*") if path.parent.name != "live-ci" and _holds_a_key(path)}
    assert {fingerprint(each) for each in spkis} == TEST_KEYS


def _holds_a_key(path: Path) -> bool:
    return path.suffix in {".der", ".crt", ".pem", ".key"}


def _spki(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix in {".pem", ".key"}:
        key = load_pem_private_key(content, None).public_key()
    elif content.startswith(b"-----"):
        key = x509.load_pem_x509_certificate(content).public_key()
    else:
        key = x509.load_der_x509_certificate(content).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_key_of_our_own_is_no_published_one(sound: Recipes) -> None:
    assert not is_published_test_key(spki(parse(sound.ci.made().der, Who.CI).public_key))
