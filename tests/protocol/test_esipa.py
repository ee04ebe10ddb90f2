"""What others sent is understood, what is no message is refused, and IPAs of every version read our answers."""

from typing import Any

import pytest

from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import (
    Carrier,
    DataError,
    DataResponse,
    Envelope,
    ErrorSigned,
    ErrorUnsigned,
    EuiccPackageRequest,
    GetEimPackageRequest,
    GetEimPackageRequestV101,
    HandleNotification,
    IpaEuiccData,
    IpaEuiccDataRequest,
    PendingNotification,
    ProvideEimPackageResult,
    ResponseError,
    ResultSigned,
    TriggerResult,
    Unreadable,
)
from eim.domain.euicc import Speaks
from eim.errors import Malformed
from eim.protocol import esipa
from eim.protocol.esipa import Download, Notified, Poll, Provided, UnnamedPoll, receive
from tests.protocol import captures
from tests.protocol.captures import REQUESTS, RESPONSES, Capture
from tests.reference.compilers import own, standard
from tests.reference.samples import Samples

EID = bytes.fromhex("89049032123451234512345678901235")
TRANSACTION = bytes(range(16))


def named(capture: Capture) -> str:
    return capture.name


@pytest.mark.parametrize("capture", REQUESTS, ids=named)
def test_every_captured_request_is_what_its_index_says(capture: Capture) -> None:
    received = receive(capture.octets)
    assert received.raw == capture.octets
    match capture.type.split("/"):
        case ["getEimPackageRequest"]:
            assert isinstance(received, Poll)
        case ["handleNotificationEsipa", "pendingNotification", kind]:
            assert isinstance(received, Notified)
            assert isinstance(received.notification, PendingNotification)
            assert received.notification.kind == kind
        case ["provideEimPackageResult", "ePRAndNotifications"]:
            assert isinstance(received, Provided)
            assert isinstance(received.payload, ResultSigned | ErrorSigned | ErrorUnsigned)
            assert (received.speaks, received.wants_answer) == (Speaks.V1_0_1, True)
        case ["provideEimPackageResult", "ipaEuiccDataResponse", "ipaEuiccData"]:
            assert isinstance(received, Provided)
            assert isinstance(received.payload, DataResponse)
        case _:
            assert isinstance(received, Download)


@pytest.mark.parametrize("capture", RESPONSES, ids=named)
def test_every_captured_answer_of_another_eim_is_read_and_written_anew_alike(capture: Capture) -> None:
    match capture.type.split("/"):
        case ["GetEimPackageResponse", "euiccPackageRequest"]:
            request = sgp32.decode(EuiccPackageRequest, capture.octets[3 + (capture.octets[2] == 0x81) :])
            assert sgp32.encode(request.package) == request.signed
            assert esipa.package_answer(sgp32.encode(request)) == capture.octets
        case ["GetEimPackageResponse", "ipaEuiccDataRequest"]:
            data_request = sgp32.decode(IpaEuiccDataRequest, capture.octets[3:])
            assert esipa.package_answer(sgp32.encode(data_request)) == capture.octets
        case ["GetEimPackageResponse", "eimPackageError"]:
            assert capture.octets == esipa.poll_error(capture.octets[-1])
        case [kind, *_]:  # downloads, empty answers, texts: not of this codec
            assert kind not in {"euiccPackageRequest", "ipaEuiccDataRequest"}


def test_the_captured_data_says_what_the_card_is() -> None:
    received = receive(captures.of(4, "request"))
    assert isinstance(received, Provided)
    assert isinstance(received.payload, DataResponse)
    data = received.payload.data
    assert (data.default_smdp, data.association_token) == ("smdpp.test", 1)
    assert data.ci_keys_signing == (bytes.fromhex("F54172BDF98A95D65CBEB88A38A1C11D800A85C3"),)
    assert data.capabilities is not None
    assert (data.capabilities.features, data.capabilities.protocols) == (frozenset({1, 3}), frozenset({0}))
    assert data.euicc_certificate is not None
    assert EID.hex().encode() in data.euicc_certificate


def test_the_captured_results_say_what_happened() -> None:
    def results(number: int) -> list[tuple[str, int | None]]:
        received = receive(captures.of(number, "request"))
        assert isinstance(received, Provided)
        assert isinstance(received.payload, ResultSigned)
        return [(result.kind, result.code) for result in received.payload.data.results]

    assert results(8) == [("enable", 0)]
    assert results(16) == [("enable", 1)]
    assert results(18) == [("disable", 0), ("enable", 0), ("listProfileInfo", None)]
    assert results(26) == [("addEim", 0)]
    assert results(36) == [("disable", 0), ("enable", 0)]


