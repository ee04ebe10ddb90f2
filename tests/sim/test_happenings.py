"""What happens to a card without an eIM, and what every eIM is to hear of it."""

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from eim.asn1.sgp32 import ConfigureImmediateEnable, IpaEuiccDataRequest, PendingNotification, decode
from eim.domain.euicc import Speaks
from eim.domain.ids import parse_iccid
from eim.sim.clones import copy_of, forgery_of
from eim.sim.data import data_response
from eim.sim.der import bits, tlv
from eim.sim.euicc import Terminal, VirtualEuicc
from eim.sim.happenings import Cause
from eim.sim.journal import Changed, check
from eim.sim.pki import Pki
from eim.sim.profiles import Profile
from eim.sim.psmo import Condition, Event
from eim.sim.switches import NotificationForm, Switches
from tests.sim.hand import EIM_ID, A, B, HandEim, enable_or_return, holds, new_card, new_journal, open_result, profile
from tests.sim.operations import package

C = parse_iccid("89990030000000000018")


def fallback_card() -> VirtualEuicc:
    marked = msgspec.structs.replace(profile(B, False, 1), fallback=True, fallback_allowed=True)
    return new_card(HandEim.new(), profiles=(profile(A, True), marked))


def configured() -> VirtualEuicc:
    card = new_card(HandEim.new())
    wish = ConfigureImmediateEnable(flag=True, smdp_address="smdp.example.com")
    card.state = msgspec.structs.replace(card.state, immediate=wish)
    return card


def test_the_fallback_profile_takes_over_and_gives_back() -> None:
    card = fallback_card()
    assert (card.fall_back(), card.enabled, card.cause_for(EIM_ID)) == (0, B, Cause.FALLBACK)
    assert card.fall_back() == 2
    card.told(EIM_ID)
    assert (card.return_from_fallback(), card.enabled, card.cause_for(EIM_ID)) == (0, A, Cause.FALLBACK)
    assert [kept.event for kept in card.notifications] == [Event.DISABLE, Event.ENABLE] * 2
    assert card.return_from_fallback() == 6


def test_a_refused_fallback_tells_nobody() -> None:
    card = new_card(HandEim.new())
    assert card.fall_back() == 6
    busy = fallback_card()
    busy.set_condition(Condition.CAT_BUSY)
    assert busy.fall_back() == 5
    assert [each.cause_for(EIM_ID) for each in (card, busy)] == [None, None]
    assert not card.notifications


def test_during_an_emergency_call_everything_is_refused_and_afterwards_nothing() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    assert card.begin_emergency_call() == 8
    emergency = msgspec.structs.replace(profile(C, False, 2), emergency=True)
    card.state = msgspec.structs.replace(card.state, profiles=(*card.state.profiles, emergency))
    assert (card.begin_emergency_call(), card.enabled) == (0, C)
    assert open_result(card.load_euicc_package(package(eim, card.eid, 1, "getRAT"))).error == 104
    assert data_response(card, IpaEuiccDataRequest(b"\x84"), EIM_ID) == bytes.fromhex("BF5205A103020168")
    assert (card.end_emergency_call(), card.enabled, card.cause_for(EIM_ID)) == (0, A, Cause.EMERGENCY_PROFILE)
    assert open_result(card.load_euicc_package(package(eim, card.eid, 2, "getRAT"))).results == (b"\xa6\x00",)


def test_what_was_just_installed_is_enabled_where_its_server_was_allowed_to() -> None:
    card = configured()
    assert card.enable_immediately() == 4
    card.install(profile(C, True, 2))
    assert (card.enabled, card.cause_for(EIM_ID)) == (A, None)
    assert (card.enable_immediately(), card.enabled, card.cause_for(EIM_ID)) == (0, C, Cause.IMMEDIATE_ENABLE)
    elsewhere = configured()
    elsewhere.install(Profile(C, b"\xa0", True, "Carrier", "plan", notify="other.example.com"))
    assert elsewhere.enable_immediately() == 1
    assert new_card(HandEim.new()).enable_immediately() == 1


def test_an_installation_is_signed_and_names_its_server() -> None:
    card = new_card(HandEim.new())
    card.install(profile(C, True, 2))
    pending = decode(PendingNotification, card.notifications[0].raw)
    assert (pending.kind, pending.event, pending.iccid) == ("profileInstallationResult", "install", C)
    assert holds(card.credentials.key.public_key(), pending.signed, pending.signature)


@pytest.mark.parametrize(
    ("speaks", "eid", "issuer"), [(Speaks.V1_1, False, False), (Speaks.V1_2, True, False), (Speaks.V1_3, True, True)]
)
def test_a_compact_notification_leaves_the_certificates_to_the_eim(speaks: Speaks, eid: bool, issuer: bool) -> None:
    card = new_card(
        HandEim.new(),
        Switches(speaks=speaks, notifications=NotificationForm.COMPACT),
        fallback_card().state.profiles,
    )
    card.fall_back()
    raw = card.notifications[0].raw
    pending = decode(PendingNotification, raw)
    assert (pending.kind, pending.eid) == ("compactOtherSignedNotification", card.eid if eid else None)
    assert raw.endswith(tlv(0x04, card.credentials.ci_key_id)) is issuer
    assert holds(card.credentials.key.public_key(), pending.signed, pending.signature)


