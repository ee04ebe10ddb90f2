import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.ids import Eid, parse_iccid
from eim.errors import Malformed
from eim.sim.der import integer, text, tlv
from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Executed, Received, RolledBack, Verdict, check
from eim.sim.messages import ROLLBACK_REQUEST, result_in
from eim.sim.pki import EIN, Credentials, Pki, eids
from eim.sim.profiles import aid
from eim.sim.psmo import Condition
from eim.sim.switches import ResultShape, Switches
from tests.sim.hand import (
    EIM_ID,
    LIST,
    TRANSACTION,
    A,
    B,
    HandEim,
    children,
    delete,
    disable,
    enable,
    enable_or_return,
    holds,
    new_card,
    new_journal,
    open_result,
    profile,
)

C = parse_iccid("89990030000000000018")


def test_the_package_of_the_reference_gives_the_data_of_the_reference() -> None:
    eim = HandEim(ec.derive_private_key(1, ec.SECP256R1()))
    eid = Eid(bytes.fromhex("89049032123451234512345678901235"))
    iccid = parse_iccid("89000123456789012341")
    made = Pki.new().credentials(eid)
    credentials = Credentials(
        eid, ec.derive_private_key(2, ec.SECP256R1()), made.euicc_certificate, b"", made.ci_key_id
    )
    card = VirtualEuicc(credentials, (profile(A, True), profile(iccid, False, 1)), new_journal(), next_seq=5)
    card.add_initial_eim(eim.configuration())
    package = bytes.fromhex(
        "BF51818F304A800F65696D2E6578616D706C652E636F6D5A1089049032123451234512345678901235810101"
        "821000112233445566778899AABBCCDDEEFFA010A30E5A0A9800103254769810321405005F3740"
        "A9570FE818533D77C488AA0100B2EE2A8277234DC096FDBAA8AF052B0980EEBF"
        "588690756D6909C013EEEB8837CAA947C1E2FF2741F56D69B519A4D6939AB096"
    )
    result = card.load_euicc_package(package)
    data = bytes.fromhex(
        "302E800F65696D2E6578616D706C652E636F6D810101821000112233445566778899AABBCCDDEEFF8301073003830100"
    )
    assert result[:5] + result[5:53] == bytes.fromhex("BF5175A073") + data
    assert holds(credentials.key.public_key(), data + bytes.fromhex("840101"), open_result(result).signature)
    given = bytes.fromhex(
        "FB4011472BA8E84A8787605226F2806BB80F7AE230E656215D70B43297B7802E"
        "ABDC198EDA07896CA0D4A1B2B6B3E22C3ED79BE88FC3AA63D0144C08BDE13766"
    )
    assert holds(credentials.key.public_key(), data + bytes.fromhex("840101"), given)


def test_enabling_b_disables_a_and_tells_both_smdps() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    result = open_result(card.load_euicc_package(eim.package(card.eid, 1, enable(B))))
    assert result.results == (bytes.fromhex("830100"),)
    assert card.enabled == B
    assert [kept.event.name for kept in card.notifications] == ["DISABLE", "ENABLE"]
    assert result.seq == 3
    assert [kept.seq for kept in card.results] == [3]


def test_a_notification_is_signed_with_the_key_in_the_certificate_it_carries() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.load_euicc_package(eim.package(card.eid, 1, enable(B)))
    metadata, signature, certificate, maker = children(card.notifications[0].raw)
    key = x509.load_der_x509_certificate(certificate.raw).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert holds(key, metadata.raw, signature.value)
    assert maker.raw == card.credentials.eum_certificate


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        (enable(C), "830101"),
        (enable(A), "830102"),
        (disable(C), "840101"),
        (disable(B), "840102"),
        (delete(C), "850101"),
        (delete(A), "850102"),
        (delete(B), "850100"),
        (disable(A), "840100"),
    ],
)
def test_each_operation_answers_by_the_state_of_the_profile(operation: bytes, result: str) -> None:
    eim = HandEim.new()
    card = new_card(eim)
    answer = open_result(card.load_euicc_package(eim.package(card.eid, 1, operation)))
    assert answer.results == (bytes.fromhex(result),)


