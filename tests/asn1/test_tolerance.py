"""What other implementations send, each as one shape: read for what it means, its signed octets untouched."""

import msgspec
import pytest

from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import (
    DataError,
    DataResponse,
    EimConfigurationData,
    Envelope,
    ErrorData,
    ErrorSigned,
    ErrorUnsigned,
    EuiccResult,
    HandleNotification,
    IpaCapabilities,
    IpaEuiccData,
    PendingNotification,
    ProvideEimPackageResult,
    ResponseError,
    ResultSigned,
    SpkiChoice,
    TriggerResult,
    Unreadable,
)
from eim.errors import Malformed
from tests.asn1.test_sgp32 import EID, EIM_ID, EUICC_SIGNATURE, RESULT, SIGNED, SIGNED_TLV, SPKI, TRANSACTION
from tests.reference.samples import CERTIFICATE
from tests.reference.spelling import bare

ARM = bytes.fromhex(SIGNED_TLV)[3:]
MEMBERS = RESULT + b"\x5f\x37\x40" + EUICC_SIGNATURE
BF51 = bytes.fromhex(SIGNED_TLV)
NOTIFICATION = sgp32.encode(
    PendingNotification(
        "otherSignedNotification",
        3,
        "enable",
        "smdp.example.com",
        None,
        bytes.fromhex("BF2F19 800103 81020640 0C10736D64702E6578616D706C652E636F6D"),
        EUICC_SIGNATURE,
        CERTIFICATE,
        CERTIFICATE,
    )
)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(der.wrap(0xBF51, ARM), id="A0, as the standard has it"),
        pytest.param(der.wrap(0xBF51, der.wrap(0x30, MEMBERS)), id="a bare 30 in place of A0"),
        pytest.param(der.wrap(0xBF51, MEMBERS), id="the members directly"),
        pytest.param(der.wrap(0xBF51, der.wrap(0xA0, der.wrap(0x30, MEMBERS))), id="A0 and a 30"),
        pytest.param(der.wrap(0xBF51, der.wrap(0xBF51, ARM)), id="the tag twice"),
        pytest.param(b"\xbf\x51\x82\x00\x75" + ARM, id="a length longer than need be"),
        pytest.param(der.wrap(0xBF51, der.wrap(0xA0, MEMBERS + b"\x99\x01\x00")), id="an unknown element behind"),
    ],
)
def test_a_signed_result_is_read_in_every_shape(octets: bytes) -> None:
    result = sgp32.decode_package_result(octets)
    assert bare(result) == SIGNED
    assert result.raw == octets


def test_a_signed_part_in_another_coding_is_kept_as_it_came() -> None:
    signed = bytes.fromhex("3082001A 80026531 81020001 8382000107 308103830100 9903010203 9A00")
    result = sgp32.decode(ResultSigned, der.wrap(0xBF51, der.wrap(0xA0, signed + b"\x5f\x37\x40" + EUICC_SIGNATURE)))
    assert result.signed == signed
    assert (result.data.counter, result.data.seq_number, result.data.results[0].code) == (1, 7, 0)


@pytest.mark.parametrize("tag", [0xA1, 0x30, None])
def test_a_signed_error_is_told_by_what_it_holds(tag: int | None) -> None:
    data = ErrorData(EIM_ID, 1, TRANSACTION, 4)
    members = sgp32.encode(data) + b"\x5f\x37\x40" + EUICC_SIGNATURE
    octets = der.wrap(0xBF51, der.wrap(tag, members) if tag else members)
    assert bare(sgp32.decode_package_result(octets)) == ErrorSigned(sgp32.encode(data), data, EUICC_SIGNATURE)


def test_an_unsigned_error_with_more_in_it_than_known() -> None:
    octets = bytes.fromhex("BF510B A209 80026531 840102 8D00")
    assert bare(sgp32.decode_package_result(octets)) == ErrorUnsigned("e1", association_token=2)


def test_an_unsigned_error_of_v1_3_has_a_code_and_one_without_its_arm_is_read() -> None:
    assert bare(sgp32.decode_package_result(bytes.fromhex("BF5109 A207 80026531 8F010F"))) == ErrorUnsigned(
        "e1", code=15
    )
    assert bare(sgp32.decode_package_result(bytes.fromhex("BF5104 80026531"))) == ErrorUnsigned("e1")


