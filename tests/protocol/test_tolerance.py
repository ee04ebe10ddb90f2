"""What a tolerant eIM must understand of its peers, one test a number of that list, as `receive` sees it.

What the services make of it is in tests/services/test_tolerance.py. Not here: 8 and 12, which are HTTP's, and 11, which
is the IPA's; 17 and a half of 13 are of bindings and functions that this eIM doesn't have yet.
"""

import pytest

from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import (
    DataError,
    DataResponse,
    ErrorUnsigned,
    PendingNotification,
    ResponseError,
    ResultSigned,
    TriggerResult,
    Unreadable,
)
from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.ids import Iccid, format_iccid, read_eid
from eim.domain.operation import State
from eim.domain.outcome import Code, outcome_of
from eim.domain.step import Enable
from eim.protocol.ecdsa import Curve, PublicKey
from eim.protocol.esep import Candidate, verify
from eim.protocol.esipa import Notified, Poll, Provided, acknowledgement, receive
from tests.asn1.test_sgp32 import EID, EUICC_SIGNATURE, RESULT, SIGNED, TRANSACTION
from tests.asn1.test_tolerance import NOTIFICATION
from tests.reference.samples import CERTIFICATE
from tests.reference.spelling import bare

EID_TLV = b"\x5a\x10" + EID
SIGNATURE = b"\x5f\x37\x40" + EUICC_SIGNATURE
BF51 = der.wrap(0xBF51, der.wrap(0xA0, RESULT + SIGNATURE))
# Scalar 2 on P-256: the eUICC key of the worked examples.
KEY = PublicKey(
    Curve.P256,
    bytes.fromhex(
        "047CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC47669978"
        "07775510DB8ED040293D9AC69F7430DBBA7DADE63CE982299E04B79D227873D1"
    ),
)


def provided(*content: bytes) -> Provided:
    received = receive(der.wrap(0xBF50, b"".join(content)))
    assert isinstance(received, Provided)
    return received


def result(octets: bytes) -> ResultSigned:
    payload = provided(EID_TLV, octets).payload
    assert isinstance(payload, ResultSigned)
    return payload


def data_of(*members: bytes) -> sgp32.IpaEuiccData:
    payload = provided(EID_TLV, der.wrap(0xBF52, der.wrap(0xA0, b"".join(members)))).payload
    assert isinstance(payload, DataResponse)
    return payload.data


def signed_with(elements: str) -> bytes:
    """A result whose list of results is `elements`."""
    head = bytes.fromhex("80026531 810101 830107")
    signed = der.wrap(0x30, head + der.wrap(0x30, bytes.fromhex(elements)))
    return der.wrap(0xBF51, der.wrap(0xA0, signed + SIGNATURE))


@pytest.mark.parametrize("tag", [0x30, 0xA0, 0xA1, 0xA2, None])
def test_1_a_result_says_what_it_is_whatever_is_around_it(tag: int | None) -> None:
    members = RESULT + SIGNATURE
    assert bare(result(der.wrap(0xBF51, der.wrap(tag, members) if tag else members))) == SIGNED


@pytest.mark.parametrize("elements", ["BF2D04 A002 E300", "BF2D04 3002 E300"])
def test_1_a_list_of_profiles_under_either_tag(elements: str) -> None:
    (element,) = result(signed_with(elements)).data.results
    assert element.profiles is not None
    assert len(element.profiles) == 1


@pytest.mark.parametrize("members", ["810141 840101", "A003 810141", "3003 810141"])
def test_1_data_in_its_arm_or_without(members: str) -> None:
    payload = provided(der.wrap(0xBF52, bytes.fromhex(members))).payload
    assert isinstance(payload, DataResponse)
    assert payload.data.default_smdp == "A"


