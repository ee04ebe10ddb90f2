from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim.protocol.explain import Entry, Explanation, Secrets, every, explain, mask
from tests.protocol import captures
from tests.protocol.captures import Capture

EIM: Final = "800F65696D2E6578616D706C652E636F6D"
TRANSACTION: Final = "00112233445566778899AABBCCDDEEFF"
EID: Final = "89049032123451234512345678901235"
ICCID: Final = "98001032547698103214"
PACKAGE: Final = f"304A {EIM} 5A10{EID} 810101 8210{TRANSACTION} A010 A30E 5A0A{ICCID} 0500"
SIGNED: Final = f"BF51818F {PACKAGE} 5F3740 {'A5' * 64}"
RESULT: Final = f"302E {EIM} 810101 8210{TRANSACTION} 830107 3003 830100"
CODE: Final = "4C50413A3124736D64702E6578616D706C652E636F6D2454455354"

# Section 19 of the reference: what, octets, the name of the whole, a name and its value that have to be in it.
EXAMPLES: Final = (
    (f"BF4F12 5A10 {EID}", "getEimPackageRequest", "eidValue", EID),
    (f"BF4F1C 5A10{EID} 8000 810101 820362F210", "getEimPackageRequest", "rPLMN", "262-01"),
    (f"BF4F1C 5A10{EID} 8000 810101 820362F210", "getEimPackageRequest", "stateChangeCause", "fallback (1)"),
    ("BF4F03 020101", "getEimPackageResponse", "eimPackageError", "noEimPackageAvailable (1)"),
    (SIGNED, "euiccPackageRequest", "iccid", "89000123456789012341"),
    (f"BF4F8193 {SIGNED}", "getEimPackageResponse", "rollbackFlag", "present"),
    (f"BF5175 A073 {RESULT} 5F3740 {'FB' * 64}", "euiccPackageResult", "enableResult", "ok (0)"),
    (
        f"BF50818A 5A10{EID} BF5175 A073 {RESULT} 5F3740 {'FB' * 64}",
        "provideEimPackageResult",
        "seqNumber",
        "7",
    ),
    ("BF5006 BF5303 800107", "provideEimPackageResultResponse", "seqNumber", "7"),
    ("BF5002 3000", "provideEimPackageResultResponse", "emptyResponse", None),
    ("BF5003 020102", "provideEimPackageResultResponse", "provideEimPackageResultError", "eidNotFound (2)"),
    (f"BF5125 A223 {EIM} 8210{TRANSACTION}", "euiccPackageResult", "eimId", '"eim.example.com"'),
    (
        f"BF516E A16C 3027 {EIM} 810101 820E{TRANSACTION[4:]} 020104 5F3740{'00' * 64}",
        "euiccPackageResult",
        "euiccPackageErrorCode",
        "replayError (4)",
    ),
    (
        f"BF4F34 BF5431 A01D 801B {CODE} 8210{TRANSACTION}",
        "getEimPackageResponse",
        "activationCode",
        '"LPA:1$smdp.example.com$****" (hidden)',
    ),
    (f"BF4F15 BF5412 8210{TRANSACTION}", "getEimPackageResponse", "eimTransactionId", TRANSACTION),
    ("BF5404 A002 8100", "profileDownloadTriggerRequest", "contactDefaultSmdp", "present"),
    (
        "BF5414 A012 A210 800E64732E6578616D706C652E636F6D",
        "profileDownloadTriggerRequest",
        "smdsAddress",
        '"ds.example.com"',
    ),
    ("BF5404 A002 A200", "profileDownloadTriggerRequest", "contactSmds", None),
    (
        f"BF4F24 BF5221 5C0D A081A2BF20BF228384A5A6A8A9 8310{TRANSACTION}",
        "getEimPackageResponse",
        "tagList",
        (
            "A0 notificationsList, 81 defaultSmdpAddress, A2 euiccPackageResultList, BF20 euiccInfo1, BF22 euiccInfo2, "
            "83 rootSmdsAddress, 84 associationToken, A5 eumCertificate, A6 euiccCertificate, A8 ipaCapabilities, "
            "A9 deviceInfo"
        ),
    ),
    (
        f"BF5233 A031 8110736D64702E6578616D706C652E636F6D 840101 8710{TRANSACTION} A808 800205E0 81020780",
        "ipaEuiccDataResponse",
        "ipaFeatures",
        "directRspServerCommunication, indirectRspServerCommunication, eimDownloadDataHandling",
    ),
    ("BF5205 A103 020101", "ipaEuiccDataResponse", "ipaEuiccDataErrorCode", "incorrectTagList (1)"),
    ("830100", "enableResult", "enableResult", "ok (0)"),
    ("A803 840102", "addEimResult", "associationToken", "2"),
    ("A803 020102", "addEimResult", "addEimResultCode", "associatedEimAlreadyExists (2)"),
    ("AB0B A009 3007 80026531 820101", "listEimResult", "eimIdType", "eimIdTypeOid (1)"),
    ("020102", "processingTerminated", "processingTerminated", "unknownOrDamagedCommand (2)"),
    ("8C0100", "rollbackResult", "rollbackResult", "ok (0)"),
    ("BF2D03 81010B", "listProfileInfoResult", "profileInfoListError", "profileChangeOngoing (11)"),
    (
        f"BF2D18 A016 E314 5A0A{ICCID} 9F700101 9F2601FF",
        "listProfileInfoResult",
        "profileState",
        "enabled (1)",
    ),
    (
        "BF410B 800400112233 A103 810105",
        "cancelSessionRequestEsipa",
        "cancelSessionResponseError",
        "invalidTransactionId (5)",
    ),
    ("BF4102 A000", "cancelSessionResponseEsipa", "cancelSessionOk", None),
    (
        "BF3903 810101",
        "initiateAuthenticationResponseEsipa",
        "initiateAuthenticationErrorEsipa",
        "invalidDpAddress (1)",
    ),
    ("BF3B03 820106", "authenticateClientResponseEsipa", "authenticateClientErrorEsipa", "matchingIdRefused (6)"),
    (
        f"BF2F25 800103 81020640 0C10736D64702E6578616D706C652E636F6D 5A0A{ICCID}",
        "notificationMetadata",
        "profileManagementOperation",
        "notificationEnable",
    ),
    (
        "A014 8003414243 A10D 800435000000 A105 85030F0000",
        "ctxParams1: ctxParamsForCommonAuthentication",
        "matchingId",
        "hidden",
    ),
    (
        "A014 8003414243 A10D 800435000000 A105 85030F0000",
        "ctxParams1: ctxParamsForCommonAuthentication",
        "eutranEpcSupportedRelease",
        "15.0.0",
    ),
)