def test_policy_rules_forbid_disabling_and_deleting() -> None:
    eim = HandEim.new()
    kept = profile(A, True)
    locked = type(kept)(A, aid(0), True, "Carrier", "plan", ppr=frozenset({1}))
    undeletable = type(kept)(B, aid(1), False, "Carrier", "plan", ppr=frozenset({2}))
    card = new_card(eim, profiles=(locked, undeletable))
    package = eim.package(card.eid, 1, enable(B), disable(A), delete(B))
    results = open_result(card.load_euicc_package(package)).results
    assert results == (bytes.fromhex("830103"), bytes.fromhex("840103"), bytes.fromhex("850103"))
    assert card.enabled == A


def test_a_busy_card_refuses_to_switch() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.set_condition(Condition.CAT_BUSY)
    results = open_result(card.load_euicc_package(eim.package(card.eid, 1, enable(B), disable(A)))).results
    assert results == (bytes.fromhex("830105"), bytes.fromhex("840105"))


def test_without_an_active_profile_there_is_nothing_to_roll_back_to() -> None:
    eim = HandEim.new()
    card = new_card(eim, profiles=(profile(A, False), profile(B, False, 1)))
    results = open_result(card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B)))).results
    assert results == (bytes.fromhex("830114"),)
    assert card.enabled is None


def test_the_profile_a_rollback_was_granted_to_is_not_deleted_in_the_same_package() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    results = open_result(card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B), delete(A)))).results
    assert results == (bytes.fromhex("830100"), bytes.fromhex("850114"))


def test_the_profile_that_fallback_left_is_not_deleted() -> None:
    eim = HandEim.new()
    fallback = type(profile(B, False))(B, aid(1), False, "Carrier", "plan", fallback=True)
    card = new_card(eim, profiles=(profile(A, True), fallback))
    card.fall_back()
    assert card.enabled == B
    results = open_result(card.load_euicc_package(eim.package(card.eid, 1, delete(A)))).results
    assert results == (bytes.fromhex("850115"),)


def test_operations_run_in_order_each_on_what_the_one_before_left() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    results = open_result(
        card.load_euicc_package(eim.package(card.eid, 1, disable(A), delete(A), enable(B), LIST))
    ).results
    assert results[:3] == (bytes.fromhex("840100"), bytes.fromhex("850100"), bytes.fromhex("830100"))
    (listed,) = children(results[3])
    assert listed.tag == 0xA0
    (only,) = children(listed.raw)
    assert children(only.raw)[0].value == B


def test_a_list_has_the_members_that_were_asked_for() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    one = tlv(0xBF2D, tlv(0xA0, tlv(0x5A, B)), tlv(0x5C, bytes.fromhex("5A9F70")))
    (result,) = open_result(card.load_euicc_package(eim.package(card.eid, 1, one))).results
    assert result == tlv(0xBF2D, tlv(0xA0, tlv(0xE3, tlv(0x5A, B), bytes.fromhex("9F700100"))))


def test_a_profile_change_that_goes_on_refuses_the_list() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.set_condition(Condition.CHANGE_ONGOING)
    (result,) = open_result(card.load_euicc_package(eim.package(card.eid, 1, LIST))).results
    assert result == bytes.fromhex("BF2D0381010B")