def test_the_captured_list_of_profiles_is_read() -> None:
    received = receive(captures.of(6, "request"))
    assert isinstance(received, Provided)
    assert isinstance(received.payload, ResultSigned)
    first, second = received.payload.data.results[0].profiles or ()
    assert (first.state, first.nickname, first.name) == (1, "prov", "TS48 A")
    assert (second.state, second.nickname, second.name) == (0, "ops", "TS48 B")


def test_the_captured_notifications_name_their_sm_dp_plus() -> None:
    received = receive(captures.of(59, "request"))
    assert isinstance(received, Notified)
    notification = received.notification
    assert isinstance(notification, PendingNotification)
    assert (notification.event, notification.seq_number) == ("install", 22)
    assert notification.address == "testsmdpplus1.example.com"
    assert notification.signed.startswith(b"\xbf\x27")
    other = receive(captures.of(52, "request"))
    assert isinstance(other, Notified)
    assert isinstance(other.notification, PendingNotification)
    assert other.notification.signed.startswith(b"\xbf\x2f")
    assert other.notification.eum_certificate is not None


def outcome(octets: bytes) -> object:
    try:
        return receive(octets)
    except Malformed:
        return Malformed


def _different() -> list[Capture]:
    """One request of each kind of content; a repeat under another number teaches nothing."""
    return list({(capture.type, len(capture.octets)): capture for capture in REQUESTS}.values())


@pytest.mark.parametrize("capture", _different(), ids=named)
def test_a_request_cut_anywhere_is_malformed(capture: Capture) -> None:
    for size in range(len(capture.octets)):
        assert outcome(capture.octets[:size]) is Malformed


@pytest.mark.parametrize("capture", _different(), ids=named)
def test_a_request_with_any_one_bit_turned_is_a_value_or_malformed(capture: Capture) -> None:
    octets = bytearray(capture.octets)
    for at in range(len(octets)):
        for bit in range(8):
            octets[at] ^= 1 << bit
            outcome(bytes(octets))
            octets[at] ^= 1 << bit


@pytest.mark.parametrize("octets", ["", "00", b"{}".hex(), "BF4E020500", "BF55 00", "3000", "BF53 00", "BF3D00"])
def test_what_is_no_message_is_malformed(octets: str) -> None:
    with pytest.raises(Malformed):
        receive(bytes.fromhex(octets))


def test_the_deepest_sound_message_is_well_above_the_limit() -> None:
    notified = receive(captures.of(52, "request"))
    assert isinstance(notified, Notified)
    data = DataResponse(IpaEuiccData(notifications=(notified.notification.raw,)))
    octets = sgp32.encode(HandleNotification(ProvideEimPackageResult(data, EID)))
    assert isinstance(receive(octets), Provided)
    depth, held = 0, [der.read_one(octets)]
    while held:
        depth += 1
        held = [child for node in held if der.is_constructed(node[0]) for child in der.inside(octets, node)]
    assert depth == 12 < der.DEPTH


def test_a_poll_tells_what_changed_and_the_version() -> None:
    new = sgp32.encode(GetEimPackageRequest(EID, True, 1, b"\x62\xf2\x10"))
    assert receive(new) == Poll(EID, True, 1, b"\x62\xf2\x10", Speaks.V1_2, new)
    old = sgp32.encode(GetEimPackageRequestV101(EID, True, b"\x62\xf2\x10"))
    assert receive(old) == Poll(EID, True, None, b"\x62\xf2\x10", Speaks.V1_0_1, old)
    plain = sgp32.encode(GetEimPackageRequest(EID))
    assert receive(plain) == Poll(EID, False, None, None, None, plain)


@pytest.mark.parametrize(
    "request_", [GetEimPackageRequest(EID, True, 5, b"abc"), GetEimPackageRequestV101(EID, False, b"abc")]
)
def test_a_poll_in_another_coding_says_the_same(request_: Any) -> None:
    plain = sgp32.encode(request_)
    longer = b"\xbf\x4f\x82\x00" + plain[2:]
    unknown = der.wrap(0xBF4F, plain[3:] + b"\x9f\x7f\x00")
    doubled = der.wrap(0xBF4F, plain)
    expected = receive(plain)
    for octets in (longer, unknown, doubled):
        received = receive(octets)
        assert isinstance(received, Poll)
        assert (received.eid, received.cause, received.plmn, received.speaks) == (
            expected.eid,  # type: ignore[union-attr]
            expected.cause,  # type: ignore[union-attr]
            expected.plmn,  # type: ignore[union-attr]
            expected.speaks,  # type: ignore[union-attr]
        )


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ("", 4),
        ("8000", 4),
        ("810101 820362F210", 4),
        ("5A00", 3),
        ("5A0F 890490321234512345123456789012", 3),
        ("5A11 8904903212345123451234567890123500 8000", 3),
    ],
)
def test_a_poll_without_an_eid_is_told_so_in_its_own_words(members: str, error: int) -> None:
    octets = der.wrap(0xBF4F, bytes.fromhex(members))
    assert receive(octets) == UnnamedPoll(error, octets)