def told(text: str, secrets: Secrets = Secrets.HIDDEN) -> Explanation:
    return explain(bytes.fromhex(text), secrets)


def named(explanation: Explanation, name: str) -> Entry:
    return next(entry for entry in every(explanation.entries) if entry.name == name)


def is_message(capture: Capture) -> bool:
    """Two answers are the words of an HTTP 500, some are empty."""
    return bool(capture.octets) and not capture.octets.startswith(b"Internal")


@pytest.mark.parametrize(("octets", "whole", "name", "value"), EXAMPLES)
def test_the_worked_examples_say_what_they_are(octets: str, whole: str, name: str, value: str | None) -> None:
    explanation = told(octets)
    assert explanation.entries[0].name == whole
    assert named(explanation, name).value == value
    assert [e for e in every(explanation.entries) if e.name is None or e.notes] == []
    assert explanation.trailing is None


@pytest.mark.parametrize("capture", [c for c in captures.ALL if is_message(c)], ids=lambda c: c.name)
def test_every_capture_decodes_with_names(capture: Capture) -> None:
    explanation = explain(capture.octets)
    assert [(e.offset, e.tag) for e in every(explanation.entries) if e.name is None] == []
    assert [(e.offset, e.notes) for e in every(explanation.entries) if e.notes] == []
    assert explanation.end == len(capture.octets)


def test_the_captures_hold_many_different_names() -> None:
    names = {e.name for c in captures.ALL if is_message(c) for e in every(explain(c.octets).entries)}
    assert len(names) > 100


def test_the_factory_configuration_decodes_with_names() -> None:
    for name, whole in (
        ("addInitialEimRequest", "addInitialEimRequest"),
        ("eimConfigurationData", "eimConfigurationData"),
    ):
        octets = bytes.fromhex((captures.FOLDER / f"eimcfg-{name}.hex").read_text())
        explanation = explain(octets)
        assert explanation.entries[0].name == whole
        assert [e.tag for e in every(explanation.entries) if e.name is None] == []


def test_a_signature_says_which_octets_it_covers() -> None:
    covers = named(told(f"BF4F8193 {SIGNED}"), "eimSignature").covers
    assert covers is not None
    assert (covers.start, covers.end) == (8, 8 + 76)
    assert "not transmitted" in covers.then
    assert bytes.fromhex(f"BF4F8193 {SIGNED}")[8:84] == bytes.fromhex(PACKAGE)