def test_the_checks_come_in_the_order_of_the_standard() -> None:
    """Each package has the fault it is refused for and every fault that is looked for later."""
    journal = new_journal()
    eim, stranger = HandEim.new(), HandEim.new("other.example.com")
    card = new_card(eim, journal=journal)
    other = eids(EIN, 2)[1]
    card.load_euicc_package(eim.package(card.eid, 5, LIST))
    card.set_condition(Condition.ECALL)
    with pytest.raises(Malformed):
        card.load_euicc_package(b"\xbf\x51\x02\x30\x00")
    unknown = open_result(card.load_euicc_package(stranger.package(other, 9_000_000, LIST)))
    forged = open_result(card.load_euicc_package(HandEim.new().package(other, 9_000_000, LIST)))
    wrong_card = open_result(card.load_euicc_package(eim.package(other, 9_000_000, LIST)))
    too_high = open_result(card.load_euicc_package(eim.package(card.eid, 8_388_608, LIST)))
    replayed = open_result(card.load_euicc_package(eim.package(card.eid, 5, LIST)))
    occupied = open_result(card.load_euicc_package(eim.package(card.eid, 6, LIST)))
    assert [answer.shape for answer in (unknown, forged)] == [0xA2, 0xA2]
    signed = (wrong_card, too_high, replayed, occupied)
    assert [answer.shape for answer in signed] == [0xA1] * 4
    assert [answer.error for answer in signed] == [3, 6, 4, 104]
    verdicts = [entry.verdict for entry in journal.entries if isinstance(entry, Received)]
    elsewhere = (Verdict.EXECUTED, Verdict.SIZE_OVERFLOW, Verdict.UNDEFINED)
    assert verdicts == [Verdict.EXECUTED] + [verdict for verdict in Verdict if verdict not in elsewhere]


def test_an_unsigned_error_names_the_eim_and_the_transaction() -> None:
    card = new_card(HandEim.new())
    answer = card.load_euicc_package(HandEim.new().package(card.eid, 1, LIST))
    assert answer == bytes.fromhex("BF5125A223800F65696D2E6578616D706C652E636F6D8210") + TRANSACTION


def test_a_refusal_is_signed_over_its_data_and_the_token_and_not_kept() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    answer = open_result(card.load_euicc_package(eim.package(card.eid, 0, LIST)))
    assert holds(card.credentials.key.public_key(), answer.data + bytes.fromhex("840101"), answer.signature)
    assert card.results == ()


def test_a_package_refused_during_an_emergency_call_uses_its_counter_up() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.set_condition(Condition.ECALL)
    card.load_euicc_package(eim.package(card.eid, 1, LIST))
    card.set_condition(Condition.READY)
    assert open_result(card.load_euicc_package(eim.package(card.eid, 1, LIST))).error == 4


def test_the_same_octets_again_are_a_replay_and_change_nothing() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    package = eim.package(card.eid, 1, enable_or_return(B))
    first = card.load_euicc_package(package)
    assert open_result(card.load_euicc_package(package)).error == 4
    assert [kept.raw for kept in card.results] == [first]
    assert card.may_roll_back


def test_a_signature_over_another_token_is_refused() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    assert open_result(card.load_euicc_package(eim.package(card.eid, 1, LIST, token=0))).shape == 0xA2


def test_an_association_without_a_token_is_signed_as_zero() -> None:
    eim = HandEim.new()
    card = VirtualEuicc(Pki.new().credentials(eids(EIN, 1)[0]), (profile(A, True),), new_journal())
    assert card.add_initial_eim(eim.configuration(token=b"")) == bytes.fromhex("BF5704A0020500")
    result = open_result(card.load_euicc_package(eim.package(card.eid, 1, LIST, token=0)))
    assert holds(card.credentials.key.public_key(), result.data + bytes.fromhex("840100"), result.signature)


def test_a_rollback_takes_back_the_switch_its_result_and_its_notifications() -> None:
    journal = new_journal()
    eim = HandEim.new()
    card = new_card(eim, journal=journal)
    first = open_result(card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B))))
    octets = result_in(card.profile_rollback(ROLLBACK_REQUEST))
    assert octets is not None
    second = open_result(octets)
    assert card.enabled == A
    assert second.results == (bytes.fromhex("830100"), bytes.fromhex("8C0100"))
    assert second.seq > first.seq
    assert [kept.raw for kept in card.results] == [octets]
    assert card.notifications == ()
    assert holds(card.credentials.key.public_key(), second.data + bytes.fromhex("840101"), second.signature)
    assert isinstance(journal.entries[-1], RolledBack)
    assert check(journal.entries).enabled == {card.eid.hex(): card.state.enabled_label}