@pytest.mark.parametrize("elements", ["A803 840102", "A805 A003 840102"])
def test_1_a_token_under_either_tag(elements: str) -> None:
    (element,) = result(signed_with(elements)).data.results
    assert (element.kind, element.code, element.association_token) == ("addEim", 0, 2)


def test_2_certificates_nested_or_side_by_side() -> None:
    flat = der.value(CERTIFICATE, der.read_one(CERTIFICATE))
    for inside in (flat, CERTIFICATE):
        data = data_of(der.wrap(0xA5, inside), der.wrap(0xA6, inside))
        assert (data.eum_certificate, data.euicc_certificate) == (CERTIFICATE, CERTIFICATE)


def test_3_a_signature_in_either_coding_and_none_that_is_no_signature() -> None:
    r, s = EUICC_SIGNATURE[:32], EUICC_SIGNATURE[32:]
    in_der = der.wrap(0x30, der.wrap(0x02, b"\0" + r) + der.wrap(0x02, b"\0" + s))
    placeholder = b"R" * 32 + b"S" * 32
    candidates = [Candidate(SignatureForm.TOKEN, 1)]
    found = []
    for signature in (EUICC_SIGNATURE, in_der, placeholder):
        octets = der.wrap(0xBF51, der.wrap(0xA0, RESULT + der.wrap(0x5F37, signature)))
        match = verify(result(octets), KEY, candidates, None)
        found.append(match and match.coding)
    assert found == [SignatureCoding.RAW, SignatureCoding.DER, None]


@pytest.mark.parametrize(
    ("code", "state", "reason", "deviating"),
    [
        (0, State.DONE, "ok", True),
        (5, State.FAILED, "catBusy", True),
        (2, State.FAILED, "unknownOrDamagedCommand", False),
        (99, State.FAILED, "terminated99", False),
    ],
)
def test_4_a_bare_integer_is_the_result_of_the_one_operation(
    code: int, state: State, reason: str, deviating: bool
) -> None:
    codes = [Code(r.kind, r.code) for r in result(signed_with(f"0201{code:02X}")).data.results]
    outcome = outcome_of([Enable(Iccid(bytes(10)))], codes)
    assert (outcome.state, outcome.reason, outcome.deviating) == (state, reason, deviating)


@pytest.mark.parametrize("elements", ["9A0100", "BF7F03 020100", "8300", "BF2D05 A003 040100"])
def test_5_a_result_of_an_unknown_kind_is_kept_and_can_be_acknowledged(elements: str) -> None:
    data = result(signed_with(elements)).data
    assert [(r.kind, r.raw) for r in data.results] == [("unknown", bytes.fromhex(elements))]
    assert data.seq_number == 7


@pytest.mark.parametrize("content", ["BF5103 040100", "BF5202 A100", "BF5404 30028000", "0200", "9F7F00", ""])
def test_5_no_sound_message_is_sent_away(content: str) -> None:
    octets = bytes.fromhex(content)
    received = provided(EID_TLV, octets)
    assert received.eid == EID
    assert received.payload == Unreadable(octets if content[:2] not in ("9F", "") else received.raw)


def test_6_a_result_without_eid_or_inside_a_notification() -> None:
    assert provided(BF51).eid is None
    for tag in (0xBF50, 0xA1):
        received = receive(der.wrap(0xBF3D, der.wrap(tag, BF51)))
        assert isinstance(received, Provided)
        assert (bare(received.payload), received.wants_answer) == (SIGNED, False)


def test_6_a_download_that_failed_for_a_reason_of_its_own() -> None:
    assert bare(provided(bytes.fromhex("BF5405 3003 80017B")).payload) == TriggerResult(None, None, 123)


def test_7_capabilities_with_an_octet_for_each_bit() -> None:
    octets = bytes.fromhex("A811 800700000100010000 8106000100000000")
    capabilities = data_of(octets).capabilities
    assert capabilities is not None
    assert (capabilities.features, capabilities.protocols) == (frozenset({1, 3}), frozenset({0}))