@pytest.mark.parametrize(
    ("octets", "result"),
    [
        pytest.param("020101", EuiccResult(0x02, "processingTerminated", 1), id="a universal INTEGER in its place"),
        pytest.param("9F4100", EuiccResult(0x9F41, "unknown"), id="an unknown kind"),
        pytest.param("8300", EuiccResult(0x83, "unknown"), id="a code of no octet"),
        pytest.param("BF2D02 3000", EuiccResult(0xBF2D, "listProfileInfo", profiles=()), id="a list under 30"),
        pytest.param("BF2D00", EuiccResult(0xBF2D, "listProfileInfo", profiles=()), id="a list without its tag"),
        pytest.param("BF2D03 810101", EuiccResult(0xBF2D, "listProfileInfo", 1), id="a list's error"),
        pytest.param("BF2D06 BF2D03 81010B", EuiccResult(0xBF2D, "listProfileInfo", 11), id="the tag twice"),
        pytest.param(
            "AB0B 3009 3007 80026531 840101", EuiccResult(0xAB, "listEim", eims=(("e1", 1),)), id="v1.0.1 type"
        ),
        pytest.param("A805 A003 840102", EuiccResult(0xA8, "addEim", 0, association_token=2), id="a tag more"),
        pytest.param("A606 3004 80020560", EuiccResult(0xA6, "getRAT"), id="a rules table, kept raw"),
        pytest.param("BF2D05 A003 040100", EuiccResult(0xBF2D, "unknown"), id="no profile in the list"),
    ],
)
def test_a_result_is_read_or_kept_and_never_refused(octets: str, result: EuiccResult) -> None:
    raw = bytes.fromhex(octets)
    read = sgp32.decode(EuiccResult, raw)
    assert bare(read) == result
    assert read.raw == raw


def test_a_name_on_the_card_that_is_no_text_costs_only_itself() -> None:
    raw = bytes.fromhex("BF2D17 A015 E313 5A0A98001032547698103214 9002 FFFE 920141")
    (profile,) = sgp32.decode(EuiccResult, raw).profiles or ()
    assert (profile.nickname, profile.name) == (None, "A")


@pytest.mark.parametrize(
    ("octets", "features", "protocols"),
    [
        ("A808 800205E0 81020780", {0, 1, 2}, {0}),
        ("A811 800700000100010000 8106000100000000", {1, 3}, {0}),
        ("A804 80020640", {1}, None),
    ],
)
def test_capabilities_are_read_in_bits_and_in_octets(
    octets: str, features: set[int], protocols: set[int] | None
) -> None:
    response = sgp32.decode(DataResponse, der.wrap(0xBF52, der.wrap(0xA0, bytes.fromhex(octets))))
    expected = IpaCapabilities(frozenset(features), None if protocols is None else frozenset(protocols))
    assert response.data.capabilities == expected


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(CERTIFICATE[4:], id="three parts side by side"),
        pytest.param(CERTIFICATE, id="nested in a 30"),
    ],
)
def test_certificates_come_out_whole(members: bytes) -> None:
    octets = der.wrap(0xBF52, der.wrap(0xA0, der.wrap(0xA5, members) + der.wrap(0xA6, members)))
    data = sgp32.decode(DataResponse, octets).data
    assert data.eum_certificate == CERTIFICATE
    assert data.euicc_certificate == CERTIFICATE


