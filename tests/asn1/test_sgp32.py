"""Worked examples, octet for octet both ways; made with another encoder (toy keys, v1.2)."""

from typing import Any

import msgspec
import pytest

from eim.asn1 import sgp32
from eim.asn1.sgp32 import (
    AddEim,
    DataError,
    DataResponse,
    EimConfigurationData,
    Enable,
    Envelope,
    ErrorData,
    ErrorSigned,
    ErrorUnsigned,
    EuiccPackageRequest,
    EuiccPackageSigned,
    EuiccResult,
    GetEimPackageRequest,
    IpaCapabilities,
    IpaEuiccData,
    IpaEuiccDataRequest,
    NotificationMetadata,
    ProfileInfo,
    ProvideEimPackageResult,
    PsmoList,
    ResultData,
    ResultSigned,
    SpkiChoice,
)
from eim.errors import Malformed
from tests.reference.spelling import bare

EIM_ID = "eim.example.com"
EID = bytes.fromhex("89049032123451234512345678901235")
TRANSACTION = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
ICCID = bytes.fromhex("98001032547698103214")
PACKAGE = bytes.fromhex(
    "304A 800F65696D2E6578616D706C652E636F6D 5A1089049032123451234512345678901235 810101"
    "821000112233445566778899AABBCCDDEEFF A010 A30E 5A0A98001032547698103214 0500"
)
EIM_SIGNATURE = bytes.fromhex(
    "A9570FE818533D77C488AA0100B2EE2A8277234DC096FDBAA8AF052B0980EEBF"
    "588690756D6909C013EEEB8837CAA947C1E2FF2741F56D69B519A4D6939AB096"
)
RESULT = bytes.fromhex(
    "302E 800F65696D2E6578616D706C652E636F6D 810101 821000112233445566778899AABBCCDDEEFF 830107 3003 830100"
)
EUICC_SIGNATURE = bytes.fromhex(
    "FB4011472BA8E84A8787605226F2806BB80F7AE230E656215D70B43297B7802E"
    "ABDC198EDA07896CA0D4A1B2B6B3E22C3ED79BE88FC3AA63D0144C08BDE13766"
)
DATA = ResultData(EIM_ID, 1, TRANSACTION, 7, (EuiccResult(0x83, "enable", 0),))
SIGNED = ResultSigned(RESULT, DATA, EUICC_SIGNATURE)
SPKI = bytes.fromhex(
    "3059 3013 06072A8648CE3D0201 06082A8648CE3D030107 034200 04"
    "6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296"
    "4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5"
)
SIGNED_TLV = "BF5175 A073" + RESULT.hex() + "5F3740" + EUICC_SIGNATURE.hex()
ADD_EIM = EimConfigurationData(
    "eim2.example.com",
    id_type=2,
    counter=0,
    association_token=-1,
    public_key=SpkiChoice(SPKI),
    protocols=frozenset({0}),
)

EXAMPLES: list[tuple[msgspec.Struct, str]] = [
    (GetEimPackageRequest(EID), "BF4F12 5A10 89049032123451234512345678901235"),
    (
        GetEimPackageRequest(EID, True, 1, b"\x62\xf2\x10"),
        "BF4F1C 5A1089049032123451234512345678901235 8000 810101 820362F210",
    ),
    (EuiccPackageSigned(EIM_ID, EID, 1, TRANSACTION, PsmoList((Enable(ICCID, rollback=True),))), PACKAGE.hex()),
    (
        EuiccPackageRequest(
            PACKAGE, EIM_SIGNATURE, EuiccPackageSigned(EIM_ID, EID, 1, TRANSACTION, PsmoList((Enable(ICCID, True),)))
        ),
        "BF51818F" + PACKAGE.hex() + "5F3740" + EIM_SIGNATURE.hex(),
    ),
    (DATA, RESULT.hex()),
    (SIGNED, SIGNED_TLV),
    (ProvideEimPackageResult(SIGNED, EID), "BF50818A 5A1089049032123451234512345678901235" + SIGNED_TLV),
    (
        ErrorUnsigned(EIM_ID, TRANSACTION),
        "BF5125 A223 800F65696D2E6578616D706C652E636F6D 821000112233445566778899AABBCCDDEEFF",
    ),
    (
        IpaEuiccDataRequest(bytes.fromhex("81BF20BF228384A5A6A8A9"), transaction_id=TRANSACTION),
        "BF521F 5C0B 81BF20BF228384A5A6A8A9 831000112233445566778899AABBCCDDEEFF",
    ),
    (
        IpaEuiccDataRequest(bytes.fromhex("A081A2BF20BF228384A5A6A8A9"), transaction_id=TRANSACTION),
        "BF5221 5C0D A081A2BF20BF228384A5A6A8A9 831000112233445566778899AABBCCDDEEFF",
    ),
    (
        DataResponse(
            IpaEuiccData(
                default_smdp="smdp.example.com",
                association_token=1,
                transaction_id=TRANSACTION,
                capabilities=IpaCapabilities(frozenset({0, 1, 2}), frozenset({0})),
            )
        ),
        (
            "BF5233 A031 8110736D64702E6578616D706C652E636F6D 840101 871000112233445566778899AABBCCDDEEFF"
            "A808 800205E0 81020780"
        ),
    ),
    (DataError(1), "BF5205 A103 020101"),
    (
        AddEim(ADD_EIM),
        "A87C 801065696D322E6578616D706C652E636F6D 820102 830100 8401FF A55B A059" + SPKI.hex()[4:] + "87020780",
    ),
    (EuiccResult(0x83, "enable", 0), "830100"),
    (EuiccResult(0xA8, "addEim", 0, association_token=2), "A803 840102"),
    (EuiccResult(0xA8, "addEim", 2), "A803 020102"),
    (EuiccResult(0xAB, "listEim", eims=(("e1", 1),)), "AB0B A009 3007 80026531 820101"),
    (EuiccResult(0x02, "processingTerminated", 2), "020102"),
    (EuiccResult(0x8C, "rollback", 0), "8C0100"),
    (EuiccResult(0xBF65, "setDefaultDpAddress", 0), "BF6503 800100"),
    (EuiccResult(0xBF2D, "listProfileInfo", 11), "BF2D03 81010B"),
    (
        EuiccResult(0xBF2D, "listProfileInfo", profiles=(ProfileInfo(ICCID, state=1, fallback=True),)),
        "BF2D18 A016 E314 5A0A98001032547698103214 9F700101 9F2601FF",
    ),
    (
        NotificationMetadata(3, frozenset({1}), "smdp.example.com", ICCID),
        "BF2F25 800103 81020640 0C10736D64702E6578616D706C652E636F6D 5A0A98001032547698103214",
    ),
]


