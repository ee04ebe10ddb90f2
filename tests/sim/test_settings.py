import pytest

from eim.domain.ids import format_eid
from eim.errors import BadConfiguration
from eim.sim.behaviour import Reporting
from eim.sim.fleet import Fleet, Make
from eim.sim.journal import Journal, check
from eim.sim.pki import Pki
from eim.sim.profiles import PPR_NO_DELETE
from eim.sim.psmo import Condition
from eim.sim.settings import SETTINGS, understand
from eim.sim.switches import ResultShape
from eim.sim.truth import truths
from tests.sim.hand import EIM_ID, HandEim, new_journal
from tests.sim.operations import package

# One good value for each that takes one.
VALUES = {
    "refuse": "enable/catBusy*2",
    "condition": "ecallActive",
    "ppr": "B/1,2",
    "fallbackAllowed": "B",
    "emergencyProfile": "B",
    "counter": "9",
    "largestPackage": "100",
    "largestResult": "-",
    "roomForEims": "2",
    "lossy": "0.5",
    "duplicating": "1",
    "dies": "0",
    "delay": "2.5",
    "plmn": "62F210",
    "pollsAs": "-",
    "install": "89990030000000000018",
    "memoryReset": "0,5",
    "newDevice": "35123456",
    "stateChange": "local",
}


def fleet(journal: Journal | None = None) -> Fleet:
    made = Fleet(Pki.new(), 3, journal or new_journal(), Make(cannot_attach=0, sleepers=0))
    made.associate(HandEim.new().configuration())
    return made


@pytest.mark.parametrize("name", SETTINGS)
def test_everything_that_can_be_told_can_be_done_and_a_wrong_value_is_refused(name: str) -> None:
    made, values = fleet(), SETTINGS[name].values
    value = VALUES.get(name, values.split(" | ")[0])
    line = f"2 {name}={value}" if values else f"2 {name}"
    ((eid, _),) = made.tell(understand(line))
    assert eid == made.cards[1].euicc.eid
    with pytest.raises(BadConfiguration):
        made.tell(understand(f"2 {name}=nonsense"))
    with pytest.raises(BadConfiguration, match=f"{name} takes"):
        understand(f"2 {name}" if values else f"2 {name}=1")


def test_only_who_is_meant_hears_it() -> None:
    made = fleet()
    cards = [card.euicc for card in made.cards]
    made.tell(understand("3 condition=catBusy"))
    made.tell(understand(f"{format_eid(cards[0].eid)} shape=bare"))
    assert [card.state.condition for card in cards] == [Condition.READY, Condition.READY, Condition.CAT_BUSY]
    assert [card.switches.shape for card in cards].count(ResultShape.BARE) == 1
    assert len(made.tell(understand("* reporting=never"))) == 3
    assert {made._habits_of(card).reporting for card in made.cards} == {Reporting.NEVER}
    with pytest.raises(BadConfiguration, match="no device is called"):
        made.tell(understand("4 obey"))


def test_what_a_card_was_told_is_what_it_does() -> None:
    made = fleet()
    card = made.cards[0].euicc
    made.tell(understand("1 ppr=B/2"))
    made.tell(understand("1 refuse=disable/3"))
    assert card.state.profiles[1].ppr == {PPR_NO_DELETE}
    assert [card.provocations.take("disable") for _ in range(2)] == [3, 3]
    assert made.tell(understand("1 fallBack")) == [(card.eid, 6)]


@pytest.mark.parametrize("line", ["", "1", "1 nothingKnown", "1 nothingKnown=3"])
def test_a_line_that_says_nothing_is_answered_with_how_to_say_it(line: str) -> None:
    with pytest.raises(BadConfiguration, match=r"write WHO NAME=VALUE|eim sim behaviours"):
        understand(line)


def test_the_truth_of_a_card_is_in_its_journal() -> None:
    journal, eim = new_journal(), HandEim.new()
    made = Fleet(Pki.new(), 1, journal, Make(cannot_attach=0, sleepers=0))
    made.associate(eim.configuration())
    card = made.cards[0].euicc
    adding = package(eim, card.eid, 1, "addEim")
    card.load_euicc_package(adding)
    card.load_euicc_package(adding)
    card.load_euicc_package(eim.package(card.eid, 2, bytes.fromhex("A50C5A0A") + made.cards[0].profile_b))
    (truth,) = truths(journal.entries)
    assert truth.iccids == (card.state.profiles[0].label,)
    assert truth.enabled == card.state.enabled_label
    assert truth.eims == (EIM_ID, "second.example.com")
    assert (truth.executed, truth.refused, truth.counter, truth.last) == (2, 1, 2, "delete 0")
    card.memory_reset(bytes.fromhex("BF64048202018C"))
    assert check(journal.entries).sound