@pytest.mark.parametrize(("tag", "eims", "immediate"), [(0xBF64, 5, 6), (0xBF34, 3, 4)])
def test_a_memory_reset_forgets_what_its_bits_name(tag: int, eims: int, immediate: int) -> None:
    card = configured()
    answer = card.memory_reset(tlv(tag, bits(0x82, 0, eims, immediate)))
    assert answer == tlv(tag, bytes.fromhex("800100810100820100"))
    assert (card.state.profiles, card.associations.entries, card.state.immediate) == ((), (), None)
    assert [kept.event for kept in card.notifications] == [Event.DELETE, Event.DELETE]
    assert card.memory_reset(tlv(tag, bits(0x82, 0, eims))) == tlv(tag, bytes.fromhex("800101810101"))


def test_an_eim_that_survives_a_reset_hears_of_it_and_a_busy_card_forgets_nothing() -> None:
    card = new_card(HandEim.new())
    card.set_condition(Condition.CAT_BUSY)
    assert card.memory_reset(bytes.fromhex("BF6404820205A0")) == bytes.fromhex("BF6403800105")
    assert card.enabled == A
    card.set_condition(Condition.READY)
    card.memory_reset(tlv(0xBF64, bits(0x82, 0)))
    assert card.cause_for(EIM_ID) is Cause.RESET


def test_another_device_is_seen_in_its_data() -> None:
    card = new_card(HandEim.new())
    card.move_to(Terminal(bytes.fromhex("35123456"), bytes.fromhex("3521436587092143")))
    octets = data_response(card, IpaEuiccDataRequest(b"\xa9"), EIM_ID)
    assert bytes.fromhex("800435123456") in octets
    assert bytes.fromhex("82083521436587092143") in octets
    assert card.cause_for(EIM_ID) is Cause.DEVICE_CHANGE


def test_what_one_eim_changes_the_others_hear_of() -> None:
    eim, other = HandEim.new(), HandEim.new("second.example.com")
    card = new_card(eim)
    card.load_euicc_package(eim.adding(card.eid, 1, other))
    assert card.cause_for(other.eim_id) is None
    card.load_euicc_package(package(eim, card.eid, 2, "enable"))
    assert (card.cause_for(EIM_ID), card.cause_for(other.eim_id)) == (None, Cause.OTHER_EIM)


def test_after_anything_else_a_rollback_is_no_longer_possible() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B)))
    assert card.may_roll_back
    card.move_to(Terminal())
    assert not card.may_roll_back


def test_the_journal_tells_what_nobody_ordered() -> None:
    journal = new_journal()
    eim = HandEim.new()
    card = new_card(eim, profiles=fallback_card().state.profiles, journal=journal)
    card.fall_back()
    entry = journal.entries[-1]
    assert isinstance(entry, Changed)
    assert (entry.what, entry.code, entry.eims) == ("fallBack", 0, (EIM_ID,))
    assert check(journal.entries).enabled[entry.eid] == entry.enabled == card.state.enabled_label


def test_a_copy_signs_with_the_same_key_and_a_forgery_with_its_own() -> None:
    maker, eim = Pki.new(), HandEim.new()
    original = new_card(eim)
    card = VirtualEuicc(maker.credentials(original.eid), original.state.profiles, new_journal())
    card.add_initial_eim(eim.configuration())
    card.load_euicc_package(package(eim, card.eid, 1, "getRAT"))
    copied, forged = copy_of(card, new_journal()), forgery_of(card, maker, new_journal())
    answers = [open_result(each.load_euicc_package(package(eim, card.eid, 2, "getRAT"))) for each in (copied, forged)]
    key = card.credentials.key.public_key()
    assert [answer.shape for answer in answers] == [0xA0, 0xA0]
    assert [holds(key, answer.data + b"\x84\x01\x01", answer.signature) for answer in answers] == [True, False]
    told = x509.load_der_x509_certificate(forged.credentials.euicc_certificate).public_key()
    assert isinstance(told, ec.EllipticCurvePublicKey)
    assert told.public_numbers() == forged.credentials.key.public_key().public_numbers()


def test_a_counter_can_be_ahead_and_behind() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.set_counter(EIM_ID, 100)
    assert open_result(card.load_euicc_package(package(eim, card.eid, 100, "getRAT"))).error == 4
    card.set_counter(EIM_ID, 0)
    assert open_result(card.load_euicc_package(package(eim, card.eid, 1, "getRAT"))).shape == 0xA0


def test_the_same_maker_makes_the_same_card_again() -> None:
    maker = Pki.new(ec.BrainpoolP256R1())
    first, again, other = (maker.credentials(new_card(HandEim.new()).eid, issue) for issue in (0, 0, 1))
    scalars = [each.key.private_numbers().private_value for each in (first, again, other)]
    assert scalars[0] == scalars[1] != scalars[2]