@pytest.mark.parametrize("request_octets", ["BF58038001FF", "BF5803010100"])
def test_a_rollback_that_was_not_granted_is_refused(request_octets: str) -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.load_euicc_package(eim.package(card.eid, 1, enable(B)))
    assert card.profile_rollback(bytes.fromhex(request_octets)) == bytes.fromhex("BF5803020101")
    assert card.enabled == B


def test_the_way_back_closes_with_the_acknowledgement_of_the_result() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    result = open_result(card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B))))
    open_after = []
    for seq in (card.notifications[0].seq, result.seq):
        assert card.remove_notification(seq) == 0
        open_after.append(card.may_roll_back)
    assert open_after == [True, False]
    assert card.remove_notification(result.seq) == 1


def test_the_way_back_closes_with_the_next_package() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B)))
    card.load_euicc_package(eim.package(card.eid, 2, LIST))
    assert not card.may_roll_back


def test_a_second_initial_eim_is_refused() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    assert card.add_initial_eim(eim.configuration()) == bytes.fromhex("BF5703810102")


def test_an_added_eim_gets_the_next_token_and_the_last_one_deleted_is_a_success() -> None:
    eim, other = HandEim.new(), HandEim.new("other.example.com")
    card = new_card(eim)
    (listed,) = children(other.configuration())
    config = children(listed.raw)[0].value
    head = text(0x80, EIM_ID) + tlv(0x5A, card.eid) + integer(0x81, 1)
    added = card.load_euicc_package(eim.seal(tlv(0x30, head, tlv(0xA1, tlv(0xA8, config)))))
    assert open_result(added).results == (bytes.fromhex("A803840102"),)
    removed = tlv(0xA1, tlv(0xA9, text(0x80, "other.example.com")), tlv(0xA9, text(0x80, EIM_ID)), tlv(0xAB))
    head = text(0x80, EIM_ID) + tlv(0x5A, card.eid) + integer(0x81, 2)
    results = open_result(card.load_euicc_package(eim.seal(tlv(0x30, head, removed)))).results
    assert results == (bytes.fromhex("890100"), bytes.fromhex("890102"), bytes.fromhex("AB02A000"))


def test_a_v1_0_card_signs_over_the_request_s_signature() -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(speaks=Speaks.V1_0_1, form=SignatureForm.EIM_SIGNATURE))
    package = eim.package(card.eid, 1, LIST)
    result = open_result(card.load_euicc_package(package))
    assert holds(card.credentials.key.public_key(), result.data + package[-67:], result.signature)


def test_a_card_may_sign_in_der() -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(coding=SignatureCoding.DER))
    result = open_result(card.load_euicc_package(eim.package(card.eid, 1, LIST)))
    key = card.credentials.key.public_key()
    key.verify(result.signature, result.data + bytes.fromhex("840101"), ec.ECDSA(SHA256()))


def test_a_card_may_leave_the_tag_of_its_result_away() -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(shape=ResultShape.BARE))
    assert open_result(card.load_euicc_package(eim.package(card.eid, 1, LIST))).shape == 0x30


def test_an_emulated_card_signs_nothing_and_counts_nothing() -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(form=SignatureForm.NONE))
    result = open_result(card.load_euicc_package(HandEim.new().package(card.eid, 1, LIST)))
    assert result.signature == b"R" * 32 + b"S" * 32
    assert result.seq == 0


def test_the_journal_says_what_was_done() -> None:
    journal = new_journal()
    eim = HandEim.new()
    card = new_card(eim, journal=journal)
    card.load_euicc_package(eim.package(card.eid, 1, enable(B), delete(A)))
    executed = journal.entries[-1]
    assert isinstance(executed, Executed)
    assert [(act.kind, act.code) for act in executed.acts] == [("enable", 0), ("delete", 0)]
    assert executed.transaction == TRANSACTION.hex().upper()
    assert executed.enabled == card.state.enabled_label
