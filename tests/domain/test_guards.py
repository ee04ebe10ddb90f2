import pytest

from eim.domain.euicc import Profile, ProfileState
from eim.domain.guards import choose, refuse_cutting_off
from eim.domain.ids import parse_iccid
from eim.domain.operation import Kind
from eim.errors import Guarded, NotFound

A, B, C = (parse_iccid(f"898821100000000000{n}F") for n in (1, 2, 3))
HELD = (
    Profile(A, ProfileState.ENABLED, service_provider="Carrier A"),
    Profile(B, ProfileState.DISABLED, service_provider="Carrier B"),
)


def test_the_enabled_profile_is_not_deleted() -> None:
    with pytest.raises(Guarded, match="enabled"):
        refuse_cutting_off(Kind.DELETE, A, HELD)


def test_a_disabled_or_unknown_profile_may_be_deleted() -> None:
    for iccid in (B, C):
        refuse_cutting_off(Kind.DELETE, iccid, HELD)


def test_the_only_enabled_profile_is_not_disabled() -> None:
    with pytest.raises(Guarded, match="can't call again"):
        refuse_cutting_off(Kind.DISABLE, A, HELD)
    refuse_cutting_off(Kind.DISABLE, A, (*HELD, Profile(C, ProfileState.ENABLED)))


def test_nothing_is_disabled_on_a_card_whose_profiles_are_not_known() -> None:
    with pytest.raises(Guarded, match="not known yet"):
        refuse_cutting_off(Kind.DISABLE, A, None)
    refuse_cutting_off(Kind.DELETE, A, None)


def test_enabling_is_never_guarded() -> None:
    for profiles in (None, (), HELD):
        refuse_cutting_off(Kind.ENABLE, B, profiles)


def test_a_service_provider_names_a_profile_only_when_it_has_exactly_one() -> None:
    assert choose(HELD, "Carrier B") == B
    with pytest.raises(NotFound, match="no profile"):
        choose(HELD, "Carrier C")
    with pytest.raises(NotFound, match="2 profiles"):
        choose((*HELD, Profile(C, ProfileState.DISABLED, service_provider="Carrier B")), "Carrier B")
