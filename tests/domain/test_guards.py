import pytest

from eim.domain.euicc import Profile, ProfileState
from eim.domain.guards import Holds, Ppr, choose, has_rule, refuse_harm
from eim.domain.ids import Iccid, parse_iccid
from eim.domain.operation import Kind
from eim.domain.step import Delete, Enable, Step, plain_step
from eim.errors import Guarded, NotFound
from eim.sim.profiles import PPR_NO_DELETE, PPR_NO_DISABLE

A, B, C = (parse_iccid(f"898821100000000000{n}F") for n in (1, 2, 3))
ON_A = Profile(A, ProfileState.ENABLED, service_provider="Carrier A")
OFF_B = Profile(B, ProfileState.DISABLED, service_provider="Carrier B")
HELD = (ON_A, OFF_B)
NO_DISABLE, NO_DELETE = b"\x05\x40", b"\x05\x20"  # five unused bits, then pprUpdateControl, ppr1, ppr2


def ask(kind: Kind, iccid: Iccid, profiles: tuple[Profile, ...] | None, *queued: Step) -> None:
    step = plain_step(kind, iccid, rollback=False)
    assert step is not None
    refuse_harm([step], Holds(profiles, queued))


def with_rule(profile: Profile, ppr: bytes) -> Profile:
    return Profile(profile.iccid, profile.state, ppr=ppr)


def test_the_enabled_profile_is_not_deleted() -> None:
    with pytest.raises(Guarded, match="is enabled"):
        ask(Kind.DELETE, A, HELD)


def test_a_disabled_or_unknown_profile_may_be_deleted() -> None:
    for iccid in (B, C):
        ask(Kind.DELETE, iccid, HELD)


def test_the_only_enabled_profile_is_not_disabled() -> None:
    with pytest.raises(Guarded, match="can't call again"):
        ask(Kind.DISABLE, A, HELD)
    ask(Kind.DISABLE, A, (*HELD, Profile(C, ProfileState.ENABLED)))


def test_nothing_is_disabled_on_a_card_whose_profiles_are_not_known() -> None:
    with pytest.raises(Guarded, match="not known yet"):
        ask(Kind.DISABLE, A, None)
    ask(Kind.DELETE, A, None)


def test_enabling_is_guarded_by_policy_rules_only() -> None:
    for profiles in (None, (), HELD):
        ask(Kind.ENABLE, B, profiles)


def test_what_is_queued_counts_as_if_it_could_succeed_and_could_fail() -> None:
    to_b = Enable(B)
    with pytest.raises(Guarded, match="about to be enabled"):
        ask(Kind.DELETE, B, HELD, to_b)
    with pytest.raises(Guarded, match="is enabled"):
        ask(Kind.DELETE, A, HELD, to_b)  # if B can't be enabled, A stays the enabled one
    with pytest.raises(Guarded, match="can't call again"):
        ask(Kind.DISABLE, A, HELD, to_b)  # if B can't be enabled, nothing would be left
    with pytest.raises(Guarded, match="once what is queued is done"):
        ask(Kind.DISABLE, B, HELD, to_b)
    ask(Kind.DELETE, C, (*HELD, Profile(C, ProfileState.DISABLED)), to_b)


def test_the_fallback_profile_is_not_deleted_unless_another_one_is_set() -> None:
    fallback = Profile(B, ProfileState.DISABLED, fallback=True)
    another = Profile(C, ProfileState.DISABLED, fallback=True)
    with pytest.raises(Guarded, match="fallback"):
        ask(Kind.DELETE, B, (ON_A, fallback))
    ask(Kind.DELETE, B, (ON_A, fallback, another))
    with pytest.raises(Guarded, match="fallback"):
        ask(Kind.DELETE, B, (ON_A, fallback, another), Delete(C))


def test_the_policy_rules_of_profiles_are_kept() -> None:
    with pytest.raises(Guarded, match="ppr1"):
        ask(Kind.ENABLE, B, (with_rule(ON_A, NO_DISABLE), OFF_B))
    with pytest.raises(Guarded, match="ppr1"):
        ask(Kind.ENABLE, C, (ON_A, with_rule(OFF_B, NO_DISABLE)), Enable(B))
    with pytest.raises(Guarded, match="ppr2"):
        ask(Kind.DELETE, B, (ON_A, with_rule(OFF_B, NO_DELETE)))
    ask(Kind.DELETE, B, (ON_A, with_rule(OFF_B, NO_DISABLE)))
    ask(Kind.ENABLE, A, (with_rule(ON_A, NO_DISABLE), OFF_B))


@pytest.mark.parametrize("ppr", [None, b"", b"\x00", b"\x07\x80"])
def test_a_profile_without_such_a_bit_has_no_rule(ppr: bytes | None) -> None:
    profile = Profile(A, ProfileState.ENABLED, ppr=ppr)
    assert not has_rule(profile, Ppr.NO_DISABLE)
    assert not has_rule(profile, Ppr.NO_DELETE)


def test_the_bits_are_those_that_cards_set() -> None:
    assert (Ppr.NO_DISABLE, Ppr.NO_DELETE) == (PPR_NO_DISABLE, PPR_NO_DELETE)


def test_a_service_provider_names_a_profile_only_when_it_has_exactly_one() -> None:
    assert choose(HELD, "Carrier B") == B
    with pytest.raises(NotFound, match="no profile"):
        choose(HELD, "Carrier C")
    with pytest.raises(NotFound, match="2 profiles"):
        choose((*HELD, Profile(C, ProfileState.DISABLED, service_provider="Carrier B")), "Carrier B")