def test_9_ids_that_are_no_sound_ones() -> None:
    wrong = EID[:15] + b"\x36"  # its check digits don't hold
    assert receive(der.wrap(0xBF4F, b"\x5a\x10" + wrong)) == Poll(
        wrong, False, None, None, None, der.wrap(0xBF4F, b"\x5a\x10" + wrong)
    )
    assert read_eid(wrong.hex()) == read_eid(wrong.hex().upper()) == wrong
    octets = "BF2D10 A00E E30C 5A0A 98AB1032547698FADC0E"
    (element,) = result(signed_with(octets)).data.results
    assert element.profiles is not None
    assert format_iccid(element.profiles[0].iccid or b"") == "89BA0123456789AFCDE0"  # type: ignore[arg-type]


@pytest.mark.parametrize("eid", [b"", EID_TLV])
def test_10_a_clear_ack(eid: bytes) -> None:
    assert bare(provided(eid, bytes.fromhex("A00302017F")).payload) == ResponseError(127)


def test_13_a_notification_whose_address_has_a_port() -> None:
    metadata = der.wrap(0xBF2F, bytes.fromhex("800103 81020640") + der.wrap(0x0C, b"SMDP.example.com:8443"))
    received = receive(der.wrap(0xBF3D, der.wrap(0xA0, der.wrap(0xA1, metadata + SIGNATURE))))
    assert isinstance(received, Notified)
    assert isinstance(received.notification, PendingNotification)
    assert received.notification.address == "SMDP.example.com:8443"


def test_14_results_that_never_came_are_found_in_the_data() -> None:
    assert tuple(bare(found) for found in data_of(der.wrap(0xA2, BF51 + BF51)).results) == (SIGNED, SIGNED)


def test_15_a_signature_over_lengths_longer_than_need_be_is_checked_over_the_octets_as_they_came() -> None:
    content = der.value(RESULT, der.read_one(RESULT))
    longer = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    arm = longer + SIGNATURE
    found = result(b"\xbf\x51\x83" + (len(arm) + 3).to_bytes(3, "big") + b"\xa0\x81" + bytes([len(arm)]) + arm)
    assert found.signed == longer
    assert bare(found.data) == SIGNED.data
    assert verify(found, KEY, [Candidate(SignatureForm.TOKEN, 1)], None) is None  # it was made over other octets


@pytest.mark.parametrize(
    ("content", "payload"),
    [
        ("02017F", ResponseError(127)),
        ("BF5203 810105", DataError(5)),
    ],
)
def test_16_the_errors_of_v1_0_1(content: str, payload: ResponseError | DataError) -> None:
    received = provided(bytes.fromhex(content))
    assert (bare(received.payload), received.speaks) == (payload, Speaks.V1_0_1)
    assert acknowledgement((), received.speaks) == bytes.fromhex("BF5003BF5300")  # read alike by all versions


def test_16_the_bare_error_of_v1_1_has_an_eid_and_is_none_of_v1_0_1() -> None:
    received = provided(EID_TLV, bytes.fromhex("020101"))
    assert (bare(received.payload), received.speaks) == (ResponseError(1), Speaks.V1_2)


def test_16_notifications_and_results_in_bf2b() -> None:
    unsigned = der.wrap(0xBF51, der.wrap(0xA2, bytes.fromhex("80026531") + der.wrap(0x82, TRANSACTION)))
    both = der.wrap(0xA3, der.wrap(0xA0, NOTIFICATION) + der.wrap(0xA1, BF51))
    received = provided(der.wrap(0x30, unsigned + der.wrap(0xBF2B, both)))
    assert bare(received.payload) == ErrorUnsigned("e1", TRANSACTION)
    assert tuple(bare(found) for found in received.results) == (SIGNED,)
    assert (received.notifications, received.unreadable, received.speaks) == ((NOTIFICATION,), (), Speaks.V1_0_1)