@pytest.mark.parametrize("members", ["800100", "8100", "8109010203040506070809", "8201 62", "9F7F00", "5A0101"])
def test_what_else_a_poll_says_wrongly_hinders_nothing(members: str) -> None:
    octets = der.wrap(0xBF4F, b"\x5a\x10" + EID + bytes.fromhex(members))
    assert receive(octets) == Poll(EID, False, None, None, None, octets)


@pytest.mark.parametrize("inside", ["0400", "30020400", "30003000", ""])
def test_a_notification_that_says_nothing_known_is_kept(inside: str) -> None:
    octets = der.wrap(0xBF3D, der.wrap(0xA0, bytes.fromhex(inside)))
    kept = der.wrap(0xA0, bytes.fromhex(inside)) if inside in ("30003000", "") else bytes.fromhex(inside)
    assert receive(octets) == Notified(Unreadable(kept), octets)


DATA = DataResponse(IpaEuiccData(default_smdp="smdp.example.com", association_token=1))
OLD_DATA = sgp32.encode_data_v1_0_1(DATA.data)


@pytest.mark.parametrize(
    ("octets", "speaks", "eid"),
    [
        pytest.param(sgp32.encode(ProvideEimPackageResult(DATA, EID)), Speaks.V1_2, EID, id="with 5A"),
        pytest.param(sgp32.encode(ProvideEimPackageResult(DATA)), None, None, id="nothing tells"),
        pytest.param(der.wrap(0xBF50, OLD_DATA), Speaks.V1_0_1, None, id="80 and BF2B in the data"),
        pytest.param(bytes.fromhex("BF5006BF5203810101"), Speaks.V1_0_1, None, id="a bare data error"),
        pytest.param(bytes.fromhex("BF500302017F"), Speaks.V1_0_1, None, id="a bare error"),
        pytest.param(bytes.fromhex("BF5005A00302017F"), Speaks.V1_2, None, id="an error in A0"),
        pytest.param(
            sgp32.encode(ProvideEimPackageResult(ErrorUnsigned("e"), envelope=Envelope.RETRIEVED)),
            Speaks.V1_0_1,
            None,
            id="BF2B beside the result",
        ),
        pytest.param(
            sgp32.encode(ProvideEimPackageResult(ErrorUnsigned("e"), envelope=Envelope.LIST)),
            Speaks.V1_2,
            None,
            id="A0 list",
        ),
    ],
)
def test_the_shape_tells_the_version(octets: bytes, speaks: Speaks | None, eid: bytes | None) -> None:
    received = receive(octets)
    assert isinstance(received, Provided)
    assert (received.speaks, received.eid, received.wants_answer) == (speaks, eid, True)


@pytest.mark.parametrize(("carrier", "speaks"), [(Carrier.PROVIDE, None), (Carrier.V1_0_1, Speaks.V1_0_1)])
def test_a_result_in_a_notification_wants_no_answer(carrier: Carrier, speaks: Speaks | None) -> None:
    content = ProvideEimPackageResult(TriggerResult(TRANSACTION, reason=127))
    received = receive(sgp32.encode(HandleNotification(content, carrier)))
    assert isinstance(received, Provided)
    assert (received.wants_answer, received.speaks) == (False, speaks)
    assert isinstance(received.payload, TriggerResult)
    assert (received.payload.transaction_id, received.payload.reason) == (TRANSACTION, 127)


def test_whatever_a_sound_ipa_sends_is_received() -> None:
    samples = Samples(seed=4)
    for _ in range(500):
        provided = samples.provided()
        received = receive(sgp32.encode(provided))
        assert isinstance(received, Provided)
        assert (received.eid, received.notifications) == (provided.eid, provided.notifications)
        assert isinstance(receive(sgp32.encode(samples.handled())), Provided | Notified)


def test_notifications_are_handed_on_as_they_came() -> None:
    samples = Samples(seed=5)
    notifications = tuple(sgp32.encode(samples.notification()) for _ in range(3))
    octets = sgp32.encode(ProvideEimPackageResult(ErrorUnsigned("e"), EID, notifications, Envelope.LIST))
    received = receive(octets)
    assert isinstance(received, Provided)
    assert received.notifications == notifications


