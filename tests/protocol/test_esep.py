"""Packages are signed, and results verified, over exactly the octets that travel."""

from random import Random

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509 import load_der_x509_certificate

from eim._fast import tlv
from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import (
    DataResponse,
    Enable,
    ErrorData,
    ErrorSigned,
    EuiccPackageRequest,
    IpaEuiccDataRequest,
    ListProfileInfo,
    PsmoList,
    ResultSigned,
)
from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.ids import Eid, TransactionId
from eim.errors import EmptyPackage
from eim.protocol import ecdsa, esep
from eim.protocol.ecdsa import PublicKey
from eim.protocol.esep import Candidate, Match, SearchCriteria
from eim.protocol.esipa import Provided, receive
from tests.asn1.test_sgp32 import EIM_SIGNATURE, EUICC_SIGNATURE, ICCID, PACKAGE, RESULT, SIGNED, TRANSACTION
from tests.protocol import captures

EID = Eid(bytes.fromhex("89049032123451234512345678901235"))
EIM_ID = "eim.example.com"
TOKEN = Candidate(SignatureForm.TOKEN, 1)
ZERO = Candidate(SignatureForm.ZERO, None)
EIM_FORM = Candidate(SignatureForm.EIM_SIGNATURE, None)


def key_of(scalar: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(scalar, ec.SECP256R1())


def public(key: ec.EllipticCurvePrivateKey) -> PublicKey:
    encoding = serialization.Encoding.DER
    spki = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    return ecdsa.public_key_from_spki(spki)


EIM_KEY, EUICC_KEY = key_of(1), key_of(2)


def der_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(der_signature(key, message))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Pen:
    """Gives the same signature for everything, and keeps what it was given to sign."""

    def __init__(self, signature: bytes) -> None:
        self._signature = signature
        self.signed: list[bytes] = []

    def sign(self, tbs: bytes) -> bytes:
        self.signed.append(tbs)
        return self._signature


def test_a_package_is_the_worked_example_octet_for_octet() -> None:
    contents = esep.contents(PsmoList((Enable(ICCID, rollback=True),)))
    pen = Pen(EIM_SIGNATURE)
    (sealed,) = esep.seal_each(EIM_ID, [(EID, 1, TransactionId(TRANSACTION), 1, contents)], pen.sign)
    assert pen.signed == [PACKAGE + bytes.fromhex("840101")]
    assert ecdsa.verify(public(EIM_KEY), pen.signed[0], EIM_SIGNATURE)
    assert sealed == bytes.fromhex("BF51818F") + PACKAGE + b"\x5f\x37\x40" + EIM_SIGNATURE
    assert sgp32.decode(EuiccPackageRequest, sealed).signed == PACKAGE


@pytest.mark.parametrize(
    ("token", "behind"), [(None, "840100"), (0, "840100"), (128, "84020080"), (70_000, "8403011170")]
)
def test_the_token_is_always_signed_and_never_sent(token: int | None, behind: str) -> None:
    pen = Pen(bytes(64))
    (sealed,) = esep.seal_each(
        EIM_ID, [(EID, 128, None, token, esep.contents(PsmoList((ListProfileInfo(),))))], pen.sign
    )
    signed = sgp32.decode(EuiccPackageRequest, sealed).signed
    assert pen.signed == [signed + bytes.fromhex(behind)]
    assert bytes.fromhex("81020080") in signed


def test_a_package_of_nothing_is_refused() -> None:
    with pytest.raises(EmptyPackage, match="no operation"):
        esep.contents(PsmoList(()))


@pytest.mark.parametrize("size", [0, 63, 65, 70])
def test_only_a_raw_signature_seals(size: int) -> None:
    with pytest.raises(ValueError, match="64"):
        esep.seal_each(
            EIM_ID, [(EID, 1, None, None, esep.contents(PsmoList((ListProfileInfo(),))))], Pen(bytes(size)).sign
        )


@pytest.mark.parametrize(
    ("tags", "speaks", "octets"),
    [
        (None, None, "BF5221 5C0D 81BF20BF228384A5A6A8A9A0A2"),
        (None, Speaks.V1_3, "BF5221 5C0D 81BF20BF228384A5A6A8A9A0A2"),
        (b"\xa5\xa6", Speaks.V1_2, "BF5216 5C02 A5A6"),
    ],
)
def test_a_data_request_asks_for_everything_unless_told(tags: bytes | None, speaks: Speaks | None, octets: str) -> None:
    expected = bytes.fromhex(octets) + b"\x83\x10" + TRANSACTION
    assert esep.data_request(tags, speaks, TRANSACTION) == expected


def test_a_data_request_of_v1_0_1_is_what_another_eim_sends() -> None:
    criteria = SearchCriteria(result_seq=4)
    assert esep.data_request(None, Speaks.V1_0_1, TRANSACTION, criteria) == captures.of(3, "response")[3:]


def test_results_are_asked_for_in_the_words_of_the_version() -> None:
    new = sgp32.decode(IpaEuiccDataRequest, esep.results_request(Speaks.V1_2, TRANSACTION))
    assert new == IpaEuiccDataRequest(b"\xa2", transaction_id=TRANSACTION)
    assert esep.results_request(Speaks.V1_0_1, TRANSACTION) == bytes.fromhex("BF5208 5C02BF2B A1028200")


def test_the_worked_result_verifies_with_its_token_only() -> None:
    key = public(EUICC_KEY)
    assert esep.verify(SIGNED, key, [ZERO, EIM_FORM, TOKEN], EIM_SIGNATURE) == Match(
        SignatureForm.TOKEN, SignatureCoding.RAW, 1
    )
    assert esep.verify(SIGNED, key, [ZERO, EIM_FORM, Candidate(SignatureForm.TOKEN, 2)], EIM_SIGNATURE) is None
    assert esep.verify(SIGNED, public(EIM_KEY), [TOKEN], None) is None
    assert esep.verify(SIGNED, key, [], None) is None


FORMS = [
    (TOKEN, bytes.fromhex("840101")),
    (ZERO, bytes.fromhex("840100")),
    (EIM_FORM, b"\x5f\x37\x40" + EIM_SIGNATURE),
]


@pytest.mark.parametrize(("candidate", "behind"), FORMS, ids=[form.form.value for form, _ in FORMS])
@pytest.mark.parametrize("coding", list(SignatureCoding))
def test_each_form_and_coding_is_found_among_all_and_named(
    candidate: Candidate, behind: bytes, coding: SignatureCoding
) -> None:
    sign = raw_signature if coding is SignatureCoding.RAW else der_signature
    result = ResultSigned(RESULT, SIGNED.data, sign(EUICC_KEY, RESULT + behind))
    match = esep.verify(result, public(EUICC_KEY), [TOKEN, ZERO, EIM_FORM], EIM_SIGNATURE)
    assert match == Match(candidate.form, coding, candidate.token)


@pytest.mark.parametrize("behind", [b"", EIM_SIGNATURE, bytes.fromhex("BF5100"), bytes.fromhex("040101")])
def test_a_signature_over_anything_else_matches_nothing(behind: bytes) -> None:
    result = ResultSigned(RESULT, SIGNED.data, raw_signature(EUICC_KEY, RESULT + behind))
    assert esep.verify(result, public(EUICC_KEY), [TOKEN, ZERO, EIM_FORM], EIM_SIGNATURE) is None


def test_what_can_not_be_checked_never_matches() -> None:
    signed = raw_signature(EUICC_KEY, RESULT)
    result = ResultSigned(RESULT, SIGNED.data, signed)
    unknown = [Candidate(SignatureForm.TOKEN, None), EIM_FORM, Candidate(SignatureForm.NONE, None)]
    assert esep.verify(result, public(EUICC_KEY), unknown, None) is None


def test_a_signed_error_verifies_alike() -> None:
    data = ErrorData(EIM_ID, 1, TRANSACTION, 4)
    signed = sgp32.encode(data)
    error = ErrorSigned(signed, data, raw_signature(EUICC_KEY, signed + bytes.fromhex("840101")))
    assert esep.verify(error, public(EUICC_KEY), [TOKEN], None) is not None


def test_one_bit_turned_in_the_signed_part_or_in_the_signature_fails() -> None:
    key = public(EUICC_KEY)
    for at in range(len(RESULT)):
        turned = bytearray(RESULT)
        turned[at] ^= 1
        assert esep.verify(ResultSigned(bytes(turned), SIGNED.data, EUICC_SIGNATURE), key, [TOKEN], None) is None
    for at in range(64):
        turned = bytearray(EUICC_SIGNATURE)
        turned[at] ^= 0x80
        assert esep.verify(ResultSigned(RESULT, SIGNED.data, bytes(turned)), key, [TOKEN], None) is None


def random_length(draw: Random, content: bytes) -> bytes:
    """The length of `content` in any form that is no DER, or that is."""
    size = len(content)
    octets = draw.randint(max(1, (size.bit_length() + 7) // 8), 4)
    return draw.choice(
        (bytes((0x80 | octets,)) + size.to_bytes(octets, "big"), der.wrap(0x30, content)[1 : -size or None])
    )


def loosened(octets: bytes, draw: Random) -> bytes:
    """The same TLVs, with lengths longer than need be and elements nobody knows."""
    out = b""
    for tag, _, value, end in tlv.children(octets, 0, len(octets)):
        content = octets[value:end]
        if der.is_constructed(tag):
            content = loosened(content, draw)
            content += draw.choice((b"", b"\x9f\x55\x01\x00")) if tag == 0x30 and end == len(octets) else b""
        out += tag.to_bytes((tag.bit_length() + 7) // 8, "big") + random_length(draw, content) + content
    return out


def test_ten_thousand_results_that_are_no_der_are_hashed_as_they_came() -> None:
    draw = Random(7)
    data = sgp32.encode(SIGNED.data)
    checked = 0
    for number in range(10_000):
        signed = loosened(data, draw)
        octets = der.wrap(0xBF51, der.wrap(0xA0, signed + b"\x5f\x37\x40" + EUICC_SIGNATURE))
        result = sgp32.decode(ResultSigned, octets)
        assert result.signed == signed
        if number % 50 == 0:  # the hash is what costs; its input is compared in every one
            signature = raw_signature(EUICC_KEY, signed + bytes.fromhex("840101"))
            assert esep.verify(ResultSigned(result.signed, result.data, signature), public(EUICC_KEY), [TOKEN], None)
            checked += signed != data
    assert checked > 150


def captured_key() -> PublicKey:
    received = receive(captures.of(41, "request"))
    assert isinstance(received, Provided)
    assert isinstance(received.payload, DataResponse)
    certificate = load_der_x509_certificate(received.payload.data.euicc_certificate or b"")
    encoding = serialization.Encoding.DER
    spki = certificate.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    return ecdsa.public_key_from_spki(spki)


@pytest.mark.parametrize("number", [24, 26, 28, 30, 32, 36, 62])
def test_captured_results_verify_with_the_cards_certificate(number: int) -> None:
    received = receive(captures.of(number, "request"))
    assert isinstance(received, Provided)
    assert isinstance(received.payload, ResultSigned | ErrorSigned)
    match = esep.verify(received.payload, captured_key(), [ZERO, TOKEN, EIM_FORM], bytes(64))
    assert match == Match(SignatureForm.TOKEN, SignatureCoding.RAW, 1)


def test_the_captured_result_over_the_request_s_signature_is_found_by_it() -> None:
    received = receive(captures.of(34, "request"))
    assert isinstance(received, Provided)
    assert isinstance(received.payload, ResultSigned)
    request = sgp32.decode(EuiccPackageRequest, captures.of(33, "response")[3:])
    assert esep.verify(received.payload, captured_key(), [TOKEN, ZERO], request.signature) is None
    match = esep.verify(received.payload, captured_key(), [TOKEN, ZERO, EIM_FORM], request.signature)
    assert match == Match(SignatureForm.EIM_SIGNATURE, SignatureCoding.RAW, None)


@pytest.mark.parametrize("number", [47, 49])
def test_the_placeholder_of_an_emulated_card_matches_nothing(number: int) -> None:
    received = receive(captures.of(number, "request"))
    assert isinstance(received, Provided)
    assert isinstance(received.payload, ResultSigned)
    assert received.payload.signature == b"R" * 32 + b"S" * 32
    assert esep.verify(received.payload, captured_key(), [TOKEN, ZERO, EIM_FORM], bytes(64)) is None


def captured_eim_key() -> PublicKey:
    octets = bytes.fromhex((captures.FOLDER / "eimcfg-eimConfigurationData.hex").read_text())
    config = sgp32.decode(sgp32.EimConfigurationData, octets)
    assert sgp32.encode(config) == octets
    assert isinstance(config.public_key, sgp32.SpkiChoice)
    return ecdsa.public_key_from_spki(config.public_key.der)


def test_captured_packages_are_signed_over_what_we_would_sign() -> None:
    key = captured_eim_key()
    sealed = [c for c in captures.RESPONSES if c.type == "GetEimPackageResponse/euiccPackageRequest"]
    assert len(sealed) > 15
    for capture in sealed:
        held = der.inside(capture.octets, der.read_one(capture.octets))
        request = sgp32.decode(EuiccPackageRequest, der.whole(capture.octets, held[0]))
        token = 9 if "wrong-associationToken" in capture.name else 1
        assert ecdsa.verify(key, request.signed + sgp32.encode_association_token(token), request.signature)


def test_the_configuration_another_eim_exports_is_read_and_written_anew_alike() -> None:
    octets = bytes.fromhex((captures.FOLDER / "eimcfg-addInitialEimRequest.hex").read_text())
    request = sgp32.decode(sgp32.AddInitialEimRequest, octets)
    assert sgp32.encode(request) == octets
    assert request.configs[0].association_token == -1
