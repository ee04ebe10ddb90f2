import msgspec
import pytest

from eim.asn1.sgp32 import Delete, ListProfileInfo, SetDefaultDpAddress, SetFallbackAttribute, UnsetFallbackAttribute
from eim.sim.happenings import fall_back
from eim.sim.psmo import State, perform, tags_in
from tests.sim.hand import A, B, profile

STATE = State((profile(A, True), msgspec.structs.replace(profile(B, False, 1), fallback_allowed=True)))


def test_the_fallback_attribute_goes_to_a_disabled_profile_that_allows_it() -> None:
    marked = perform(STATE, SetFallbackAttribute(B))
    assert marked.result == bytes.fromhex("8D0100")
    assert [held.fallback for held in marked.state.profiles] == [False, True]
    assert perform(marked.state, UnsetFallbackAttribute()).result == bytes.fromhex("8E0100")
    assert perform(STATE, SetFallbackAttribute(A)).result == bytes.fromhex("8D0102")
    assert perform(STATE, SetFallbackAttribute(bytes(10))).result == bytes.fromhex("8D0101")
    assert perform(STATE, UnsetFallbackAttribute()).result == bytes.fromhex("8E0102")


def test_the_attribute_of_an_active_profile_stays_where_it_is() -> None:
    fallen = fall_back(perform(STATE, SetFallbackAttribute(B)).state).state
    assert fallen.enabled_label != STATE.enabled_label
    assert perform(fallen, UnsetFallbackAttribute()).result == bytes.fromhex("8E0103")
    assert perform(fallen, SetFallbackAttribute(B)).result == bytes.fromhex("8D0103")
    assert perform(fallen, Delete(A)).result == bytes.fromhex("850115")


def test_without_a_fallback_profile_nothing_falls_back() -> None:
    assert fall_back(STATE).state is STATE


def test_a_refusal_leaves_the_state_alone() -> None:
    assert perform(STATE, Delete(A)).state is STATE


def test_the_default_smdp_is_kept_and_cleared() -> None:
    kept = perform(STATE, SetDefaultDpAddress("smdp.example.com"))
    assert kept.result == bytes.fromhex("BF6503800100")
    assert kept.state.default_smdp == "smdp.example.com"
    assert perform(kept.state, SetDefaultDpAddress("")).state.default_smdp is None


@pytest.mark.parametrize(
    ("wish", "count"),
    [
        (ListProfileInfo(), 2),
        (ListProfileInfo(profile_class=2), 2),
        (ListProfileInfo(profile_class=0), 0),
        (ListProfileInfo(aid=STATE.profiles[1].aid), 1),
        (ListProfileInfo(iccid=bytes(10)), 0),
    ],
)
def test_a_list_holds_the_profiles_that_were_asked_for(wish: ListProfileInfo, count: int) -> None:
    assert perform(STATE, wish).result.count(b"\xe3") == count


def test_a_tag_list_cut_inside_a_tag_is_incorrect_input() -> None:
    assert perform(STATE, ListProfileInfo(tags=b"\x5a\x9f")).result == bytes.fromhex("BF2D03810101")
    assert tags_in(bytes.fromhex("5A9F70")) == {0x5A, 0x9F70}
