from pathlib import Path

import msgspec
import pytest

from eim.sim.journal import Entry, Journal, Personalised, Received, RolledBack, Verdict, check, read_journal
from tests.sim.hand import LIST, NOON, A, B, HandEim, disable, enable, new_card, new_journal


def test_a_sound_run_is_reported_sound() -> None:
    journal = new_journal()
    eim = HandEim.new()
    card = new_card(eim, journal=journal)
    package = eim.package(card.eid, 1, enable(B))
    card.load_euicc_package(package)
    card.load_euicc_package(package)
    report = check(journal.entries)
    assert report.sound
    assert (report.cards, report.executed, report.received) == (1, 1, 2)
    assert report.verdicts == {Verdict.EXECUTED: 1, Verdict.REPLAY: 1}
    assert report.enabled == {card.eid.hex(): card.state.enabled_label}


def test_an_execution_that_happened_twice_is_found() -> None:
    journal = new_journal()
    eim = HandEim.new()
    card = new_card(eim, journal=journal)
    card.load_euicc_package(eim.package(card.eid, 1, enable(B)))
    report = check([*journal.entries, journal.entries[-1]])
    assert report.twice == (("eim.example.com", card.eid.hex(), 1),)
    assert not report.sound


def test_one_counter_over_two_packages_is_found_though_only_one_was_executed() -> None:
    journal = new_journal()
    eim = HandEim.new()
    card = new_card(eim, journal=journal)
    card.load_euicc_package(eim.package(card.eid, 1, enable(B)))
    card.load_euicc_package(eim.package(card.eid, 1, disable(A)))
    report = check(journal.entries)
    assert report.conflicting == (("eim.example.com", card.eid.hex(), 1),)
    assert report.twice == ()
    assert not report.sound


def test_one_transaction_executed_under_two_counters_is_found() -> None:
    journal = new_journal()
    eim = HandEim.new()
    card = new_card(eim, journal=journal)
    card.load_euicc_package(eim.package(card.eid, 1, LIST))
    card.load_euicc_package(eim.package(card.eid, 2, LIST))
    report = check(journal.entries)
    assert report.repeated == ((card.eid.hex(), "00112233445566778899AABBCCDDEEFF"),)
    assert not report.sound


def test_a_file_holds_what_the_memory_holds(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"
    eim = HandEim.new()
    with Journal.to_file(lambda: NOON, path) as journal:
        card = new_card(eim, journal=journal)
        card.load_euicc_package(eim.package(card.eid, 1, enable(B)))
        assert read_journal(path) == journal.entries


def test_a_line_cut_off_by_a_kill_is_left_out_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"
    with Journal.to_file(lambda: NOON, path) as journal:
        journal.append(Personalised("89", ("1",), "1", NOON))
        journal.append(Received("89", None, None, None, "00", Verdict.MALFORMED, NOON))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert read_journal(path) == journal.entries[:1]
    path.write_bytes(whole.replace(b"{", b"[", 1))
    with pytest.raises(msgspec.DecodeError):
        read_journal(path)


def test_the_last_word_on_the_active_profile_is_the_rollback_s() -> None:
    entries: list[Entry] = [Personalised("89", ("1", "2"), "1", NOON), RolledBack("89", "eim", 1, None, 4, "1", NOON)]
    report = check(entries)
    assert report.enabled == {"89": "1"}
    assert report.taken_back == frozenset({"89"})