def test_a_notification_is_signed_without_a_token() -> None:
    metadata = f"BF2F25 800103 81020640 0C10736D64702E6578616D706C652E636F6D 5A0A{ICCID}"
    covers = named(told(f"BF3D6F A06D A16B {metadata} 5F3740 {'11' * 64}"), "euiccNotificationSignature").covers
    assert covers is not None
    assert (covers.start, covers.then) == (7, "")


def test_a_doubled_tag_is_seen_through_and_said() -> None:
    explanation = told("BF4F06 BF4F03 020101")
    assert named(explanation, "eimPackageError").value == "noEimPackageAvailable (1)"
    assert "twice" in explanation.entries[0].notes[0]


def test_an_unknown_tag_is_shown_raw_among_known_ones() -> None:
    explanation = told(f"BF4F17 5A10{EID} 9F0102AABB")
    unknown = explanation.entries[0].entries[1]
    assert (unknown.name, unknown.tag, unknown.hex) == (None, "9F01", "AABB")
    assert named(explanation, "eidValue").value == EID


def test_what_follows_the_message_is_told_apart() -> None:
    explanation = told("BF4F03020101 0D0A300D0A")
    assert (explanation.end, explanation.trailing) == (6, "0D0A300D0A")


def test_a_cut_message_is_read_up_to_the_cut() -> None:
    explanation = explain(bytes.fromhex(f"BF4F8193 {SIGNED}")[:60])
    assert named(explanation, "eidValue").value == EID
    assert explanation.entries[0].broken
    assert "147 octets, 56 are there" in explanation.entries[0].notes[0]


def test_octets_that_are_nothing_have_no_entries() -> None:
    assert told("00FF").entries == ()
    assert explain(b"").entries == ()


def test_a_value_of_the_wrong_form_is_shown_raw_with_the_reason() -> None:
    entry = named(told("BF4F04 5A02AABB"), "eidValue")
    assert (entry.value, entry.hex) == (None, "AABB")
    assert entry.notes == ("not as expected: an EID of 2 octets, not 16",)


def test_a_state_change_cause_and_the_plmn_of_old_are_told_apart() -> None:
    assert named(told(f"BF4F17 5A10{EID} 810362F210"), "rPLMN (v1.0.1)").value == "262-01"


def test_secrets_are_shown_when_asked_for() -> None:
    octets = f"BF4F34 BF5431 A01D 801B {CODE} 8210{TRANSACTION}"
    assert named(told(octets, Secrets.SHOWN), "activationCode").value == '"LPA:1$smdp.example.com$TEST"'
    assert "TEST" not in repr(told(octets))
    assert "54455354" not in repr(told(octets))


@pytest.mark.parametrize("cut", range(20, 55))
def test_no_cut_uncovers_a_code(cut: int) -> None:
    shown = explain(bytes.fromhex(f"BF4F34 BF5431 A01D 801B {CODE} 8210{TRANSACTION}")[:cut])
    assert "54455354" not in repr(shown)
    assert "TEST" not in repr(shown)


def test_a_code_is_hidden_in_octets_that_mean_nothing() -> None:
    assert "54455354" not in repr(told(f"DF01 1B {CODE}"))
    assert "54455354" not in repr(told(f"BF4F03020101 {CODE}"))


def test_masking_keeps_the_structure_and_the_address() -> None:
    octets = bytes.fromhex(f"BF4F34 BF5431 A01D 801B {CODE} 8210{TRANSACTION}")
    masked = mask(octets)
    assert len(masked) == len(octets)
    assert masked == octets.replace(b"TEST", b"****")


def test_what_holds_no_secret_is_not_masked() -> None:
    for capture in captures.ALL:
        if "$" not in capture.octets.decode("latin-1") and "authenticate" not in capture.name.lower():
            assert mask(capture.octets) == capture.octets


@given(st.binary(max_size=200))
def test_any_octets_are_explained_without_a_fault(octets: bytes) -> None:
    explanation = explain(octets)
    assert 0 <= explanation.end <= len(octets)
    assert len(mask(octets)) == len(octets)


@given(st.sampled_from([c.octets for c in captures.ALL if is_message(c)]), st.data())
def test_a_capture_with_one_octet_changed_is_explained(octets: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(octets) - 1))
    changed = octets[:at] + bytes((data.draw(st.integers(0, 255)),)) + octets[at + 1 :]
    explain(changed)
