"""What a device process remembers of EIDs, against a dictionary: it may forget, and never says what was not so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eim._fast.known import Known
from tests.reference import known as twin

EIDS = st.integers(0, 40).map(lambda number: number.to_bytes(16, "big"))
STEPS = st.lists(st.tuples(st.booleans(), EIDS, st.integers(1, 3), st.integers(0, 5)), max_size=200)


@settings(max_examples=500, deadline=None)
@given(STEPS, st.sampled_from([1, 4, 1024]), st.integers(0, 2**64 - 1))
def test_what_it_finds_its_twin_finds_and_with_room_the_reverse(
    steps: list[tuple[bool, bytes, int, int]], sets: int, seed: int
) -> None:
    table, slow = Known(sets, seed), twin.Known()
    for now, (notes, eid, source, ago) in enumerate(steps, start=1):
        if notes:
            table.note(eid, source, now, eid[15])
            slow.note(eid, source, now, eid[15])
        else:
            since = max(now - ago, 0)
            found, expected = table.find(eid, source, since), slow.find(eid, source, since)
            assert found in (expected, -1)
            assert sets < 1024 or found == expected


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("note"), EIDS, st.integers(1, 2)),
        st.tuples(st.just("nothing"), EIDS, st.integers(0, 3)),
        st.tuples(st.just("ask"), EIDS, st.integers(1, 2)),
        st.tuples(st.just("package"), EIDS, st.just(0)),
        st.tuples(st.sampled_from(["came", "doubt", "beat", "deaf"]), EIDS, st.integers(0, 3)),
    ),
    max_size=200,
)


@settings(max_examples=1000, deadline=None)
@given(DEEDS, st.sampled_from([1, 1024]), st.integers(0, 2**64 - 1), st.sampled_from([0.125, 0.25, 0.5, 1.0]))
def test_nothing_is_believed_where_its_twin_believes_it_and_with_room_the_reverse(
    deeds: list[tuple[str, bytes, int]], sets: int, seed: int, tick: float
) -> None:
    table, slow = Known(sets, seed, 6.0), twin.Known(6.0)
    for number, (deed, eid, some) in enumerate(deeds, start=8):
        now = number * tick
        match deed:
            case "note":
                table.note(eid, some, now, eid[15] % 8)
                slow.note(eid, some, now, eid[15] % 8)
            case "nothing":
                table.note_nothing(eid, now - some * tick)
                slow.note_nothing(eid, now - some * tick)
            case "package":
                table.note_package(eid)
                slow.note_package(eid)
            case "came":
                table.work_came(eid[15] % 8, now)
                slow.work_came(eid[15] % 8, now)
            case "doubt":
                table.doubt_all(now)
                slow.doubt_all(now)
            case "beat":
                table.heard(now - some * tick)
                slow.heard(now - some * tick)
            case "deaf" if some == 3:
                table.deafen()
                slow.deafen()
            case _:
                believed, expected = (each.finds_nothing(eid, some, now - 20, now) for each in (table, slow))
                assert expected or not believed
                assert sets < 1024 or believed == expected
                guessed = table.may_find_package(eid)
                assert slow.may_find_package(eid) or not guessed
                assert sets < 1024 or guessed == slow.may_find_package(eid)


def test_a_full_table_keeps_whom_it_looked_at_last() -> None:
    table = Known(1, 7)
    for number in range(1, 10):
        table.note(number.to_bytes(16, "big"), 1, number, number)
    found = [table.find(number.to_bytes(16, "big"), 1, 0) for number in range(1, 10)]
    assert found == [-1] * 5 + [6, 7, 8, 9]


def test_a_million_fit() -> None:
    table = Known(1 << 18, 99)
    eids = [number.to_bytes(16, "big") for number in range(900_000)]
    for eid in eids:
        table.note(eid, 1, 1, 5)
    assert sum(table.find(eid, 1, 0) == 5 for eid in eids) > 0.85 * len(eids)
    assert all(table.find(number.to_bytes(16, "big"), 1, 0) == -1 for number in range(900_000, 1_000_000))


def test_what_is_no_eid_and_no_size_of_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="16 octets"):
        Known(4, 1).find(bytes(15), 1, 1)
    with pytest.raises(ValueError, match="power of two"):
        Known(3, 1)
    with pytest.raises(ValueError, match="bucket"):
        Known(4, 1).work_came(1024, 1.0)
    with pytest.raises(ValueError, match="bucket"):
        Known(4, 1).note(bytes(16), 1, 1.0, 1024)