@pytest.mark.parametrize(("value", "octets"), EXAMPLES, ids=[type(value).__name__ for value, _ in EXAMPLES])
def test_an_example_is_written_octet_for_octet_and_read_back(value: Any, octets: str) -> None:
    raw = bytes.fromhex(octets)
    assert sgp32.encode(value) == raw
    assert bare(sgp32.decode(type(value), raw)) == value


def test_the_signed_error_of_a_replay() -> None:
    data = ErrorData(EIM_ID, 1, TRANSACTION, 4)
    signed = sgp32.encode(data)
    octets = sgp32.encode(ErrorSigned(signed, data, bytes(64)))
    assert octets.startswith(bytes.fromhex("BF5170 A16E 3029 800F"))
    assert len(octets) == 115
    assert bare(sgp32.decode_package_result(octets)) == ErrorSigned(signed, data, bytes(64))


@pytest.mark.parametrize(("token", "octets"), [(1, "840101"), (128, "84020080"), (None, "840100"), (0, "840100")])
def test_the_token_is_written_as_it_is_signed(token: int | None, octets: str) -> None:
    assert sgp32.encode_association_token(token) == bytes.fromhex(octets)


def test_what_came_is_kept_octet_for_octet() -> None:
    octets = sgp32.encode(ProvideEimPackageResult(SIGNED, EID, envelope=Envelope.LIST))
    payload = sgp32.decode(ProvideEimPackageResult, octets).payload
    assert isinstance(payload, ResultSigned)
    assert payload.signed == RESULT
    assert payload.raw == bytes.fromhex(SIGNED_TLV)
    assert sgp32.encode(payload) == payload.raw


@pytest.mark.parametrize(("value", "octets"), EXAMPLES, ids=[type(value).__name__ for value, _ in EXAMPLES])
def test_octets_behind_or_too_few_are_refused(value: Any, octets: str) -> None:
    raw = bytes.fromhex(octets)
    for broken in (raw + b"\0", raw[:-1], raw + raw, b""):
        with pytest.raises(Malformed):
            sgp32.decode(type(value), broken)


def test_another_message_is_refused() -> None:
    octets = sgp32.encode(GetEimPackageRequest(EID))
    for cls in (EuiccPackageRequest, DataResponse, ProvideEimPackageResult, ErrorUnsigned, sgp32.PendingNotification):
        with pytest.raises(Malformed):
            sgp32.decode(cls, octets)
    with pytest.raises(Malformed):
        sgp32.decode(ErrorUnsigned, bytes.fromhex(SIGNED_TLV))


@pytest.mark.parametrize(("size", "sound"), [(0, False), (1, True), (128, True), (129, False)])
def test_an_eim_id_has_1_to_128_characters(size: int, sound: bool) -> None:
    octets = sgp32.encode(EimConfigurationData("é" * size))
    if sound:
        assert sgp32.decode(EimConfigurationData, octets).eim_id == "é" * size
    else:
        with pytest.raises(Malformed):
            sgp32.decode(EimConfigurationData, octets)
