"""Every error code of SGP.32 comes from a card that was told to give it, and most come about by themselves."""

import pytest

from eim.asn1.sgp32 import IpaEuiccDataRequest
from eim.domain.euicc import Speaks
from eim.errors import BadConfiguration
from eim.sim import messages
from eim.sim.data import data_response
from eim.sim.der import read
from eim.sim.journal import Executed, Received, Verdict
from eim.sim.provocations import CODES, Provocations, code_of
from eim.sim.switches import Curves, Switches, TagLists, UnsignedErrors
from tests.sim.hand import EIM_ID, B, HandEim, enable_or_return, new_card, new_journal, open_result
from tests.sim.operations import CODE_AT, CODE_AT_ECO, ECOS, PSMOS, TAGS, package, result

OPERATIONS = [name for name in CODES if name in PSMOS or name in ECOS]
CASES = [(name, code) for name in OPERATIONS for code in CODES[name]]


@pytest.mark.parametrize(("name", "code"), CASES, ids=[f"{name}-{code}" for name, code in CASES])
def test_an_operation_is_refused_with_the_code_that_was_told_and_does_nothing(name: str, code: str) -> None:
    eim = HandEim.new()
    card = new_card(eim)
    before = card.state, card.associations.entries
    card.provocations.refuse(name, code, times=1)
    answer = open_result(card.load_euicc_package(package(eim, card.eid, 1, name)))
    assert answer.results == (result(name, CODES[name][code]),)
    assert card.state == before[0]
    assert [entry.eim_id for entry in card.associations.entries] == [entry.eim_id for entry in before[1]]
    again = open_result(card.load_euicc_package(package(eim, card.eid, 2, name)))
    assert again.results != answer.results or name in ("setFallbackAttribute", "unsetFallbackAttribute")


def test_every_operation_whose_result_has_a_code_can_be_refused() -> None:
    assert set(OPERATIONS) == set(TAGS) | set(CODE_AT) | set(CODE_AT_ECO)


@pytest.mark.parametrize("code", CODES["package"])
def test_a_package_is_refused_as_a_whole_with_a_signed_code(code: str) -> None:
    journal, eim = new_journal(), HandEim.new()
    card = new_card(eim, journal=journal)
    card.provocations.refuse("package", code)
    answer = open_result(card.load_euicc_package(package(eim, card.eid, 1, "enable")))
    assert (answer.shape, answer.error) == (0xA1, CODES["package"][code])
    (received,) = (entry for entry in journal.entries if isinstance(entry, Received))
    named = "counterOutOfRange" if code == "counterValueOutOfRange" else code
    assert received.verdict == Verdict(named)
    assert not any(isinstance(entry, Executed) for entry in journal.entries)


@pytest.mark.parametrize(("speaks", "said"), [(Speaks.V1_2, None), (Speaks.V1_3, 15)])
def test_an_unsigned_error_has_its_code_since_v1_3(speaks: Speaks, said: int | None) -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(speaks=speaks, unsigned=UnsignedErrors.WITH_TOKEN))
    card.provocations.refuse("unsigned", "sizeOverflow")
    answer = open_result(card.load_euicc_package(package(eim, card.eid, 1, "listEim")))
    assert answer.shape == 0xA2
    assert answer.members[0x84] == b"\x01"
    assert answer.members.get(0x8F) == (None if said is None else bytes((said,)))


@pytest.mark.parametrize("code", CODES["processingTerminated"])
def test_a_terminated_package_says_why_in_the_place_of_what_was_not_run(code: str) -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.provocations.refuse("processingTerminated", code)
    answer = open_result(card.load_euicc_package(package(eim, card.eid, 1, "getRAT", "enable")))
    assert answer.results == (b"\xa6\x00", bytes((0x02, 1, CODES["processingTerminated"][code])))
    assert card.enabled != B


@pytest.mark.parametrize("code", CODES["data"])
def test_a_data_request_is_refused_with_the_code_that_was_told(code: str) -> None:
    card = new_card(HandEim.new())
    card.provocations.refuse("data", code)
    octets = data_response(card, IpaEuiccDataRequest(b"\x84"), EIM_ID)
    assert octets == bytes.fromhex("BF5205A1030201") + bytes((CODES["data"][code],))


@pytest.mark.parametrize("code", CODES["profileRollback"])
def test_a_rollback_is_refused_with_the_code_that_was_told(code: str) -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B)))
    card.provocations.refuse("profileRollback", code)
    number = CODES["profileRollback"][code]
    assert card.profile_rollback(messages.ROLLBACK_REQUEST) == bytes.fromhex("BF58030201") + bytes((number,))
    assert card.enabled == B


