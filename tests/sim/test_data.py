import msgspec
from cryptography import x509

from eim.asn1.sgp32 import DataResponse, IpaEuiccDataRequest, decode
from eim.domain.euicc import SignatureForm, Speaks
from eim.sim.data import data_response
from eim.sim.der import integer, tlv
from eim.sim.euicc import VirtualEuicc
from eim.sim.psmo import Condition
from eim.sim.switches import Switches
from tests.sim.hand import EIM_ID, TRANSACTION, B, HandEim, children, enable, new_card

_ALL = bytes.fromhex("81BF20BF228384A5A6A8A9A0A2")
_ALL_V1_0_1 = bytes.fromhex("80BF20BF228384A5A688A9BF2B")


def switched(switches: Switches) -> VirtualEuicc:
    eim = HandEim.new()
    card = new_card(eim, switches)
    card.load_euicc_package(eim.package(card.eid, 1, enable(B)))
    return card


def test_a_full_audit_brings_certificates_token_results_and_notifications() -> None:
    card = switched(Switches())
    octets = data_response(card, IpaEuiccDataRequest(_ALL, transaction_id=TRANSACTION), EIM_ID)
    (members,) = children(octets)
    assert [found.tag for found in children(members.raw)] == [
        0xA0, 0xA2, 0xBF20, 0xBF22, 0x83, 0x84, 0xA5, 0xA6, 0x87, 0xA8, 0xA9,
    ]  # fmt: skip
    data = decode(DataResponse, octets).data
    assert data.euicc_certificate == card.credentials.euicc_certificate
    assert data.eum_certificate == card.credentials.eum_certificate
    assert data.association_token == 1
    assert data.transaction_id == TRANSACTION
    assert data.iot_versions == (bytes((1, 2, 0)),)
    assert data.ci_keys_signing == (card.credentials.ci_key_id,)
    assert data.notifications == tuple(kept.raw for kept in card.notifications)
    assert [result.raw for result in data.results] == [kept.raw for kept in card.results]
    assert x509.load_der_x509_certificate(data.euicc_certificate).subject


def test_only_what_was_asked_for_comes_and_unknown_tags_are_passed_over() -> None:
    octets = data_response(switched(Switches()), IpaEuiccDataRequest(bytes.fromhex("849F55E1")), EIM_ID)
    assert octets == tlv(0xBF52, tlv(0xA0, integer(0x84, 1)))


def test_a_v1_0_1_device_answers_in_its_own_tags() -> None:
    card = switched(Switches(speaks=Speaks.V1_0_1))
    octets = data_response(card, IpaEuiccDataRequest(_ALL_V1_0_1), EIM_ID)
    (members,) = children(octets)
    tags = [found.tag for found in children(members.raw)]
    assert tags == [0xBF20, 0xBF22, 0x83, 0x84, 0xA5, 0xA6, 0xA8, 0xA9, 0xBF2B]
    results = data_response(card, IpaEuiccDataRequest(b"\xbf\x2b", all_results=True), EIM_ID)
    (members,) = children(results)
    assert members.value == tlv(0xBF2B, tlv(0xA2, card.results[0].raw))


def test_a_list_with_5a_or_bf2d_is_incorrect() -> None:
    card = switched(Switches())
    for tag_list in (b"\x5a", b"\x84\xbf\x2d", b"\xbf"):
        octets = data_response(card, IpaEuiccDataRequest(tag_list, transaction_id=b"\x07"), EIM_ID)
        assert octets == bytes.fromhex("BF5208A106800107020101")
    old = switched(Switches(speaks=Speaks.V1_0_1))
    assert data_response(old, IpaEuiccDataRequest(b"\x5a"), EIM_ID) == bytes.fromhex("BF5203810101")


def test_a_ci_key_the_card_has_not_and_an_emergency_call_are_errors() -> None:
    card = switched(Switches())
    other_ci = IpaEuiccDataRequest(_ALL, ci_key_id=bytes(20))
    assert data_response(card, other_ci, EIM_ID) == bytes.fromhex("BF5205A103020105")
    card.set_condition(Condition.ECALL)
    assert data_response(card, IpaEuiccDataRequest(_ALL), EIM_ID) == bytes.fromhex("BF5205A103020168")


def test_results_and_notifications_can_be_asked_for_one_by_one() -> None:
    card = switched(Switches())
    disabled, enabled = card.notifications
    one = IpaEuiccDataRequest(b"\xa0", notification_seq=enabled.seq)
    assert data_response(card, one, EIM_ID) == tlv(0xBF52, tlv(0xA0, tlv(0xA0, enabled.raw)))
    by_event = msgspec.structs.replace(one, notification_seq=None, notification_events=bytes.fromhex("0520"))
    assert data_response(card, by_event, EIM_ID) == tlv(0xBF52, tlv(0xA0, tlv(0xA0, disabled.raw)))
    none = IpaEuiccDataRequest(b"\xa2", result_seq=99)
    assert data_response(card, none, EIM_ID) == bytes.fromhex("BF5204A002A200")


def test_an_emulated_card_has_no_certificate() -> None:
    card = switched(Switches(form=SignatureForm.NONE))
    assert data_response(card, IpaEuiccDataRequest(b"\xa5\xa6\x84"), EIM_ID) == tlv(0xBF52, tlv(0xA0, integer(0x84, 1)))