ANSWERS = [
    (esipa.NO_PACKAGE, "BF4F03020101"),
    (esipa.poll_error(2), "BF4F03020102"),
    (esipa.acknowledgement((7,), None), "BF5006BF5303800107"),
    (esipa.acknowledgement((7, 300), Speaks.V1_0_1), "BF500ABF5307 800107 8002012C"),
    (esipa.acknowledgement((), None), "BF5003BF5300"),
    (esipa.acknowledgement((), Speaks.V1_2), "BF50023000"),
    (esipa.acknowledgement((), Speaks.V1_0_1), "BF5003BF5300"),
    (esipa.provide_error(4), "BF5003020104"),
    (esipa.package_answer(bytes.fromhex("BF5402A000")), "BF4F05BF5402A000"),
]


@pytest.mark.parametrize(("answer", "octets"), ANSWERS, ids=[octets for _, octets in ANSWERS])
def test_answers_are_written_octet_for_octet(answer: bytes, octets: str) -> None:
    assert answer == bytes.fromhex(octets)


@pytest.mark.parametrize("sealed", [b"", b"\x30\x00", b"\xbf\x50\x00", b"\xbf\x53\x00"])
def test_nothing_but_a_package_is_given_as_one(sealed: bytes) -> None:
    with pytest.raises(ValueError, match="BF51"):
        esipa.package_answer(sealed)


@pytest.mark.parametrize(
    ("number", "refusal"), [(56, "BF390381017F"), (57, "BF3B0382010A"), (58, "BF3A0381015F"), (61, "BF4103810101")]
)
def test_a_download_of_no_session_is_refused_in_its_own_words(number: int, refusal: str) -> None:
    received = receive(captures.of(number, "request"))
    assert isinstance(received, Download)
    assert esipa.download_refusal(received) == bytes.fromhex(refusal)
    assert (received.transaction_id is None) == (number == 56)  # that one carries none before v1.1


def _answer_types(answer: bytes) -> str:
    return "GetEimPackageResponse" if answer.startswith(b"\xbf\x4f") else "ProvideEimPackageResultResponse"


@pytest.mark.parametrize("answer", [answer for answer, _ in ANSWERS[:-1]], ids=[octets for _, octets in ANSWERS[:-1]])
def test_the_referee_reads_our_answers(answer: bytes) -> None:
    name = _answer_types(answer)
    chosen, _ = own().decode(name, answer)
    assert chosen is not None
    assert own().encode(name, own().decode(name, answer)) == answer


@pytest.mark.skipif(standard("v1.2") is None, reason="the standard's modules don't lie beside the checkout")
@pytest.mark.parametrize("version", ["v1.0.1", "v1.2"])
def test_each_version_reads_the_answers_meant_for_it(version: str) -> None:
    module = standard(version)
    speaks = Speaks.V1_0_1 if version == "v1.0.1" else Speaks.V1_2
    answers = [esipa.NO_PACKAGE, esipa.acknowledgement((1, 2), speaks), esipa.acknowledgement((), speaks)]
    for answer in answers:
        decoded = module[_answer_types(answer)].decode(answer)
        assert decoded != (None, None)
        if answer != answers[2]:
            assert module[_answer_types(answer)].encode(decoded) == answer
    if speaks is Speaks.V1_0_1:
        assert module["ProvideEimPackageResultResponse"].decode(answers[2]) == {"eimAcknowledgements": []}
    else:
        assert module["ProvideEimPackageResultResponse"].decode(answers[2]) == ("emptyResponse", {})


@pytest.mark.skipif(standard("v1.2") is None, reason="the standard's modules don't lie beside the checkout")
@pytest.mark.parametrize("version", ["v1.0.1", "v1.2", "v1.3"])
def test_each_version_reads_our_packages(version: str) -> None:
    module, samples = standard(version), Samples(seed=6)
    for _ in range(100):
        request = samples.package_request()
        if version == "v1.0.1" and any(
            isinstance(item, sgp32.SetFallbackAttribute | sgp32.UnsetFallbackAttribute | sgp32.SetDefaultDpAddress)
            or getattr(getattr(item, "config", None), "indirect_download", False)
            for item in request.package.package.items
        ):
            continue  # these came with v1.1
        answer = esipa.package_answer(sgp32.encode(request))
        assert module["GetEimPackageResponse"].encode(module["GetEimPackageResponse"].decode(answer)) == answer


def test_a_response_error_of_v1_0_1_is_written_bare_when_given_so() -> None:
    octets = sgp32.encode(ProvideEimPackageResult(ResponseError(127, raw=bytes.fromhex("02017F"))))
    assert octets == bytes.fromhex("BF500302017F")
    assert isinstance(sgp32.decode(ProvideEimPackageResult, octets).payload, ResponseError)
    assert not isinstance(sgp32.decode(ProvideEimPackageResult, octets).payload, DataError)