def test_a_card_that_could_not_go_back_says_so_in_the_new_result() -> None:
    eim = HandEim.new()
    card = new_card(eim)
    card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B)))
    card.provocations.refuse("rollback", 127)
    told = messages.result_in(card.profile_rollback(messages.ROLLBACK_REQUEST))
    assert told is not None
    assert open_result(told).results == (bytes.fromhex("830100"), bytes.fromhex("8C017F"))
    assert card.enabled == B


def test_a_refusal_ends_when_it_was_given_often_enough_or_is_taken_back() -> None:
    told = Provocations()
    told.refuse("enable", "catBusy", times=2)
    told.refuse("disable", 99)
    assert [told.take("enable") for _ in range(3)] == [5, 5, None]
    assert [told.take("disable") for _ in range(3)] == [99, 99, 99]
    told.obey()
    assert told.take("disable") is None


@pytest.mark.parametrize(("what", "code"), [("enabel", "catBusy"), ("enable", "catbusy")])
def test_a_name_the_standard_has_not_is_answered_with_those_it_has(what: str, code: str) -> None:
    with pytest.raises(BadConfiguration, match="take"):
        code_of(what, code)


def test_a_card_of_v1_0_1_terminates_at_what_came_later() -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(speaks=Speaks.V1_0_1))
    answer = open_result(card.load_euicc_package(package(eim, card.eid, 1, "getRAT", "setFallbackAttribute", "enable")))
    assert answer.results == (b"\xa6\x00", bytes.fromhex("020102"))


def test_what_is_too_large_for_a_card_is_refused_before_or_behind_its_execution() -> None:
    eim = HandEim.new()
    small = new_card(eim, Switches(largest_package=100))
    refused = open_result(small.load_euicc_package(package(eim, small.eid, 1, "enable")))
    assert (refused.shape, refused.error) == (0xA1, 15)
    brief = new_card(eim, Switches(largest_result=20))
    cut = open_result(brief.load_euicc_package(package(eim, brief.eid, 1, "enable", "listProfileInfo", "getRAT")))
    assert cut.results == (bytes.fromhex("830100"), bytes.fromhex("020101"))


def test_a_full_card_takes_no_further_eim() -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(room_for_eims=1))
    assert open_result(card.load_euicc_package(package(eim, card.eid, 1, "addEim"))).results == (
        bytes.fromhex("A803020101"),
    )


def test_a_card_of_one_curve_refuses_an_eim_on_the_other_one() -> None:
    eim = HandEim.new()
    card = new_card(eim, Switches(curves=Curves.OWN))
    assert open_result(card.load_euicc_package(package(eim, card.eid, 1, "addEim"))).results[0][:3] == b"\xa8\x03\x84"
    other = new_card(eim, Switches(curves=Curves.OWN))
    brainpool = HandEim.on_brainpool("brainpool.example.com")
    answer = open_result(other.load_euicc_package(eim.adding(other.eid, 1, brainpool)))
    assert answer.results == (bytes.fromhex("A803020107"),)
    both = new_card(eim)
    assert open_result(both.load_euicc_package(eim.adding(both.eid, 1, brainpool))).results[0][:3] == b"\xa8\x03\x84"
    assert open_result(both.load_euicc_package(package(brainpool, both.eid, 1, "enable", token=2))).shape == 0xA0


@pytest.mark.parametrize(
    ("speaks", "words", "answered"),
    [
        (Speaks.V1_0_1, "80BF20BF228384A5A688A9BF2B", True),
        (Speaks.V1_0_1, "81BF20A0", False),
        (Speaks.V1_3, "81BF20BF228384A5A6A8A9A0A2", True),
        (Speaks.V1_1, "80BF20", False),
    ],
)
def test_a_strict_ipa_calls_the_words_of_another_version_an_incorrect_list(
    speaks: Speaks, words: str, answered: bool
) -> None:
    card = new_card(HandEim.new(), Switches(speaks=speaks, tag_lists=TagLists.STRICT))
    (outer,) = read(data_response(card, IpaEuiccDataRequest(bytes.fromhex(words)), EIM_ID))
    (arm,) = read(outer.value)
    assert (arm.tag == 0xA0) is answered
    assert answered or arm.raw in (bytes.fromhex("810101"), bytes.fromhex("A103020101"))