@pytest.mark.parametrize("key", [SPKI[2:], SPKI])
def test_a_key_comes_out_whole(key: bytes) -> None:
    octets = der.wrap(0x30, bytes.fromhex("80026531") + der.wrap(0xA5, der.wrap(0xA0, key)))
    assert sgp32.decode(EimConfigurationData, octets).public_key == SpkiChoice(SPKI)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param("BF5208 A006 810141 840101", id="in its arm"),
        pytest.param("BF5206 810141 840101", id="members directly"),
        pytest.param("BF5208 3006 810141 840101", id="under a 30"),
        pytest.param("BF520B BF5208 A006 810141 840101", id="the tag twice"),
        pytest.param("BF520D A00B 800141 840101 BF2B02 A000", id="v1.0.1"),
    ],
)
def test_data_is_read_in_every_shape(octets: str) -> None:
    data = sgp32.decode(DataResponse, bytes.fromhex(octets)).data
    assert (data.default_smdp, data.association_token) == ("A", 1)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        ("BF5205 A103 020101", DataError(1)),
        ("BF5209 A107 80020102 020168", DataError(104, b"\1\2")),
        ("BF5203 810105", DataError(5)),
        ("BF5203 020101", DataError(1)),
        ("BF5206 BF5203 81017F", DataError(127)),
    ],
)
def test_a_data_error_is_read_in_every_shape(octets: str, error: DataError) -> None:
    assert bare(sgp32.decode(DataError, bytes.fromhex(octets))) == error


@pytest.mark.parametrize(
    ("retrieved", "notifications", "results"),
    [
        (der.wrap(0xA0, NOTIFICATION), 1, 0),
        (b"\x81\x01\x7f", 0, 0),
        (der.wrap(0xA2, BF51 + BF51), 0, 2),
        (der.wrap(0xA3, der.wrap(0xA0, NOTIFICATION) + der.wrap(0xA1, BF51)), 1, 1),
    ],
)
def test_notifications_and_results_of_v1_0_1_are_found(retrieved: bytes, notifications: int, results: int) -> None:
    octets = der.wrap(0xBF52, der.wrap(0xA0, der.wrap(0xBF2B, retrieved)))
    data = sgp32.decode(DataResponse, octets).data
    assert data.notifications == (NOTIFICATION,) * notifications
    assert tuple(bare(result) for result in data.results) == (SIGNED,) * results


def test_the_versions_and_ci_keys_of_a_card_are_read_from_its_info() -> None:
    info2 = der.wrap(0xBF22, bytes.fromhex("AA06 0404 01020304 B40C A00A 0403 010200 0403 010001"))
    data = sgp32.decode(DataResponse, der.wrap(0xBF52, der.wrap(0xA0, info2))).data
    assert data.iot_versions == (b"\1\2\0", b"\1\0\1")
    assert data.ci_keys_signing == (b"\1\2\3\4",)
    assert data.info2 == info2


LISTED = BF51 + der.wrap(0xA0, NOTIFICATION)
RETRIEVED = BF51 + der.wrap(0xBF2B, der.wrap(0xA0, NOTIFICATION))
EID_TLV = b"\x5a\x10" + EID


@pytest.mark.parametrize("eid", [b"", EID_TLV])
@pytest.mark.parametrize(
    ("content", "envelope", "notifications"),
    [
        pytest.param(BF51, Envelope.BARE, (), id="the result"),
        pytest.param(der.wrap(0x30, LISTED), Envelope.LIST, (NOTIFICATION,), id="with a list"),
        pytest.param(der.wrap(0x30, BF51), Envelope.LIST, (), id="with no list"),
        pytest.param(der.wrap(0x30, RETRIEVED), Envelope.RETRIEVED, (NOTIFICATION,), id="with a v1.0.1 list"),
    ],
)
def test_a_result_is_found_in_every_envelope(
    eid: bytes, content: bytes, envelope: Envelope, notifications: tuple[bytes, ...]
) -> None:
    for octets in (der.wrap(0xBF50, eid + content), der.wrap(0xBF50, der.wrap(0xBF50, eid + content))):
        provided = sgp32.decode(ProvideEimPackageResult, octets)
        assert bare(provided.payload) == SIGNED
        assert (provided.eid, provided.envelope, provided.notifications) == (
            EID if eid else None,
            envelope,
            notifications,
        )


@pytest.mark.parametrize(
    ("content", "payload"),
    [
        ("A003 02017F", ResponseError(127)),
        ("A006 800101 020102", ResponseError(2, b"\1")),
        ("020101", ResponseError(1)),
        ("BF5408 820101 3003 800168", TriggerResult(b"\1", None, 104)),
        ("BF5405 3003 8001 7B", TriggerResult(None, None, 123)),
        ("BF5402 3000", TriggerResult(None)),
        ("BF5406 3004 0402 AABB", TriggerResult(None)),
        ("BF5405 BF3702 3000", TriggerResult(None, bytes.fromhex("BF3702 3000"))),
        ("BF5408 BF5405 3003 80017F", TriggerResult(None, None, 127)),
    ],
)
def test_errors_and_trigger_results_are_read(content: str, payload: ResponseError | TriggerResult) -> None:
    provided = sgp32.decode(ProvideEimPackageResult, der.wrap(0xBF50, EID_TLV + bytes.fromhex(content)))
    assert bare(provided.payload) == payload


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(der.wrap(0xBF50, EID_TLV + BF51), id="BF50"),
        pytest.param(der.wrap(0xA1, EID_TLV + BF51), id="A1"),
        pytest.param(der.wrap(0xA1, der.wrap(0xBF50, EID_TLV + BF51)), id="A1 with the inner tag"),
        pytest.param(der.wrap(0xBF50, der.wrap(0xBF50, EID_TLV + BF51)), id="BF50 twice"),
    ],
)
def test_a_handled_result_is_found(content: bytes) -> None:
    handled = sgp32.decode(HandleNotification, der.wrap(0xBF3D, content)).content
    assert isinstance(handled, ProvideEimPackageResult)
    assert (handled.eid, bare(handled.payload)) == (EID, SIGNED)


def test_a_compact_installation_result_keeps_its_octets_and_covers_none() -> None:
    octets = der.wrap(
        0xA0, der.wrap(0xA0, bytes.fromhex("80020102 020109 A206 A004 4F021000")) + bytes.fromhex("5F3703010203")
    )
    read = sgp32.decode(PendingNotification, octets)
    assert read == PendingNotification(
        "compactProfileInstallationResult", 9, "install", None, None, b"", b"\1\2\3", raw=octets
    )


def test_a_compact_installation_result_is_written_from_its_octets_only() -> None:
    value = PendingNotification("compactProfileInstallationResult", 9, "install", None, None, b"", b"\1")
    with pytest.raises(ValueError, match="raw"):
        sgp32.encode(value)


@pytest.mark.parametrize("bits", ["0400", "0430", "0308"])
def test_a_notification_of_no_or_two_events_names_none(bits: str) -> None:
    metadata = der.wrap(0xBF2F, bytes.fromhex("800103 8102" + bits + "0C0141"))
    octets = der.wrap(0xA1, metadata + bytes.fromhex("5F3703010203"))
    assert sgp32.decode(PendingNotification, octets).event is None


@pytest.mark.parametrize(
    ("octets", "raw"),
    [
        pytest.param("BF5000", "BF5000", id="an empty BF50"),
        pytest.param("BF5003 040101", "BF5003 040101", id="nothing known in BF50"),
        pytest.param("BF5004 3002 A000", "3002 A000", id="notifications without a result"),
        pytest.param("BF5003 BF5100", "BF5100", id="an empty BF51"),
        pytest.param("BF5005 BF5102 A000", "BF5102 A000", id="an empty arm"),
        pytest.param("BF5006 BF5103 040100", "BF5103 040100", id="an element nobody knows in BF51"),
        pytest.param("BF5004 BF5401 00", None, id="no TLV in BF54"),
        pytest.param("BF5005 BF5202 A100", "BF5202 A100", id="a data error without a code"),
        pytest.param("BF5002 0200", "0200", id="a code of no octet"),
    ],
)
def test_a_result_that_says_nothing_known_is_kept_unless_its_tlvs_are_broken(octets: str, raw: str | None) -> None:
    if raw is None:
        with pytest.raises(Malformed):
            sgp32.decode(ProvideEimPackageResult, bytes.fromhex(octets))
    else:
        provided = sgp32.decode(ProvideEimPackageResult, bytes.fromhex(octets))
        assert provided.payload == Unreadable(bytes.fromhex(raw))


def test_an_eid_of_another_size_is_no_reason_to_refuse_a_result() -> None:
    octets = der.wrap(0xBF50, b"\x5a\x0f" + EID[:15] + BF51)
    provided = sgp32.decode(ProvideEimPackageResult, octets)
    assert (provided.eid, bare(provided.payload)) == (EID[:15], SIGNED)


def test_an_eid_behind_its_result_is_found() -> None:
    assert sgp32.decode(ProvideEimPackageResult, der.wrap(0xBF50, BF51 + EID_TLV)).eid == EID


NO_RESULT = bytes.fromhex("BF5103 040100")
NO_NOTIFICATION = bytes.fromhex("8101 7F")


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(der.wrap(0xA2, BF51 + NO_RESULT + BF51), id="A2"),
        pytest.param(der.wrap(0xA0, BF51 + NO_RESULT + BF51), id="in the list of notifications"),
        pytest.param(der.wrap(0xBF2B, der.wrap(0xA2, BF51 + NO_RESULT + BF51)), id="BF2B"),
        pytest.param(der.wrap(0xBF2B, der.wrap(0xA3, der.wrap(0xA1, BF51 + NO_RESULT + BF51))), id="BF2B, A3"),
    ],
)
def test_one_unreadable_result_in_a_list_costs_only_itself(member: bytes) -> None:
    octets = der.wrap(0xBF52, der.wrap(0xA0, bytes.fromhex("810141") + member))
    data = sgp32.decode(DataResponse, octets).data
    assert tuple(bare(result) for result in data.results) == (SIGNED, SIGNED)
    assert (data.default_smdp, data.unreadable) == ("A", (NO_RESULT,))


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(der.wrap(0xA0, NOTIFICATION + NO_NOTIFICATION), id="A0"),
        pytest.param(der.wrap(0xBF2B, der.wrap(0xA0, NOTIFICATION + NO_NOTIFICATION)), id="BF2B"),
    ],
)
def test_one_unreadable_notification_in_a_list_costs_only_itself(member: bytes) -> None:
    data = sgp32.decode(DataResponse, der.wrap(0xBF52, der.wrap(0xA0, bytes.fromhex("810141") + member))).data
    assert (data.default_smdp, data.notifications, data.unreadable) == ("A", (NOTIFICATION,), (NO_NOTIFICATION,))


@pytest.mark.parametrize(
    "member", ["A502 3000", "84 09 010203040506070809", "83 02 FFFE", "A803 800108", "BF2B03 820100", "81 01 42"]
)
def test_a_member_of_the_data_that_cannot_be_read_counts_as_absent(member: str) -> None:
    octets = bytes.fromhex(member)
    data = sgp32.decode(DataResponse, der.wrap(0xBF52, der.wrap(0xA0, bytes.fromhex("810141") + octets))).data
    expected = octets[3:] if member.startswith("BF2B") else octets
    assert msgspec.structs.replace(data, unreadable=()) == IpaEuiccData(default_smdp="A")
    assert data.unreadable == (expected,)


@pytest.mark.parametrize(
    ("retrieved", "notifications", "results", "unreadable"),
    [
        pytest.param(der.wrap(0xA2, BF51), (), (SIGNED,), (), id="results"),
        pytest.param(
            der.wrap(0xA3, der.wrap(0xA0, NOTIFICATION) + der.wrap(0xA1, BF51)), (NOTIFICATION,), (SIGNED,), (), id="A3"
        ),
        pytest.param(der.wrap(0xA2, NO_RESULT + BF51), (), (SIGNED,), (NO_RESULT,), id="an unreadable one"),
        pytest.param(bytes.fromhex("81017F"), (), (), (), id="an error"),
    ],
)
def test_results_listed_beside_a_result_of_v1_0_1_are_found(
    retrieved: bytes, notifications: tuple[bytes, ...], results: tuple[ResultSigned, ...], unreadable: tuple[bytes, ...]
) -> None:
    octets = der.wrap(0xBF50, der.wrap(0x30, BF51 + der.wrap(0xBF2B, retrieved)))
    provided = sgp32.decode(ProvideEimPackageResult, octets)
    assert (bare(provided.payload), provided.envelope) == (SIGNED, Envelope.RETRIEVED)
    assert tuple(bare(result) for result in provided.results) == results
    assert (provided.notifications, provided.unreadable) == (notifications, unreadable)
    if not unreadable and results:
        assert sgp32.encode(provided) == octets
